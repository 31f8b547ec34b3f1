"""The fields of a stage: what is known when the workflow is made, and the jq that finds what its variables make of it.

A string may hold variables, `${key}`, which stand for the strings that an instance is started with; an unknown one stands
for nothing. Their values are put together as jq strings and never read as anything else.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from service.formance.stages import times
from service.formance.stages.problems import Problem
from service.language.writing import JQ_LIMIT, Jq, literal

DIGITS = 100  # of an amount
METADATA_LIMIT = 100  # keys

MISSING = "is missing."
DOTS = "cannot be dots alone."

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def variables_in(value: Any) -> Iterator[str]:
    """The name of each variable in the strings of a value, in their order."""
    if isinstance(value, str):
        yield from _VARIABLE.findall(value)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from variables_in(inner)


def substituted(text: str) -> str | Jq:
    """The text, or the jq that fills its variables in."""
    pieces = _VARIABLE.split(text)
    if len(pieces) == 1:
        return text
    parts = [
        f'($workflow.input[{literal(piece)}] // "")' if position % 2 else literal(piece)
        for position, piece in enumerate(pieces)
        if piece or position % 2
    ]
    return Jq(" + ".join(parts))


def is_computed(value: Any) -> bool:
    """Whether variables decide any of a value."""
    if isinstance(value, dict):
        return any(map(is_computed, value.values()))
    return isinstance(value, Jq)


def is_whole(value: Any) -> TypeGuard[int | float]:
    """Whether a value of JSON is a whole number, however it is written."""
    return (
        value.is_integer()
        if isinstance(value, float)
        else isinstance(value, int) and not isinstance(value, bool)
    )


def failure(message: str) -> str:
    """The jq that fails; where in the stage is said by the template that it stands in."""
    return f"error({literal(message)})"


def misfit(rule: str) -> str:
    """The jq that fails about a text that is `.`."""
    return f"error({literal(f'has to be {rule}, and is ')} + (.[:64] | tojson))"


class Fields:
    """An object of a stage and its place, whose fields are read one by one; others are none of its business."""

    def __init__(self, problems: list[Problem], stage: int, value: Any, place: str = "") -> None:
        """Begin to read an object."""
        self.problems = problems
        self.stage = stage
        self.place = place
        self.given: Mapping[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.refuse("", "has to be an object.")

    def refuse(self, name: str, message: str) -> None:
        """Note what is wrong with a field."""
        self.problems.append(Problem(self.stage, self.at(name), message))

    def at(self, name: str) -> str:
        """The place of a field in its stage."""
        return ".".join(filter(None, (self.place, name)))

    def has(self, name: str) -> bool:
        """Whether there is a value; null is none, nor is an empty text."""
        return self.given.get(name) not in (None, "")

    def inner(self, name: str) -> "Fields":
        """The object below a field."""
        return Fields(self.problems, self.stage, self.given[name], self.at(name))

    def one_of(self, *names: str) -> str | None:
        """The one of several objects that is there."""
        found = [name for name in names if self.given.get(name) is not None]
        if len(found) == 1:
            return found[0]
        rule = f"needs exactly one of {', '.join(names)}"
        self.refuse("", f"{rule}; it has {' and '.join(found) or 'none of them'}.")
        return None

    # Texts

    def text(
        self, name: str, default: str | None = None, *, required: bool = False, segment: bool = False
    ) -> str | Jq | None:
        """A text; `default` in place of an empty one. `segment` refuses what an address would not keep apart."""
        value = self.given.get(name)
        if value is not None and not isinstance(value, str):
            self.refuse(name, "has to be a string.")
            return None
        found = self.filled(name, value or "")
        if isinstance(found, Jq):
            empty = failure(MISSING) if required else literal(default)
            dots = f' | if . == "." or . == ".." then {failure(DOTS)} else . end' if segment else ""
            return Jq(f'{found.text} | if . == "" then {empty} else . end{dots}')
        if required and found == "":
            self.refuse(name, MISSING)
        if segment and found in (".", ".."):
            self.refuse(name, DOTS)
        return found or default

    def filled(self, name: str, text: str) -> str | Jq | None:
        """A text with its variables; None for one that is refused."""
        found = substituted(text)
        if isinstance(found, Jq) and len(found.text.encode()) > JQ_LIMIT:
            self.refuse(name, "is too long to have variables in it.")
            return None
        return found

    def texts(self, name: str) -> dict[str, Any]:
        """An object of texts; no object is an empty one."""
        value = self.given.get(name)
        if value is None:
            return {}
        inner = self.inner(name)
        if len(inner.given) > METADATA_LIMIT:
            self.refuse(name, f"has at most {METADATA_LIMIT} keys.")
            return {}
        read = {}
        for key, one in inner.given.items():
            if isinstance(one, str):
                read[key] = inner.filled(key, one)
            else:
                inner.refuse(key, "has to be a string.")
        return read

    # Other types, which may be written as texts with variables

    def whole(self, name: str) -> str | Jq | None:
        """An amount, which is needed: its digits, as many as it has."""
        value = self.given.get(name)
        rule = f"a whole number, zero or more, of at most {DIGITS} digits"
        if is_whole(value) and 0 <= value < 10**DIGITS:
            return str(int(value))
        if not isinstance(value, str | None):
            self.refuse(name, f"has to be {rule}.")
            return None
        found = self.filled(name, value or "")
        if isinstance(found, Jq):
            test = rf'test("\\A[0-9]{{1,{DIGITS}}}\\z") then sub("\\A0+(?=[0-9])"; "")'
            return Jq(
                f'{found.text} | if . == "" then {failure(MISSING)} elif {test} else {misfit(rule)} end'
            )
        if found is not None and not re.fullmatch(rf"[0-9]{{1,{DIGITS}}}", found):
            self.refuse(name, f"has to be {rule}." if found else MISSING)
        return (found.lstrip("0") or "0") if found else None

    def flag(self, name: str) -> bool | Jq:
        """True or false; nothing is false."""
        value = self.given.get(name)
        rule = "true or false"
        if isinstance(value, bool | None):
            return bool(value)
        found = self.filled(name, value) if isinstance(value, str) else None
        if isinstance(found, Jq):
            true, false = (literal(list(words)) for words in (_TRUE, ("", *_FALSE)))
            return Jq(
                f"{found.text} | if IN({true}[]) then true elif IN({false}[]) then false "
                f"else {misfit(rule)} end"
            )
        if found is None or found not in (*_TRUE, "", *_FALSE):
            self.refuse(name, f"has to be {rule}.")
        return found in _TRUE

    def choice(self, name: str, default: str, *others: str) -> str | Jq:
        """One of several words."""
        words = (default, *others)
        found = self.text(name, default)
        rule = " or ".join(words)
        if isinstance(found, Jq):
            return Jq(f"{found.text} | if IN({literal(list(words))}[]) then . else {misfit(rule)} end")
        if found is not None and found not in words:
            self.refuse(name, f"has to be {rule}.")
        return found or default

    def instant(self, name: str) -> str | Jq | None:
        """A date with its time and zone."""
        return self._time(name, times.INSTANT_RULE, times.INSTANT_JQ, times.epoch_milliseconds)

    def length(self, name: str) -> str | Jq | None:
        """A length of time, five years at most."""
        found = self._time(name, times.LENGTH_RULE, times.LENGTH_JQ, times.milliseconds)
        if isinstance(found, str) and (times.milliseconds(found) or 0) > times.MOST_MILLISECONDS:
            self.refuse(name, f"{times.TOO_LONG}.")
        return found

    def _time(self, name: str, rule: str, jq: str, read: Any) -> str | Jq | None:
        found = self.text(name)
        if isinstance(found, Jq):
            wrong = misfit(rule)
            return Jq(f"{found.text} | if . == null then . elif {jq} == null then {wrong} else . end")
        if found is not None and read(found) is None:
            self.refuse(name, f"has to be {rule}.")
        return found
