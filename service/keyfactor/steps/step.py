"""A step as its author wrote it, field for field."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Signal(msgspec.Struct, frozen=True, rename="pascal"):
    """What a step waits for, and the numbers of the roles that may send it."""

    signal_name: str | None = None
    role_ids: list[int] | None = None


class Condition(msgspec.Struct, frozen=True, rename="pascal"):
    """What has to be true for a step to be done: `True`, `False`, or a token that stands for one of them."""

    value: str | bool | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One step. `outputs` says which step follows; what is left out is empty, and a step is enabled unless it says otherwise."""

    extension_name: str | None = None
    unique_name: str | None = None
    display_name: str | None = None
    enabled: bool | None = None
    configuration_parameters: Mapping[str, Any] | None = None
    signals: list[Signal] | None = None
    conditions: list[Condition] | None = None
    outputs: Mapping[str, str | None] | None = None
