"""Reading the arguments of built-in functions, by the same rules twice.

When a definition is created what is literal in them is looked at, and when a task runs what they were evaluated to.
"""

from collections.abc import Mapping
from typing import Any

from service.language.errors import below
from service.language.expressions import is_expression
from service.language.fields import FieldReader
from service.language.values import flaw, nodes


def is_computed(value: Any) -> bool:
    """Whether any of the value is `${ … }`."""
    return any(is_expression(node) for node, _ in nodes(value))


class ArgumentReader(FieldReader):
    """Reads arguments; in literal ones nothing is wrong with what is computed later."""

    def __init__(self, *, literal: bool) -> None:
        super().__init__()
        self.computed_later = literal
        if not literal:
            self.advice = ""  # an expression came to the value: there is nothing to quote

    def is_later(self, value: Any) -> bool:
        return self.computed_later and is_computed(value)

    def refuse(self, code: str, message: str, pointer: str) -> None:  # noqa: ARG002 - the contract has one code for all
        super().refuse("bad_arguments", message, pointer)

    def storable(self, arguments: Any) -> None:
        """Refuse evaluated arguments that hold what cannot be stored."""
        wrong = None if self.computed_later else flaw(arguments)
        if wrong is not None:
            self.refuse("bad_format", f"The arguments {wrong}.", "")

    def limited(self, fields: Mapping[str, Any], name: str, most: int, *, least: int = 1) -> str | None:
        """An optional string of so many characters."""
        value = self.text(fields, name, "")
        if value is not None and not least <= len(value) <= most and not self.is_later(value):
            self.refuse("bad_format", f"`{name}` has {least} to {most} characters.", below("", name))
        return value
