"""The configuration parameters of a step: what each kind of step has, and reading what an author gave."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

import msgspec

from service.keyfactor.steps.problems import Problem
from service.language.values import flaw

Given = Mapping[str, Any]

TEXT_LIMIT = 1_000  # characters of a text that stands in one line
NAMES_LIMIT = 100  # recipients
HEADERS_LIMIT = 63  # a request has at most 64, and `ContentType` may be one
SECRET_VALUE = "SecretValue"  # noqa: S105 - the field of an object in which some clients put a secret


class Type(IntEnum):
    """What a parameter holds. The vendor publishes no meaning of its numbers, 0 to 7: these are ours."""

    TEXT = 0
    NUMBER = 1
    TEXTS = 2
    HEADERS = 3
    SECRET = 4
    LONG_TEXT = 5
    CHOICE = 6


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a kind of step, as far as it is told and looked at in the same way for all of them."""

    name: str
    title: str
    type: Type = Type.TEXT
    required: bool = False
    default: str | None = None
    tokens: bool = False
    choices: tuple[str, ...] = ()


def checked(
    parameters: Iterable[Parameter], given: Given, step: str, problems: list[Problem]
) -> dict[str, Any]:
    """The values by the names of their parameters, whatever case they came in; null is none. Notes what is wrong."""
    known = {parameter.name.lower(): parameter for parameter in parameters}
    found: dict[str, Any] = {}
    for name, value in given.items():
        parameter = known.get(name.lower())
        if parameter is None:
            told = ", ".join(one.name for one in known.values()) or "none"
            problems.append(Problem(step, name[:64], f"is no parameter of this step; it has: {told}."))
        elif parameter.name in found:
            problems.append(Problem(step, name[:64], "is there twice, in different cases."))
        elif value is not None:
            found[parameter.name] = _value(parameter, value, step, problems)
    problems.extend(
        Problem(step, parameter.name, "is missing.")
        for parameter in known.values()
        if parameter.required and given_nothing(parameter, given)
    )
    return found


def given_nothing(parameter: Parameter, given: Given) -> bool:
    """Whether an author gave no value of a parameter."""
    return all(
        value in (None, "", []) for name, value in given.items() if name.lower() == parameter.name.lower()
    )


def _value(parameter: Parameter, value: Any, step: str, problems: list[Problem]) -> Any:
    """A value of its parameter's type, or None for one that is refused."""
    read, rule = _READERS[parameter.type]
    found = read(parameter, value)
    wrong = None if found is not None else rule
    if wrong is None and (broken := flaw(found)):
        wrong = f"a value that {broken} is none"
    if wrong is None and parameter.type is Type.CHOICE and found not in parameter.choices:
        wrong = f"has to be one of {', '.join(parameter.choices)}"
    if wrong is None and isinstance(found, str) and parameter.type is Type.TEXT and len(found) > TEXT_LIMIT:
        wrong = f"has at most {TEXT_LIMIT} characters"
    if wrong is not None:
        problems.append(Problem(step, parameter.name, f"{wrong}."))
        return None
    return found


def _text(_: Parameter, value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _choice(_: Parameter, value: Any) -> str | None:
    return value.upper() if isinstance(value, str) else None


def _number(_: Parameter, value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _texts(_: Parameter, value: Any) -> list[str] | None:
    if isinstance(value, list) and len(value) <= NAMES_LIMIT and all(isinstance(one, str) for one in value):
        return value
    return None


def _headers(_: Parameter, value: Any) -> dict[str, list[str]] | None:
    if not isinstance(value, dict) or len(value) > HEADERS_LIMIT:
        return None
    found = {name: [one] if isinstance(one, str) else one for name, one in value.items()}
    right = all(
        isinstance(one, list) and all(isinstance(each, str) for each in one) for one in found.values()
    )
    return found if right else None


def _secret(_: Parameter, value: Any) -> str | None:
    if isinstance(value, dict) and len(value) == 1:
        value = value.get(SECRET_VALUE)
    return value if isinstance(value, str) else None


_READERS: Mapping[Type, tuple[Any, str]] = {
    Type.TEXT: (_text, "has to be a string"),
    Type.LONG_TEXT: (_text, "has to be a string"),
    Type.CHOICE: (_choice, "has to be a string"),
    Type.NUMBER: (_number, "has to be a whole number"),
    Type.TEXTS: (_texts, f"has to be a list of at most {NAMES_LIMIT} strings"),
    Type.HEADERS: (
        _headers,
        f"has to be an object of at most {HEADERS_LIMIT} lists of strings, by the header's name",
    ),
    Type.SECRET: (
        _secret,
        "has to be a string, or null to keep what is stored; a provider of secrets of one's own is not supported",
    ),
}
