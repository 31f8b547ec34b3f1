"""What operations of the dialect are called: the routes know it by their paths."""

from collections.abc import Callable
from typing import Any

from litestar.types import Method

NamesOperation = Callable[[Any, Method, list[Any]], str]


def named(name: str) -> NamesOperation:
    """Name an operation as the vendor does: v2's begin with `v2`; ours with the account in the path say so at the end."""

    def operation_id(_: Any, __: Method, path: list[Any]) -> str:
        whole = f"v2{name[0].upper()}{name[1:]}" if "v2" in path else name
        return f"{whole}OfAccount" if "accounts" in path else whole

    return operation_id
