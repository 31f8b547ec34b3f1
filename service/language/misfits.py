"""What msgspec finds wrong with a value, in the words of JSON, which whoever wrote the value knows."""

import re
from collections.abc import Mapping

import msgspec

from service.language.fields import counted

MISSING = "is missing"
UNKNOWN = "is not a field here"
NOT_ALLOWED = "is not one of the allowed values"
OTHER_FORM = "has the wrong form"
MOMENT = "must be a moment as of RFC 3339, with its zone, such as 2026-05-04T09:30:00Z"

_WORDS: Mapping[str, str] = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "object": "an object",
    "array": "an array",
    "null": "null",
}
_EXPECTED = re.compile(
    r"Expected `(?P<wanted>[^`]+)`"
    r"(?: (?P<length>of length )?(?P<comparison>[<>]=?) (?P<limit>[0-9.]+))?"
    r"(?:, got `(?P<given>[^`]+)`)?"
)
_COMPARISONS: Mapping[str, str] = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_OF_OBJECT = re.compile(r"Object (?:missing required field|(contains unknown field)) `(.*)`", re.DOTALL)


class Misfit(msgspec.Struct, frozen=True):
    """Where a value is wrong, as `client.id` with nothing for the whole of it; what it has to be; of which type it is."""

    place: str
    rule: str
    given: str | None = None


def misfit(message: str) -> Misfit:
    """Read the text of a `msgspec.ValidationError`; one of a form that is not known is the rule itself."""
    what, _, where = message.partition(" - at `$")
    place = where.rstrip("`").removeprefix(".")
    if of_object := _OF_OBJECT.fullmatch(what):
        return Misfit(f"{place}.{of_object[2]}".removeprefix("."), UNKNOWN if of_object[1] else MISSING)
    if expected := _EXPECTED.fullmatch(what):
        given = expected["given"]
        return Misfit(place, f"must be {_wanted(expected)}", given and _given(given))
    if what == "Invalid UUID":
        return Misfit(place, "must be a UUID")
    if what == "Invalid RFC3339 encoded datetime":
        return Misfit(place, MOMENT)
    if " matching regex " in what:
        return Misfit(place, OTHER_FORM)
    return Misfit(place, NOT_ALLOWED if what.startswith("Invalid enum value") else what)


def _wanted(expected: re.Match[str]) -> str:
    """The type that a value has to have, within its limit. Fields that may be null may as well be left out."""
    names = [name for name in expected["wanted"].split(" | ") if name != "null"] or ["null"]
    wanted = " or ".join(_WORDS.get(name, name) for name in names)
    if expected["limit"] is None:
        return wanted
    limit = expected["limit"]
    if expected["length"]:
        limit = counted(int(limit), "characters" if names == ["str"] else "items")
    return f"{wanted} of {_COMPARISONS[expected['comparison']]} {limit}"


def _given(name: str) -> str:
    """The type that a value has; JSON has one of numbers."""
    return _WORDS["float" if name == "int" else name] if name in _WORDS else name
