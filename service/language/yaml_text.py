"""What the events of a YAML text mean as a JSON value: YAML 1.2, core schema (contract 1)."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from service.language.values import DEPTH_LIMIT, NUMBER_LIMIT, Unreadable, integer, object_of, real, too_deep

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_BASED = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class Composer:
    """Makes JSON values of YAML events.

    PyYAML's own constructor follows YAML 1.1, where the key `on` is a boolean and `0123` is 83; and its recursion would
    let a deeply nested text end in RecursionError.
    """

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.open: list[list[Any]] = []  # the contents of each collection that is being read
        self.root: list[Any] = []

    def document(self) -> Any:
        documents = 0
        for event in self.events:
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise self.unreadable("One text holds one definition, not several documents", event)
            self.take(event)
        if not self.root:
            raise Unreadable("The text is empty.")
        return self.root[0]

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self.unreadable("Anchors and aliases are not supported; write the value out", event)
        if isinstance(event, yaml.ScalarEvent):
            self.add(self.scalar(event))
        elif isinstance(event, yaml.CollectionStartEvent):
            self.begin(event)
        elif isinstance(event, yaml.SequenceEndEvent):
            self.add(self.open.pop())
        elif isinstance(event, yaml.MappingEndEvent):
            self.add(self.mapping(self.open.pop(), event))

    def begin(self, event: Any) -> None:
        own = "seq" if isinstance(event, yaml.SequenceStartEvent) else "map"
        if event.tag not in {None, "!", _TAG + own}:
            raise self.unreadable(f"The tag {event.tag[:64]!r} is not supported", event)
        if len(self.open) >= DEPTH_LIMIT:
            raise too_deep("")
        self.open.append([])

    def add(self, value: Any) -> None:
        (self.open[-1] if self.open else self.root).append(value)

    def mapping(self, contents: list[Any], event: Any) -> dict[str, Any]:
        keys = contents[::2]
        for key in keys:
            if not isinstance(key, str):
                raise self.unreadable("Keys are strings; quote this one", event)
        if "<<" in keys:
            raise self.unreadable("Merge keys (<<) are not supported; write the fields out", event)
        return object_of(zip(keys, contents[1::2], strict=True))

    def scalar(self, event: Any) -> Any:
        if event.tag is None and event.implicit[0]:
            return self.plain(event)
        if event.tag not in {None, "!", _TAG + "str"}:
            raise self.unreadable(f"The tag {event.tag[:64]!r} is not supported", event)
        return event.value

    def plain(self, event: Any) -> Any:
        """YAML 1.2, core schema: what an unquoted scalar means."""
        text = event.value
        if _NULL.fullmatch(text):
            return None
        if _BOOLEAN.fullmatch(text):
            return text.lower() == "true"
        if _NOT_FINITE.fullmatch(text):
            raise self.unreadable(f"{text} is no JSON value; quote it to mean the text", event)
        return self.number(text)

    def number(self, text: str) -> Any:
        if _INTEGER.fullmatch(text):
            return integer(text)
        if (based := _BASED.fullmatch(text)) and len(text) <= NUMBER_LIMIT:
            return int(based[1], 8) if based[1] else int(based[2], 16)
        return real(text) if _FLOAT.fullmatch(text) else text

    def unreadable(self, message: str, event: Any) -> Unreadable:
        return Unreadable(
            f"{message} (line {event.start_mark.line + 1}, column {event.start_mark.column + 1})."
        )
