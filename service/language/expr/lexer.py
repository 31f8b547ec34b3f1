"""An expression's text as tokens, each with its place."""

import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

LONGEST_TEXT: Final = 4096
"""Bytes of one expression, in UTF-8."""

Kind = Literal["number", "text", "name", "symbol", "end"]

TOKEN = re.compile(
    r"""
    (?P<blank>\s+|//[^\n]*|/\*(?s:.*?)\*/)
  | (?P<number>0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+
              |(?:[0-9][0-9_]*(?:\.[0-9][0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)
  | (?P<text>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*'|`[^`]*`)
  | (?P<name>\$env\b|[^\W\d]\w*|\#(?:acc\b|index\b)?)
  | (?P<symbol>\*\*|\.\.|\?\.|\?\?|==|!=|<=|>=|&&|\|\||[-+*/%^<>!|?:,.;=()\[\]{}])
    """,
    re.VERBOSE,
)
ESCAPE = re.compile(
    r"\\(?:x(?P<x>[0-9a-fA-F]{2})|u\{(?P<braced>[0-9a-fA-F]{1,6})\}|u(?P<u>[0-9a-fA-F]{4})"
    r"|U(?P<U>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})|(?P<one>.))"
)
PLAIN: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "`": "`",
    "?": "?",
}
SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


class ExprRefused(Exception):  # noqa: N818 - named after the situation
    """An expression that is none, or has something that is not supported; the message says what and where."""


class Token(msgspec.Struct, frozen=True):
    """A token: its text as the author wrote it, the value of a number or text, and where it begins."""

    kind: Kind
    text: str
    at: int
    value: str | int | float | None = None


def refused(text: str, at: int, what: str) -> ExprRefused:
    """The refusal of what begins at a place of the text."""
    before = text[:at]
    line, column = before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1
    return ExprRefused(f"{what} (line {line}, column {column})")


def tokens(text: str) -> list[Token]:
    """Take an expression apart; the last token is its end.

    Raises:
        ExprRefused: the text is too long, or something in it is no token.
    """
    if len(text.encode(errors="replace")) > LONGEST_TEXT:
        raise ExprRefused(f"an expression has at most {LONGEST_TEXT} bytes")
    return [*scanned(text), Token("end", "the end", len(text))]


def scanned(text: str) -> Iterator[Token]:
    """The tokens of a text one after the other."""
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise refused(text, at, unreadable(text[at]))
        if text.startswith("/*", at) and found.lastgroup != "blank":
            raise refused(text, at, "a comment is not closed")
        match found.lastgroup:
            case "number":
                yield Token("number", found[0], at, number(text, found[0], at))
            case "text":
                yield Token("text", found[0], at, content(text, found[0], at))
            case "name":
                yield Token("name", found[0], at)
            case "symbol":
                yield Token("symbol", found[0], at)
        at = found.end()


def unreadable(character: str) -> str:
    """Say why nothing begins with a character."""
    if character in "\"'`":
        return "a string is not closed"
    return f"{character!r} has no meaning here"


def number(text: str, digits: str, at: int) -> int | float:
    """The value of a number. Integers have 64 bits, as where the language comes from."""
    try:
        value = int(digits, 0) if digits[:2].lower() in {"0x", "0o", "0b"} else decimal(digits)
    except ValueError:
        raise refused(text, at, f"{digits} is not a number") from None
    if value >= 2**63 if isinstance(value, int) else value == float("inf"):
        raise refused(text, at, f"{digits} is too large")
    return value


def decimal(digits: str) -> int | float:
    """The value of a decimal number."""
    return int(digits) if digits.replace("_", "").isdecimal() else float(digits)


def content(text: str, quoted: str, at: int) -> str:
    """The text between quotation marks, its escapes resolved; those between backticks have none."""
    inner = quoted[1:-1]
    value = inner if quoted[0] == "`" else ESCAPE.sub(lambda found: unescaped(found, text, at), inner)
    value = SURROGATE_PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), value)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise refused(text, at, "a string holds half of a surrogate pair, which is not text")
    return value


def unescaped(found: re.Match[str], text: str, at: int) -> str:
    """What an escape stands for."""
    if found["one"] is not None:
        if found["one"] not in PLAIN:
            raise refused(text, at, f"\\{found['one']} is not an escape")
        return PLAIN[found["one"]]
    code = (
        int(found["octal"], 8)
        if found["octal"]
        else int(found["x"] or found["braced"] or found["u"] or found["U"], 16)
    )
    if code > 0x10FFFF:
        raise refused(text, at, f"{found[0]} is not a character")
    return chr(code)
