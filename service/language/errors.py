"""What can be wrong with a definition when it is created, and what goes wrong while one runs.

* `Problem`: one thing wrong with a document; a refusal carries all of them at once.
* `Fault`: the error object of the DSL (RFC 9457 members), raised by a task, caught by `try`, stored on a failed instance.
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

STANDARD = "https://serverlessworkflow.io/spec/1.0.0/errors/"

# The type of an error of this service's own: an instance that ends by it was denied, and is cancelled rather than faulted.
# The error's detail says by whom and why.
REJECTED = "urn:tutti:errors:rejected"

Kind = Literal[
    "configuration",
    "validation",
    "expression",
    "authentication",
    "authorization",
    "timeout",
    "communication",
    "runtime",
]

# Contract 5.3: a default; `fault` takes a better fitting one.
STATUSES: Mapping[Kind, int] = {
    "configuration": 400,
    "validation": 400,
    "expression": 400,
    "authentication": 401,
    "authorization": 403,
    "timeout": 408,
    "communication": 500,
    "runtime": 500,
}

# The spellings that documents and the conformance scenarios use for the standard types (contract 5.4).
_ALIAS = re.compile(
    r"https?://serverlessworkflow\.io(?:\.io)?"
    r"/(?:spec/[^/]+/errors|dsl/errors/types|errors/types)"
    rf"/({'|'.join(STATUSES)})"
)


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a definition.

    `code` is one of the contract's creation-time codes (`missing_field`, `bad_expression`, ...), `message` says what is
    wrong and what to write instead, `pointer` is the JSON Pointer (RFC 6901) of the offending value.
    """

    code: str
    message: str
    pointer: str


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error of a running workflow: the DSL's error object, `instance` being the JSON Pointer of the task."""

    type: str
    status: int
    title: str | None = None
    detail: str | None = None
    instance: str | None = None


def fault(kind: Kind, title: str, detail: str | None, instance: str, status: int | None = None) -> Fault:
    """One of the standard's own errors (contract 5.3), always with a title."""
    return Fault(STANDARD + kind, status or STATUSES[kind], title, detail, instance)


def canonical(error_type: str) -> str:
    """The type to compare by (contract 5.4): an alias of a standard type becomes that type, others stay as they are."""
    alias = _ALIAS.fullmatch(error_type)
    return STANDARD + alias[1] if alias else error_type


def below(pointer: str, *steps: str | int) -> str:
    """The JSON Pointer of what lies `steps` below `pointer` (contract 5.2): names escaped, positions as they are."""
    return pointer + "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)
