"""Where jq stands in a definition, and what it may see there.

An `Expression` is made once, when a definition is read; an `Evaluation` asks for its value with the data of one moment.
Constants, identity and plain paths are answered in this process, everything else goes to the sandbox.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class Expression(msgspec.Struct, frozen=True):
    """A value of a definition that may hold jq.

    `source` is the author's text or template, `names` the variables visible there (without `$`), `program` the
    complete jq program for the sandbox, or None when the value is known without jq (a constant, `.` or a plain path).
    """

    source: Any
    names: tuple[str, ...]
    program: str | None


class Evaluation(msgspec.Struct, frozen=True):
    """A request for the value of `expression` with `dot` as `.` and `variables` (names without `$`) bound."""

    expression: Expression
    dot: Any
    variables: Mapping[str, Any]


class ExpressionFailure(msgspec.Struct, frozen=True):
    """Why an evaluation has no value: a `title` naming the kind or the limit, a `detail` with jq's own message."""

    title: str
    detail: str
