"""Questions as texts for a worker, and a worker's texts as answers."""

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from service.language import sandbox_worker as wire
from service.language.expressions import FAILED, Evaluation, ExpressionFailure, assembled, document
from service.language.questions import Question, Validation, Violation
from service.language.sandbox.limits import (
    DEPTH_LIMIT,
    INPUT_LIMIT,
    INPUT_LIMIT_BYTES,
    NESTING_LIMIT,
    OUTPUT_LIMIT,
    OUTPUT_LIMIT_BYTES,
)

FRAME_LIMIT: Final = 64
"""Programs in one frame; more are sent as several frames."""


# --- Into a frame ---------------------------------------------------------------------------------------------------


def frame_size(items: Sequence[wire.Item], start: int) -> int:
    """How many items from `start` on go into one frame: at least one."""
    size = total = 0
    for _, first, second in items[start : start + FRAME_LIMIT]:
        total += len(first) + len(second)
        if size and total > INPUT_LIMIT_BYTES:
            break
        size += 1
    return size


def item_of(question: Question) -> wire.Item | ExpressionFailure:
    """A question as a worker gets it; a failure when it cannot be sent."""
    return evaluation_item(question) if isinstance(question, Evaluation) else validation_item(question)


def evaluation_item(evaluation: Evaluation) -> wire.Item | ExpressionFailure:
    """The program of an evaluation and its input."""
    try:
        data = document(evaluation)
        text = (evaluation.expression.program or "").encode()
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError) as error:
        return unreadable(error)
    size = max(len(text), len(data))
    return wire.Item(wire.EVALUATE, text, data) if size <= INPUT_LIMIT_BYTES else too_much(size)


def validation_item(validation: Validation) -> wire.Item | ExpressionFailure:
    """A schema and a value."""
    schema, value = encoded(validation.schema), encoded(validation.value)
    if isinstance(schema, ExpressionFailure):
        return schema
    return value if isinstance(value, ExpressionFailure) else wire.Item(wire.VALIDATE, schema, value)


def encoded(value: Any) -> bytes | ExpressionFailure:
    """A JSON value as text, if it is small enough to be sent."""
    try:
        text = msgspec.json.encode(value)
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError) as error:
        return unreadable(error)
    return text if len(text) <= INPUT_LIMIT_BYTES else too_much(len(text))


def unreadable(error: Exception) -> ExpressionFailure:
    """The failure for data that is no JSON text."""
    if isinstance(error, RecursionError):
        return ExpressionFailure(NESTING_LIMIT, f"the data is nested more than {DEPTH_LIMIT} levels deep")
    if isinstance(error, UnicodeEncodeError):
        return ExpressionFailure(FAILED, "the data holds half of a surrogate pair, which is not Unicode text")
    return ExpressionFailure(FAILED, "the data is not JSON")


def too_much(size: int) -> ExpressionFailure:
    """The failure for data that is too large."""
    return ExpressionFailure(INPUT_LIMIT, f"{size} bytes of data; at most {INPUT_LIMIT_BYTES} are possible")


# --- Out of a frame -------------------------------------------------------------------------------------------------


def answer_of(answer: wire.Answer | ExpressionFailure, question: Question) -> Any:
    """What a worker's answer says to a question."""
    if isinstance(answer, ExpressionFailure):
        return answer
    return value_of(answer, question) if isinstance(question, Evaluation) else violations_of(answer)


def value_of(answer: wire.Answer, evaluation: Evaluation) -> Any:
    """The value that a worker's answer stands for."""
    if answer.status == wire.TOO_LARGE:
        return ExpressionFailure(OUTPUT_LIMIT, f"the result has more than {OUTPUT_LIMIT_BYTES} bytes")
    if answer.status != wire.VALUE:
        return ExpressionFailure(FAILED, answer.payload.decode(errors="replace"))
    entries = decoded(answer.payload)
    if isinstance(entries, ExpressionFailure):
        return entries
    return assembled(evaluation, entries if isinstance(entries, list) else ())


def decoded(payload: bytes) -> Any:
    """A worker's JSON, or the failure for what is none or is nested too deeply."""
    try:
        value = msgspec.json.decode(payload)
    except RecursionError:
        return too_deep()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ExpressionFailure(
            FAILED, "the result is not a JSON value that others can read, as 1e400 is not"
        )
    return value if is_shallow(payload, value) else too_deep()


def too_deep() -> ExpressionFailure:
    """The failure for a result that is nested too deeply."""
    return ExpressionFailure(NESTING_LIMIT, f"the result is nested more than {DEPTH_LIMIT} levels deep")


def is_shallow(text: bytes, value: Any) -> bool:
    """Whether a result keeps to the depth limit, the program's two lists around it not counted."""
    allowed = DEPTH_LIMIT + 2
    if text.count(b"[") + text.count(b"{") <= allowed:
        return True
    level = [value]
    for _ in range(allowed):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return True
    return False


def violations_of(answer: wire.Answer) -> list[Violation] | ExpressionFailure:
    """The violations in a worker's answer."""
    if answer.status == wire.VALUE:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return msgspec.json.decode(answer.payload, type=list[Violation])[: wire.VIOLATION_LIMIT]
    if answer.status == wire.TOO_LARGE:
        return ExpressionFailure(
            OUTPUT_LIMIT, f"the list of violations has more than {OUTPUT_LIMIT_BYTES} bytes"
        )
    return ExpressionFailure("schema failed", answer.payload.decode(errors="replace"))
