"""What the interpreter asks for while it runs: the values of expressions, and whether values fit their schemas.

Both are an account's own text at work, so both are answered by the sandbox, a list of them in one round trip.
"""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec

from service.language.expressions import NOT_LOCAL, Evaluation, NotLocal, answer_locally
from service.language.schemas import fits


class Violation(msgspec.Struct, frozen=True):
    """One way in which a value does not fit its schema: where (a path of keys and indexes), by which keyword, and why."""

    path: list[str | int]
    keyword: str
    message: str


class Validation(msgspec.Struct, frozen=True):
    """A request to hold `value` against a JSON Schema that carries its draft as `$schema`.

    Its answer is the list of `Violation`s, empty if the value fits, or an `ExpressionFailure` naming a limit.
    """

    schema: Any
    value: Any


Question = Evaluation | Validation


class Answering(Protocol):
    """Whoever answers questions: the sandbox, or a table in a test."""

    async def answer(self, account_id: UUID, questions: Sequence[Question], /) -> list[Any]:
        """Answer each question, in order."""
        ...


async def ask(answering: Answering, account_id: UUID, questions: Sequence[Question]) -> list[Any]:
    """The answer to each question, in order: the simple ones at once, all others in one call of `answering`."""
    answers = [answer_at_once(question) for question in questions]
    others = [index for index, found in enumerate(answers) if isinstance(found, NotLocal)]
    if others:
        found = await answering.answer(account_id, [questions[index] for index in others])
        for index, answer in zip(others, found, strict=True):
            answers[index] = answer
    return answers


def answer_at_once(question: Question) -> Any | NotLocal:
    """The answer to a question that this process can give quickly and safely."""
    if isinstance(question, Evaluation):
        return answer_locally(question)
    return [] if fits(question.schema, question.value) else NOT_LOCAL
