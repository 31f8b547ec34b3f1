"""Events as CloudEvents 1.0 (contract 8): what one must hold, what a listening task takes from it, and which it takes.

A filter is decided in two steps. `plausible` needs nothing but the event and rules most events out; `evaluations` then
asks what only jq can tell, an author's `${}` or a regular expression, and `matches` decides by the answers. Patterns
come from strangers and are therefore never matched in this process.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from service.language.errors import Problem, below
from service.language.expressions import (
    Evaluation,
    Expression,
    ExpressionFailure,
    expression,
    is_expression,
    template,
)

Read = Literal["data", "envelope", "raw"]
Event = dict[str, Any]

LARGEST_EVENT = 65_536  # bytes; what the specification asks everyone to take
ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}")
TEXTS = ("specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema")

# A dot alone is ordinary in event types; only with one of these can a string be meant as a pattern (contract 8.2).
_METACHARACTERS = frozenset("\\^$*+?()[]{}|")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)


class EventRefused(Exception):  # noqa: N818 - named after the situation
    """The value is no CloudEvent; everything wrong with it at once."""

    def __init__(self, problems: list[Problem]) -> None:
        """Keep the problems, each pointing into the event."""
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class Condition(msgspec.Struct, frozen=True):
    """What a filter demands of one attribute: to equal `value`, or what `expression` says about it."""

    attribute: str
    how: Literal["equal", "pattern", "computed", "subset"]
    value: Any
    expression: Expression | None = None


class Correlation(msgspec.Struct, frozen=True):
    """One key of `correlate` (contract 8.3): what of the whole event (`source`), and what that must equal.

    Without `expect` the first event taken settles the value for all filters of the same listening.
    """

    key: str
    source: Expression
    expect: Expression | None


class Filter(msgspec.Struct, frozen=True):
    """The `with` of a listening task: every condition must hold; and its `correlate`."""

    conditions: tuple[Condition, ...]
    correlations: tuple[Correlation, ...] = ()


def condition(attribute: str, value: Any, names: Sequence[str]) -> Condition:
    """Read one attribute of a filter by the table of contract 8.2."""
    if is_expression(value):
        return Condition(attribute, "computed", value, expression(value, names))
    if isinstance(value, str) and _METACHARACTERS & set(value):
        return Condition(attribute, "pattern", value, _pattern(value))
    if isinstance(value, dict):
        return Condition(attribute, "subset", value, template(value, names))
    return Condition(attribute, "equal", value)


def _pattern(text: str) -> Expression:
    """The whole value against the pattern; as JSON text a pattern is a jq string that interpolates nothing."""
    literal = msgspec.json.encode(rf"\A(?:{text})\z").decode()
    return expression(f"test({literal})", ())


def plausible(wanted: Filter, event: Event) -> bool:
    """Whether the event holds every attribute and nothing already rules it out."""
    return all(_possible(one, event) for one in wanted.conditions)


def _possible(one: Condition, event: Event) -> bool:
    if one.attribute not in event:
        return False
    value = event[one.attribute]
    if one.how == "equal":
        return same(value, one.value)
    return one.how == "computed" or isinstance(value, str if one.how == "pattern" else dict)


def evaluations(wanted: Filter, event: Event, variables: Mapping[str, Any]) -> list[Evaluation]:
    """What must be asked about a plausible event; `.` is the attribute's own value."""
    return [
        Evaluation(one.expression, event[one.attribute], variables)
        for one in wanted.conditions
        if one.expression is not None
    ]


def matches(wanted: Filter, event: Event, answers: Sequence[Any]) -> bool:
    """Decide by the answers to `evaluations`.

    An expression that fails on an event does not match it: a stranger's odd event must not fault who waits for another.
    """
    asked = [one for one in wanted.conditions if one.expression is not None]
    return all(_holds(one, event, answer) for one, answer in zip(asked, answers, strict=True))


def _holds(one: Condition, event: Event, answer: Any) -> bool:
    value = event[one.attribute]
    if one.how == "pattern":
        return bool(value == one.value or answer is True)
    if isinstance(answer, ExpressionFailure):
        return False
    if one.how == "computed":
        return answer if isinstance(answer, bool) else same(value, answer)
    return _contains(value, answer)


def _contains(value: Any, wanted: Any) -> bool:
    """Whether every key that is wanted is there and equal, recursively through objects."""
    if not isinstance(wanted, dict):
        return same(value, wanted)
    return isinstance(value, dict) and all(
        key in value and _contains(value[key], wanted[key]) for key in wanted
    )


def same(left: Any, right: Any) -> bool:
    """Equality of JSON values: numbers numerically, but true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def taken(event: Event, read: Read) -> Any:
    """What a listening task outputs of the event (contract 2.9)."""
    if read == "envelope":
        return event
    if read == "data":
        return event.get("data", event.get("data_base64"))
    if "data_base64" in event:
        return event["data_base64"]
    return base64.b64encode(_payload(event)).decode()


def _payload(event: Event) -> bytes:
    """The payload's bytes as its sender had them: text of another media type is itself, all else is JSON."""
    data = event.get("data")
    media_type = str(event.get("datacontenttype", "application/json")).partition(";")[0].strip().lower()
    if "data" not in event:
        return b""
    if isinstance(data, str) and not media_type.endswith(("/json", "+json")):
        return data.encode()
    return msgspec.json.encode(data)


def complete(value: Any, *, identifier: str, source: str, at: datetime) -> Event:
    """The event with everything it must hold (contract 8.1), or `EventRefused`.

    What a short form (`type`, `data`, ...) leaves out is filled from the arguments; an attribute that is null is absent.
    """
    if not isinstance(value, dict):
        raise EventRefused([Problem("wrong_type", "An event is an object.", "")])
    given = {name: one for name, one in value.items() if one is not None or name == "data"}
    event = {
        "specversion": "1.0",
        "id": identifier,
        "source": source,
        "time": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    } | given
    problems = [problem for name in event for problem in flaws(name, event[name])]
    if "type" not in event:
        problems.append(Problem("missing_field", "An event needs a `type`.", "/type"))
    if "data" in event and "data_base64" in event:
        problems.append(
            Problem("ambiguous_data", "An event holds `data` or `data_base64`, not both.", "/data_base64")
        )
    if problems:
        raise EventRefused(problems)
    return event


def flaws(name: str, value: Any) -> list[Problem]:
    """What is wrong with one attribute; nothing is required of `data`."""
    if name == "data":
        return []
    code, wrong = "bad_format", None
    if name in {*TEXTS, "data_base64"}:
        code, wrong = _text(name, value)
    elif not ATTRIBUTE.fullmatch(name):
        wrong = "is no attribute name: those are lower-case letters and digits; put other members into `data`"
    elif not isinstance(value, str | bool | int):
        code, wrong = "wrong_type", "must be a string, an integer or a boolean; put other values into `data`"
    return [Problem(code, f"`{name}` {wrong}.", below("", name))] if wrong else []


def _text(name: str, value: Any) -> tuple[str, str | None]:
    """The code and the words for what is wrong with a standard attribute, if anything is."""
    if not isinstance(value, str) or (not value and name != "data_base64"):
        return "wrong_type", "must be a string that is not empty"
    rules: Mapping[str, tuple[str, Callable[[str], bool]]] = {
        "specversion": ("must be 1.0", "1.0".__eq__),
        "time": ("must be a time such as 2025-01-31T12:00:00Z", is_time),
        "dataschema": ("must be an absolute URI", lambda text: bool(_scheme(text))),
        "source": ("must be a URI", lambda text: _scheme(text) is not None),
        "data_base64": ("must be base64", _is_base64),
    }
    words, fits = rules.get(name, ("", lambda _: True))
    return "bad_format", None if fits(value) else words


def is_time(text: str) -> bool:
    """Whether the text is an RFC 3339 time."""
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return bool(_TIME.fullmatch(text))


def _scheme(text: str) -> str | None:
    """The scheme of a URI reference ("" when relative), None when it is no URI."""
    if any(character.isspace() for character in text):
        return None
    try:
        return urlsplit(text).scheme
    except ValueError:
        return None


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
