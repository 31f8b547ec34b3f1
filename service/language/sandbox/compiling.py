"""Expressions as programs to compile, and the compiler's messages in words that an author can use."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from service.language import sandbox_worker as wire
from service.language.expressions import Expression, ExpressionFailure, Leaf, bare_programs, undefined
from service.language.expressions import Path as PlainPath

EXPRESSION_LIMIT: Final = 64 * 1024
"""Characters of one expression; the compiler's memory grows with them."""

COMPILE_ERROR = re.compile(
    r"jq: error: (?P<what>.*?) at <top-level>, line (?P<line>\d+), column (?P<column>\d+):", re.DOTALL
)
UNDEFINED_VARIABLE = re.compile(r"\$(?P<name>[A-Za-z0-9_:]+) is not defined")
UNDEFINED_LABEL = re.compile(r"\$\*label-(?P<name>\S+) is not defined")


def compilations(subject: Expression) -> Iterator[tuple[Leaf | None, str]]:
    """What to compile for an expression: each leaf bare, then the whole program."""
    yield from bare_programs(subject)
    if subject.program is not None:
        yield None, subject.program


def misplaced(subject: Expression) -> str | None:
    """What is wrong with the leaves that need no jq or that jq would never see whole."""
    for leaf in subject.leaves:
        plain = leaf.plain
        if (
            isinstance(plain, PlainPath)
            and plain.variable is not None
            and plain.variable not in subject.names
        ):
            return pointed(leaf, undefined(plain.variable, subject.names))
        if len(leaf.text) > EXPRESSION_LIMIT:
            return pointed(leaf, f"the expression has more than {EXPRESSION_LIMIT} characters")
        if "\0" in leaf.text or any("\ud800" <= character <= "\udfff" for character in leaf.text):
            return pointed(
                leaf, "the expression holds a character that is not text (NUL or half of a surrogate pair)"
            )
    return None


def pointed(leaf: Leaf | None, message: str) -> str:
    """A message that names the leaf of the template it is about."""
    return f"{leaf.pointer}: {message}" if leaf is not None and leaf.pointer else message


def compile_problem(answer: Any, leaf: Leaf | None, subject: Expression) -> str | None:
    """The message for the author, out of jq's own."""
    if isinstance(answer, ExpressionFailure):
        return pointed(leaf, f"the expression cannot be compiled: {answer.title}, {answer.detail}")
    if answer.status == wire.VALUE:
        return None
    text = answer.payload.decode(errors="replace")
    found = COMPILE_ERROR.search(text)
    if found is None or leaf is None:
        return pointed(
            leaf,
            text.removeprefix("jq: error: ").split("\n", 1)[0] if leaf else "not one complete expression",
        )
    return pointed(leaf, f"{readable(found['what'], subject.names)} ({position(found, leaf.text)})")


def readable(what: str, names: Sequence[str]) -> str:
    """A compiler's message in our words where its own are obscure."""
    if "expecting QQSTRING" in what:
        return "a string is not closed"
    what = what.replace("INVALID_CHARACTER", "character")
    label = UNDEFINED_LABEL.fullmatch(what)
    if label is not None:
        return f"there is no label ${label['name']} around this break"
    variable = UNDEFINED_VARIABLE.fullmatch(what)
    return undefined(variable["name"], names) if variable is not None else what


def position(found: re.Match[str], text: str) -> str:
    """Line and column in the author's text: the program's line 2 is its first, and jq counts bytes."""
    line, column = int(found["line"]) - 1, int(found["column"])
    lines = text.split("\n")
    if line > len(lines):
        return "at the end"
    if line < 1:  # an empty text ends before it begins
        return "line 1, column 1"
    before = lines[line - 1].encode(errors="replace")[: column - 1].decode(errors="ignore")
    return f"line {line}, column {len(before) + 1}"
