"""Which of an account's secrets an expression reads, told from its text (contract 7.3).

What a call may read is settled before it runs, so that nothing else is ever decrypted for it.
"""

import re
from collections.abc import Iterator
from typing import Any

from service.language.expressions import is_expression

# Outside of strings: a comment (a backslash before its line break continues it), a quote, a parenthesis, the variable.
_CODE = re.compile(r"#(?:\\[\s\S]|[^\\\n])*|[\"()]|\$secrets(?![A-Za-z0-9_]|::)")
_STRING = re.compile(r"\\\(|\\[\s\S]|\"")
_IN_BRACKETS = r"\[\s*\"([^\"\\]*)\"\s*\]"
_KEY = re.compile(
    rf"\s*(?:\.\s*(?:([A-Za-z_][A-Za-z0-9_]*)|\"([^\"\\]*)\"|{_IN_BRACKETS})|{_IN_BRACKETS})", re.ASCII
)


def reads_secrets(value: Any) -> bool:
    """Whether a projection (`input.from`: jq, or an object with jq in it) reads any secret."""
    if isinstance(value, str):
        return any(True for _ in names_used(value))
    return any(map(_leaf_reads_secrets, value.values())) if isinstance(value, dict) else False


def _leaf_reads_secrets(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_leaf_reads_secrets, value.values() if isinstance(value, dict) else value))
    return is_expression(value) and reads_secrets(value)


def names_used(text: str) -> Iterator[str | None]:
    """The name of each secret that a piece of jq reads; None where it takes `$secrets` whole or by a computed name."""
    outer: list[int] = []  # of each string whose interpolation is open, the parentheses open around it
    inside, parentheses, position = False, 0, 0
    while found := (_STRING if inside else _CODE).search(text, position):
        piece, position = found[0], found.end()
        if piece == '"':
            inside = not inside
        elif piece == "\\(":
            outer.append(parentheses)
            inside, parentheses = False, 0
        elif piece == ")" and parentheses == 0 and outer:
            inside, parentheses = True, outer.pop()
        elif piece in "()":
            parentheses += 1 if piece == "(" else -1
        elif piece.startswith("$"):
            key = _KEY.match(text, position)
            yield next((name for name in key.groups() if name is not None), None) if key else None
