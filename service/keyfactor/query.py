r"""The dialect's query language (contract 3): `Status -eq "Failed" AND (Title -contains "a" OR StartDate -ge "%TODAY-7%")`.

The vendor publishes no grammar. AND binds closer than OR. Inside of double quotes `\\` stands for a backslash and `\"` (or a
quote twice) for a quote; a backslash before anything else is itself. What a field means is not known here: see `fields`.
"""

import re
from collections.abc import Iterator
from typing import Literal, cast

import msgspec

from service.keyfactor.errors import Code, Refused
from service.operations.conditions import ALWAYS, Comparison, Condition, Every, Operator, Some

LONGEST = 4_096  # characters of a query
DEEPEST = 20  # parentheses inside of one another
MOST = 100  # comparisons

OPERATORS: tuple[Operator, ...] = (
    *("eq", "ne", "lt", "le", "gt", "ge"),
    *("contains", "notcontains", "startswith", "endswith"),
)
TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[()])|"(?P<quoted>(?:[^"\\]|\\["\\]|\\(?!["\\])|"")*)"|(?P<bare>[^\s()"]+)|(?P<wrong>\S))"""
)
ESCAPED = re.compile(r'\\(["\\])|"(")')
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
SHOWN = 50  # characters of what is wrong

Kind = Literal["mark", "quoted", "bare", "wrong", "end"]


class Token(msgspec.Struct, frozen=True):
    """A piece of a query, and behind how many characters it stands."""

    kind: Kind
    text: str
    at: int

    def is_word(self, word: str) -> bool:
        """Whether it is this word, in any case."""
        return self.kind == "bare" and self.text.lower() == word

    @property
    def told(self) -> str:
        """Say what it is, for people."""
        if self.kind == "end":
            return "the query ends"
        return f"{self.text[:SHOWN]!r} stands at character {self.at + 1}"


def parse(text: str | None) -> Condition:
    """Read a query; the values of its comparisons are texts, and None for NULL. No query, or an empty one, asks for everything.

    Raises:
        Refused: it is none, or longer, deeper or of more comparisons than is taken.
    """
    if text is None or not text.strip():
        return ALWAYS
    if len(text) > LONGEST:
        raise wrong(f"it has {len(text)} characters, and {LONGEST} at the most are taken")
    if UNSTORABLE.search(text):
        raise wrong("it holds NUL or half of a surrogate pair, which no text here does")
    return Parser(text.rstrip()).parsed()


def wrong(why: str) -> Refused:
    """Refuse a query."""
    return Refused(Code.QUERY, f"The query cannot be read: {why}.")


def tokens(text: str) -> Iterator[Token]:
    """Cut a query into pieces, of which the last is its end."""
    for match in TOKEN.finditer(text):
        kind = cast(Kind, match.lastgroup)
        yield Token(kind, match[kind], match.start(kind) - (kind == "quoted"))
    yield Token("end", "", len(text))


class Parser:
    """Reads one query from its front to its end, one piece at a time."""

    def __init__(self, text: str) -> None:
        self._rest = tokens(text)
        self._next = next(self._rest)
        self._comparisons = 0

    def parsed(self) -> Condition:
        """Read the whole query."""
        condition = self._chain(0)
        if self._next.kind != "end":
            raise wrong(f"{self._next.told} where AND, OR or the end should")
        return condition

    def _taken(self) -> Token:
        token, self._next = self._next, next(self._rest, self._next)
        return token

    def _chain(self, depth: int) -> Condition:
        """Read what ORs join."""
        parts = [self._closer_chain(depth)]
        while self._next.is_word("or"):
            self._taken()
            parts.append(self._closer_chain(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _closer_chain(self, depth: int) -> Condition:
        """Read what ANDs join."""
        parts = [self._primary(depth)]
        while self._next.is_word("and"):
            self._taken()
            parts.append(self._primary(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _primary(self, depth: int) -> Condition:
        """Read a comparison, or what parentheses hold together."""
        if self._next.text != "(" or self._next.kind != "mark":
            return self._comparison()
        if depth == DEEPEST:
            raise wrong(f"its parentheses stand more than {DEEPEST} deep in one another")
        self._taken()
        condition = self._chain(depth + 1)
        if self._next.text != ")" or self._next.kind != "mark":
            raise wrong(f"{self._next.told} where AND, OR or a closing parenthesis should")
        self._taken()
        return condition

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MOST:
            raise wrong(f"it has more than {MOST} comparisons")
        field = self._taken()
        if field.kind != "bare":
            raise wrong(f"{field.told} where the name of a field should")
        return Comparison(field.text, self._operator(), self._value())

    def _operator(self) -> Operator:
        token = self._taken()
        for operator in OPERATORS:
            if token.is_word(f"-{operator}"):
                return operator
        known = ", ".join(f"-{operator}" for operator in OPERATORS)
        raise wrong(f"{token.told} where an operator should, which is one of {known}")

    def _value(self) -> str | None:
        token = self._taken()
        if token.kind == "quoted":
            return ESCAPED.sub(r"\1\2", token.text)
        if token.kind == "bare":
            return None if token.is_word("null") else token.text
        if token.kind == "wrong":
            raise wrong(
                f"the quotes that open at character {token.at + 1} are not closed; a backslash at the end of a text is doubled"
            )
        raise wrong(f"{token.told} where a value should")
