"""Requests made up from an OpenAPI document, by schemathesis: each answer is held against the document."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import schemathesis
from schemathesis.engine import Status, events, from_schema

from service.connections.limits import Limits
from tests.fuzz.accounts import Side
from tests.fuzz.leniency import FORMS, adapted, operations
from tests.fuzz.rows import TABLES, Ids

DOCUMENTS = Path(__file__).resolve().parents[2] / "openapi"
TARGET_BYTES = Limits(requests=1, connections=1).target_bytes
FOREIGN = 0.1  # of the ids that are made up are another account's
untouchable: set[str] = set()  # ids that nothing may be done to
strangers: set[str] = set()  # texts that no answer may hold, while a document is gone through
SAME_ADDRESS = (
    20  # requests: fewer than the failures that an address may have, more than a password's check takes
)
_addresses = itertools.count(1)


class Caller(msgspec.Struct, frozen=True):
    """Who goes through a document: with these headers, or by HTTP Basic."""

    document: str
    name: str
    side: Side
    headers: dict[str, str]
    basic: tuple[str, str] | None = None


class Violation(msgspec.Struct, frozen=True, order=True):
    """Something that must not be, and how to see it again."""

    where: str
    check: str
    message: str
    curl: str


class Found(msgspec.Struct):
    """What came of going through a document."""

    operations: int = 0
    answers: Counter[int] = msgspec.field(default_factory=Counter)
    violations: dict[tuple[str, str, str], Violation] = {}

    def of_class(self, hundreds: int) -> int:
        """How many answers had a status of so many hundreds; 0: those that never came."""
        return sum(count for status, count in self.answers.items() if status // 100 == hundreds)

    def add(self, violation: Violation) -> None:
        """Keep the first of a kind at a place."""
        key = violation.where, violation.check, violation.message.splitlines()[0]
        self.violations.setdefault(key, violation)


@schemathesis.check
def nothing_of_others(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """No answer tells of another account, but what the request has told itself."""
    body = response.request.body or b""
    asked = f"{response.request.url} {body.decode('utf-8', 'replace') if isinstance(body, bytes) else body}"
    answered = f"{response.headers} {response.text}"
    for one in strangers:
        assert one not in answered or one in asked, f"The answer holds {one!r}, which is another account's."


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """Come from another address each time, so that limits on guessing answer nothing."""
    number = next(_addresses)
    case.headers["X-Forwarded-For"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leave whoever asks there: the rest of the run would tell them that they are nobody."""
    return case.method == "GET" or untouchable.isdisjoint(map(str, case.path_parameters.values()))


def configuration(
    caller: Caller, url: str, seed: int, seconds: int | None, ids: Mapping[str, list[str]]
) -> dict[str, Any]:
    """Tell schemathesis what to do; without seconds, only the examples, all of them."""
    foreign = {name: {"values": values} for name, values in ids.items() if values}
    return {
        "base-url": url,
        "seed": seed,
        **({"max-time": seconds} if seconds else {}),
        "headers": caller.headers,
        **(
            {"auth": {"basic": dict(zip(("username", "password"), caller.basic, strict=True))}}
            if caller.basic
            else {}
        ),
        "continue-on-failure": True,
        "request-timeout": 70,  # the longest that an answer may wait for something to happen is a minute
        "max-stream-events": 1,
        "suppress-health-check": ["all"],
        "output": {"sanitization": {"enabled": False}, "truncation": {"enabled": False}},
        "dictionaries": foreign,
        "parameters": {
            **{f"path.{name}": {"dictionary": name, "probability": FOREIGN} for name in foreign},
            **{f"query.{name}": {"dictionary": name, "probability": FOREIGN} for name in foreign},
            "query.timeout": 1,  # seconds that Maestro's `wait` may take; it may take a minute
        },
        "operations": [
            {"include-path": path, "checks": {"negative_data_rejection": {"enabled": False}}}
            for path in FORMS
        ],
        "generation": {"database": "none", "no-shrink": True},
        "checks": {
            # No document can say which queries and definitions mean something, and which states allow what.
            "positive_data_acceptance": {"enabled": False},
            # Wrong passwords are counted and slowed down, as they should be; who has a token asks the same operations.
            "ignored_auth": {"enabled": caller.basic is None or caller.document == "oauth"},
        },
        "phases": {
            "examples": {"fill-missing": True},
            **{phase: {"enabled": bool(seconds)} for phase in ("coverage", "fuzzing", "stateful")},
        },
    }


def go_through(caller: Caller, url: str, seed: int, seconds: int | None, own: Ids, other: Ids) -> Found:
    """Make requests up from a document for so long; see `configuration`."""
    plain = json.loads((DOCUMENTS / f"{caller.document}.json").read_bytes())
    document = adapted(caller.document, plain, {name: own.of(name) for name in TABLES})
    foreign = {name: other.of(name)[:1] for name in TABLES}
    config = schemathesis.Config.from_dict(configuration(caller, url, seed, seconds, foreign))
    found = Found(operations=sum(1 for _ in operations(document)))
    for kept, now in ((strangers, other.secret), (untouchable, own.untouchable)):
        kept.clear()
        kept.update(now)
    for event in from_schema(schemathesis.openapi.from_dict(document, config=config)).execute():
        for violation in seen(event, found):
            found.add(violation)
    return found


def is_too_long(interaction: Any) -> bool:
    """Whether a target was longer than a connection takes, which refuses it (RFC 9110, 15.5.15) before any document is asked."""
    if interaction is None or interaction.response is None:
        return False
    _, _, target = interaction.request.uri.partition("//")
    return interaction.response.status_code == httpx.codes.REQUEST_URI_TOO_LONG and len(target) > TARGET_BYTES


def seen(event: events.EngineEvent, found: Found) -> Iterator[Violation]:
    """Count what a scenario asked, and tell what was wrong with its answers."""
    if isinstance(event, events.NonFatalError):
        yield Violation(event.label, "error", f"{event.info.title}: {event.info.message}", "")
    elif isinstance(event, events.FatalError):
        raise event.exception
    elif isinstance(event, events.ScenarioFinished):
        for interaction in event.recorder.interactions.values():
            found.answers[interaction.response.status_code if interaction.response else 0] += 1
        yield from failures_in(event.recorder)


def failures_in(recorder: Any) -> Iterator[Violation]:
    """Tell which checks of a scenario's answers have failed."""
    for case_id, checks in recorder.checks.items():
        if is_too_long(recorder.interactions.get(case_id)):
            continue
        for check in checks:
            if check.status == Status.FAILURE and check.failure_info is not None:
                failure = check.failure_info.failure
                message = f"{failure.title}: {failure.message}"
                yield Violation(recorder.label, check.name, message, check.failure_info.code_sample)
