"""Expressions of expr-lang (https://expr-lang.org), which event triggers are written in, as jq for the sandbox.

Supported is the language of its documentation without methods, dates, bits, `groupBy`, `sortBy`, `splitAfter` and whatever
would call somebody. Where jq differs the rules are the language's: nil has no members, a missing member of a map is nil,
conditions are booleans, values of different types are neither added nor put in order, `/` never cuts off.
What differs from it: lengths, indexes and slices of strings count characters; maps are in the order of their keys; a whole
number is an `int` however it was written, so `%` takes 4.0; a division by zero and a result beyond 1.8e308 are errors;
`toJSON` breaks no lines; unknown names are refused before anything is run.
"""

from functools import cache, lru_cache
from typing import Any, Final

import msgspec

from service.language.expr.jq import program
from service.language.expr.lexer import LONGEST_TEXT, ExprRefused
from service.language.expr.library import definitions
from service.language.expr.parser import parsed
from service.language.expr.printing import printed
from service.language.expr.tree import Binary, Literal, Member, Node, Predicate, Slice, parts
from service.language.expressions import Evaluation, Expression, expression

__all__ = ["LONGEST_TEXT", "Expr", "ExprRefused", "asked", "printed", "read"]

VISIBLE: Final = frozenset({"event"})
CASES: Final = ("upper_cases", "lower_cases")
PLANE = range(0x10000)


class Expr(msgspec.Struct, frozen=True):
    """An expression that has been read: its jq, and the regular expressions that stand in it."""

    jq: Expression
    patterns: tuple[str, ...]


@lru_cache(maxsize=1000)
def read(text: str) -> Expr:
    """Read an expression over `event`; the latest thousand are kept, as a millisecond for each is long.

    Raises:
        ExprRefused: it is none, or has something that is not supported.
    """
    tree = parsed(text, VISIBLE)
    body = program(tree)
    return Expr(expression(f"{definitions(body)}\n{body}", [*VISIBLE, *CASES]), tuple(patterns(tree)))


def asked(subject: Expr, event: Any) -> Evaluation:
    """The question for an expression's value when `event` is this."""
    tables: dict[str, Any] = {name: cases(name) for name in CASES if name in subject.jq.used}
    return Evaluation(subject.jq, None, {"event": event, **tables})


@cache
def cases(name: str) -> dict[str, int]:
    """The letters that have another case, by code point: jq itself knows only those of ASCII."""
    other = str.upper if name == "upper_cases" else str.lower
    pairs = ((code, other(chr(code))) for code in PLANE)
    return {str(code): ord(found) for code, found in pairs if len(found) == 1 and ord(found) != code}


def patterns(node: Node) -> list[str]:
    """The regular expressions that are known before anything is run."""
    found: list[str] = []
    waiting: list[Node | Predicate | Member | Slice] = [node]
    while waiting:
        each = waiting.pop()
        match each:
            case Binary("matches", _, Literal(str(pattern))):
                found.append(pattern)
        waiting.extend(parts(each))
    return found
