"""An instance in a test: the pure interpreter with real jq and real schemas, without a database and with its own clock."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import jq
import jsonschema_rs

from service.engine.frames import State
from service.engine.interpreter import advance, decode_state, drive, encode_state, pending
from service.engine.messages import (
    Advance,
    Answered,
    Call,
    Events,
    Facts,
    InboxEvent,
    Limits,
    Pending,
    Start,
    Stimulus,
    TaskRun,
    WakeUp,
)
from service.engine.states import Status
from service.language.errors import STANDARD, Fault, fault
from service.language.expressions import Evaluation, ExpressionFailure, NotLocal, answer_locally, assembled
from service.language.expressions import document as program_input
from service.language.questions import Question, Validation, Violation
from service.language.reading import read
from service.language.texts import parse_yaml

NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)
RUNTIME = {"name": "tutti", "version": "1", "metadata": {"instanceName": "first"}}
HEADER = {"dsl": "1.0.3", "namespace": "demo", "name": "sample", "version": "1.2.0"}

compiled = lru_cache(maxsize=None)(jq.compile)


def answer(questions: Sequence[Question]) -> list[Any]:
    """Answer as the sandbox does, in this process."""
    return [verdict(one) if isinstance(one, Validation) else value(one) for one in questions]


def value(evaluation: Evaluation) -> Any:
    found = answer_locally(evaluation)
    if not isinstance(found, NotLocal):
        return found
    program = compiled(evaluation.expression.program)
    return assembled(evaluation, json.loads(program.input_text(program_input(evaluation).decode()).first()))


def verdict(validation: Validation) -> list[Violation] | ExpressionFailure:
    try:
        validator = jsonschema_rs.validator_for(validation.schema)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        return ExpressionFailure("schema failed", str(error).partition("\n")[0])
    return [
        Violation(list(error.instance_path), "schema", error.message)
        for error in validator.iter_errors(validation.value)
    ]


class Instance:
    """It keeps the state as bytes, as a database would."""

    def __init__(self, definition: str | dict[str, Any], **limits: int) -> None:
        if isinstance(definition, str):
            definition = {"document": HEADER, **parse_yaml(definition.encode())}
        self.definition = read(definition)
        self.limits = Limits(**limits)
        self.encoded: bytes | None = None
        self.now = NOON
        self.inbox: list[InboxEvent] = []
        self.received = 0
        self.asked: list[int] = []
        self.history: dict[int, TaskRun] = {}

    @property
    def state(self) -> State | None:
        return None if self.encoded is None else decode_state(self.encoded)

    @property
    def facts(self) -> Facts:
        return Facts("instance-1", RUNTIME, tuple(self.inbox), self.limits)

    def take(self, stimulus: Stimulus) -> Advance:
        reached = drive(advance(self.definition, self.state, stimulus, self.facts), self.answer)
        if reached.changed:
            assert reached.state is not None
            self.encoded = encode_state(reached.state)
            assert self.state == reached.state
            self.inbox = [one for one in self.inbox if one.id not in reached.consumed]
        for row in reached.history:
            assert row.began is (row.number not in self.history)
            assert row.began or self.history[row.number].ended_at is None
            self.history[row.number] = row
        return reached

    def answer(self, questions: list[Question]) -> list[Any]:
        self.asked.append(len(questions))
        return answer(questions)

    def start(self, given: Any = None) -> Advance:
        return self.take(Start(self.now, {} if given is None else given))

    def wake(self, wait: int = 1, *, after: timedelta = timedelta()) -> Advance:
        self.now += after
        return self.take(WakeUp(self.now, wait))

    def reply(self, value: Any = None, *, wait: int = 1, failure: Fault | None = None) -> Advance:
        return self.take(Answered(self.now, wait, value, failure))

    def send(self, **event: Any) -> Advance:
        self.receive(**event)
        return self.take(Events(self.now))

    def receive(self, **event: Any) -> None:
        self.received += 1
        self.inbox.append(InboxEvent(self.received, {"type": "thing.done", **event}))

    def pending(self, wait: int = 1) -> Pending | None:
        assert self.state is not None
        return pending(self.definition, self.state, wait, self.facts)

    def call(self, perform: Callable[[Pending], Any], reached: Advance) -> Advance:
        """Answer calls until there are no more of them."""
        while calls := [effect for effect in reached.effects if isinstance(effect, Call)]:
            for call in calls:
                waiting = self.pending(call.wait)
                assert waiting is not None
                found = perform(waiting)
                failure = found if isinstance(found, Fault) else None
                reached = self.reply(None if failure else found, wait=call.wait, failure=failure)
        return reached

    def rows(self) -> list[tuple[str, str]]:
        """How each task stands, in the order in which they began."""
        return [(row.name, row.status) for _, row in sorted(self.history.items())]


def outcome(definition: str, given: Any = None) -> Any:
    """The output of a workflow that never waits."""
    reached = Instance(definition).start(given)
    assert reached.fault is None
    assert reached.status is Status.COMPLETED
    return reached.output


def fault_of(definition: str, given: Any = None) -> tuple[str, int, str | None]:
    """The type's last word, the status and the instance of a workflow's fault."""
    return described(Instance(definition).start(given))


def described(reached: Advance) -> tuple[str, int, str | None]:
    """The same of an advance that faulted."""
    assert reached.status is Status.FAULTED
    assert reached.fault is not None
    return reached.fault.type.removeprefix(STANDARD), reached.fault.status, reached.fault.instance


def refused(status: int = 503, title: str = "Service Unavailable") -> Fault:
    """A call that went wrong."""
    return fault("communication", title, None, "/wherever", status)
