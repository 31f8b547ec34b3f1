"""What can be wrong with a definition when it is created, and what goes wrong while one runs.

* `Problem`: one thing wrong with a document; a refusal carries all of them at once.
* `Fault`: the error object of the DSL (RFC 9457 members), raised by a task, caught by `try`, stored on a failed instance.
"""

import msgspec

STANDARD = "https://serverlessworkflow.io/spec/1.0.0/errors/"


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
