"""Writing jq into definitions that a dialect makes, so that no text of an author is ever taken for jq."""

import json
from typing import Any

import msgspec

JQ_LIMIT = 7_500  # bytes of one expression; the language takes 8 KiB


class Jq(msgspec.Struct, frozen=True):
    """A value that the data of an instance decide: the jq that finds it."""

    text: str

    def __str__(self) -> str:
        return f"${{ {self.text} }}"


def literal(value: Any) -> str:
    """A value as a literal of jq; JSON escapes every backslash, so that no text interpolates anything."""
    return json.dumps(value, ensure_ascii=False)


def written(value: Any) -> Any:
    """A value as a template of the language; what is null in an object is left out."""
    if isinstance(value, Jq):
        return str(value)
    if isinstance(value, dict):
        return {key: written(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [written(inner) for inner in value]
    return value
