"""Tokens in the texts of a step: `$(name)`, `$(a.b)` and `$(metadata:Field)` stand for what the data bucket has there.

They become jq that puts texts together. What stands in the bucket is never read as anything else: not as jq, not for tokens
of its own, and not as a part of the address, form, page or JSON that it is put into.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

from service.language.expressions import is_expression
from service.language.writing import Jq, literal

TOKEN = re.compile(r"\$\(([^()\r\n]{1,200})\)")
# The value of a place as text: none where nothing is there, JSON where it is no text.
PRELUDE = (
    "def v($p): try getpath($p) catch null; "
    'def t($p): v($p) | if . == null then "" elif type == "string" then . else tojson end; '
)
DOTS = (
    '| if test("/\\\\.{1,2}([/?#]|$)") then error("a token makes a part of the URL a dot or two, which leads elsewhere") '
    "else . end"
)
_DOTS = re.compile(r"/\.{1,2}([/?#]|$)")


class Token(msgspec.Struct, frozen=True):
    """A token: where in the bucket its value is."""

    path: tuple[str, ...]

    @property
    def text(self) -> str:
        """The jq of the value as text."""
        return f"t({literal(list(self.path))})"

    @property
    def value(self) -> str:
        """The jq of the value as it is."""
        return f"v({literal(list(self.path))})"


Piece = str | Token
Written = Callable[[list[Piece]], Iterator[str]]  # the jq of each piece of a text, in a place of some kind


def pieces(text: str) -> list[Piece]:
    """A text in its parts."""
    parts = TOKEN.split(text)
    found: list[Piece] = [Token(path_of(part)) if index % 2 else part for index, part in enumerate(parts)]
    return [piece for piece in found if piece != ""]


def path_of(name: str) -> tuple[str, ...]:
    """Where the value of a token is: what follows a colon is one name, as metadata fields have dots in theirs."""
    first, colon, rest = name.strip().partition(":")
    return (first.strip(), rest.strip()) if colon else tuple(first.split("."))


def has_tokens(text: str) -> bool:
    """Whether a text holds any token."""
    return TOKEN.search(text) is not None


# --- Kinds of places ------------------------------------------------------------------------------------------------


def plain(found: list[Piece]) -> Iterator[str]:
    """A text of no special kind."""
    for piece in found:
        yield literal(piece) if isinstance(piece, str) else piece.text


def markup(found: list[Piece]) -> Iterator[str]:
    """HTML or XML: values are text in it."""
    for piece in found:
        yield literal(piece) if isinstance(piece, str) else f"({piece.text} | @html)"


def form(found: list[Piece]) -> Iterator[str]:
    """A form's fields: values are values in it."""
    for piece in found:
        yield literal(piece) if isinstance(piece, str) else f"({piece.text} | @uri)"


def address(found: list[Piece]) -> Iterator[str]:
    """A URL: values are parts of its path or query; a token that it begins with is the beginning of a URL itself."""
    for index, piece in enumerate(found):
        if isinstance(piece, str):
            yield literal(piece)
        else:
            yield f"({piece.text} | @uri)" if index else piece.text


def json(found: list[Piece]) -> Iterator[str]:
    """JSON: between quotes values are text, elsewhere they are values of JSON."""
    quoted = False
    for piece in found:
        if isinstance(piece, str):
            quoted ^= len(re.findall(r'"', re.sub(r"\\.", "", piece))) % 2 == 1
            yield literal(piece)
        else:
            yield f"({piece.text} | tojson | .[1:-1])" if quoted else f"({piece.value} | tojson)"


def body_of(content_type: str) -> Written:
    """How values are written in a body of a type."""
    kind = content_type.partition(";")[0].strip().lower()
    if "json" in kind:
        return json
    if kind.endswith(("/xml", "+xml", "/html")):
        return markup
    return form if kind == "application/x-www-form-urlencoded" else plain


# --- The whole ------------------------------------------------------------------------------------------------------


def unfilled(text: str) -> str | Jq:
    """A text of the author as a value of a definition, its tokens being text too; it is never taken for jq."""
    return Jq(literal(text)) if is_expression(text) else text


def filled(text: str, written: Written = plain) -> str | Jq:
    """A text of the author as a value of a definition: the text itself, or the jq that fills its tokens in."""
    if not has_tokens(text):
        return unfilled(text)
    return Jq(PRELUDE + " + ".join(written(pieces(text))))


def filled_apart(text: str, written: Written) -> list[str | Jq]:
    """A text of the author in pieces that are to be joined: the long ones of it never pass through jq."""
    found = pieces(text)
    return [
        unfilled(piece) if isinstance(piece, str) else Jq(PRELUDE + one)
        for piece, one in zip(found, written(found), strict=True)
    ]


def url(text: str) -> Jq:
    """A URL of the author, whose tokens lead nowhere that it does not name."""
    found = filled(text, address)
    if isinstance(found, str):
        return Jq(literal(found))
    return Jq(f"{found.text} {DOTS}") if not _DOTS.search(text) else found


def is_true(text: str) -> str:
    """The jq that tells whether the token of a condition stands for true."""
    return f'({Token(path_of(text)).text} | ascii_downcase == "true")'
