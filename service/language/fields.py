"""Reading single fields of a document: shapes, references, expressions and durations, and the list of what is wrong."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.language.durations import Duration, DurationRefused, duration
from service.language.errors import Problem, below
from service.language.expressions import (
    BLANK,
    Expression,
    expression,
    is_expression,
    is_variable_name,
    template,
)
from service.language.values import PROBLEM_LIMIT, members_below

# Contract 1.6, suggested limits.
EXPRESSION_LIMIT = 8 * 1024  # bytes
EXPRESSION_COUNT = 2_000  # compiling one takes about a millisecond
VARIABLE_LIMIT = 64  # characters of a variable's name, which every program it is visible in carries

# What an expression may see, by place (contract 3.2).
WORKFLOW_INPUT = ("workflow", "runtime")
BEFORE_BODY = ("context", "task", "workflow", "runtime")
BODY = ("context", "input", "task", "workflow", "runtime")
EXPORT = ("context", "input", "output", "task", "workflow", "runtime")
WORKFLOW_OUTPUT = ("context", "workflow", "runtime")
SCHEDULE = ("runtime",)

_RESERVED = ("context", "input", "output", "secrets", "authorization", "task", "workflow", "runtime")
_BARE = re.compile(r"[.$][A-Za-z_]")

# These stand for what was refused; no definition with them is ever handed out.
NOTHING = Expression(None, (), None)
NO_TIME = duration({"seconds": 0})


class FieldReader:
    """Reads fields of a document, collecting what is wrong with them and every expression in them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.expressions: list[tuple[str, Expression]] = []
        self.advice = "; quote it"  # to who wrote the value where a string belongs
        self.overflowed = False  # whether there were more of them than a definition may have

    def refuse(self, code: str, message: str, pointer: str) -> None:
        """Note what is wrong, once: what `use` declares is read again for another place that sees other variables."""
        problem = Problem(code, message, pointer)
        if len(self.problems) < PROBLEM_LIMIT and problem not in self.problems:
            self.problems.append(problem)

    def warn(self, code: str, message: str, pointer: str) -> None:
        if len(self.warnings) < PROBLEM_LIMIT:
            self.warnings.append(Problem(code, message, pointer))

    # Shapes

    def closed(
        self, value: Any, pointer: str, allowed: Sequence[str], required: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        """The object, its fields known and the required ones present; empty when it is no object."""
        if not isinstance(value, dict):
            self.refuse("wrong_type", f"This is an object with the fields {listed(allowed)}.", pointer)
            return {}
        for name in value:
            if name not in allowed:
                message = f"There is no field `{name}` here; the fields are {listed(allowed)}."
                self.refuse("unknown_field", message, below(pointer, name))
        for name in required:
            if name not in value:
                self.refuse("missing_field", f"The field `{name}` is missing.", below(pointer, name))
        return value

    def text(
        self,
        fields: Mapping[str, Any],
        name: str,
        pointer: str,
        form: tuple[re.Pattern[str], str] | None = None,
    ) -> str | None:
        """An optional string, of the form's pattern; the form's second half says what that is."""
        value = fields.get(name)
        if name in fields and not isinstance(value, str):
            self.refuse("wrong_type", f"`{name}` is a string{self.advice}.", below(pointer, name))
        if not isinstance(value, str):
            return None
        if form is not None and not form[0].fullmatch(value):
            self.refuse("bad_format", f"`{name}` {form[1]}.", below(pointer, name))
        return value

    def object(self, fields: Mapping[str, Any], name: str, pointer: str) -> Mapping[str, Any]:
        """An optional object of any fields."""
        value = fields.get(name, {})
        if not isinstance(value, dict):
            self.refuse("wrong_type", f"`{name}` is an object.", below(pointer, name))
            return {}
        return value

    def boolean(self, fields: Mapping[str, Any], name: str, pointer: str, *, default: bool) -> bool:
        """An optional boolean."""
        value = fields.get(name, default)
        if not isinstance(value, bool):
            self.refuse("wrong_type", f"`{name}` is true or false.", below(pointer, name))
            return default
        return value

    def choice(self, fields: Mapping[str, Any], name: str, pointer: str, options: Sequence[str]) -> str:
        """An optional string that is one of the options, the first of them by default."""
        value = fields.get(name, options[0])
        if value not in options:
            self.refuse("bad_format", f"`{name}` is one of {listed(options)}.", below(pointer, name))
            return options[0]
        return str(value)

    def list_of(
        self, value: Any, pointer: str, what: str, most: int, least: int = 0
    ) -> list[tuple[Any, str]]:
        """Each item of a list with its pointer; `what` names the items in the messages."""
        if not isinstance(value, list):
            self.refuse("wrong_type", f"This is a list of {what}.", pointer)
            return []
        if len(value) < least:
            self.refuse("missing_field", f"This list has at least {counted(least, what)}.", pointer)
        if len(value) > most:
            self.refuse("too_large", f"This list has at most {counted(most, what)}.", pointer)
            return []
        return [(item, below(pointer, index)) for index, item in enumerate(value)]

    def one_of(self, value: Any, pointer: str, options: Sequence[str]) -> str | None:
        """The one key of an object that has exactly one of the options; other keys are for `closed` to refuse."""
        if not isinstance(value, dict):
            self.refuse("wrong_type", f"This is an object with one of {listed(options)}.", pointer)
            return None
        given = [name for name in options if name in value]
        if not given:
            self.refuse("missing_field", f"This needs one of {listed(options)}.", below(pointer, options[0]))
        if len(given) > 1:
            message = f"This takes exactly one of {listed(options)}, and has {listed(given)}."
            self.refuse("bad_format", message, pointer)
        return given[0] if len(given) == 1 else None

    def variable(self, fields: Mapping[str, Any], name: str, default: str, pointer: str) -> str:
        """The name of a variable that jq can bind and that is not one of the language's own (contract 1.6)."""
        value = fields.get(name, default)
        if not isinstance(value, str):
            self.refuse("wrong_type", f"`{name}` is the name of a variable.", below(pointer, name))
            return default
        if value in _RESERVED or len(value) > VARIABLE_LIMIT or not is_variable_name(value):
            message = (
                f"`{name}` is a variable's name: letters, digits and underscores, {VARIABLE_LIMIT} at most, no digit first, "
                f"without `$`, and none of {listed([*_RESERVED, 'ENV', '__loc__'])}."
            )
            self.refuse("bad_variable", message, below(pointer, name))
            return default
        return value

    def named(self, value: Sequence[Any], pointer: str, what: str) -> list[tuple[str, Any, str]]:
        """The name, value and pointer of each item that is an object with one key."""
        items = []
        for index, item in enumerate(value):
            if not isinstance(item, dict) or len(item) != 1:
                message = f"An item of this list is an object with exactly one key, the {what}'s name."
                self.refuse("wrong_type", message, below(pointer, index))
                continue
            ((name, inner),) = item.items()
            if not name:
                self.refuse("bad_format", f"The {what}'s name is empty.", below(pointer, index))
            items.append((name, inner, below(pointer, index, name)))
        return items

    def unknown(self, kind: str, name: str, known: Iterable[str], pointer: str) -> None:
        """Refuse a reference to something that `use` does not declare."""
        declared = listed(known) or "none"
        self.refuse(
            f"unknown_{kind}", f"There is no {kind} `{name}`; declared under `use`: {declared}.", pointer
        )

    # Expressions

    def expression(self, value: Any, pointer: str, names: tuple[str, ...]) -> Expression:
        """A field that is jq, with or without `${ }`."""
        if not isinstance(value, str):
            self.refuse("wrong_type", "This is a jq expression: a string, so quote it.", pointer)
        elif not _inner(value):
            self.refuse("bad_expression", "The expression is empty.", pointer)
        elif len(value.encode()) > EXPRESSION_LIMIT:
            self.refuse("too_large", f"An expression has at most {EXPRESSION_LIMIT // 1024} KiB.", pointer)
        else:
            return self._registered(expression(value, names), pointer)
        return NOTHING

    def _registered(self, made: Expression, pointer: str) -> Expression:
        """Keep the expression for the compiler, unless there are too many."""
        if len(self.expressions) < EXPRESSION_COUNT:
            self.expressions.append((pointer, made))
        elif not self.overflowed:
            self.overflowed = True
            self.refuse("too_large", f"A definition has at most {EXPRESSION_COUNT} expressions.", pointer)
        return made

    def template(self, value: Any, pointer: str, names: tuple[str, ...]) -> Expression:
        """A field that is data, in which strings may be `${ }`; each such string is checked at its own place."""
        self.leaves(value, pointer, names)
        return template(value, names)

    def leaves(self, value: Any, pointer: str, names: tuple[str, ...]) -> None:
        """Keep each expression inside data at its own place, for whoever puts the data together."""
        if is_expression(value):
            self.expression(value, pointer, names)
        elif isinstance(value, str):
            self.literal(value, pointer)
        for place, inner in members_below(pointer, value):
            self.leaves(inner, place, names)

    def literal(self, text: str, pointer: str) -> None:
        """Warn where a text was probably meant to be evaluated (contract 1.6)."""
        if "${" in text:
            message = "This is literal text: a string is evaluated only if it is `${ … }` from end to end."
            self.warn("embedded_expression", f'{message} To join text write ${{ "… \\(.x)" }}.', pointer)
        elif _BARE.match(text):
            self.warn("bare_expression", "This is literal text: in data, jq stands in `${ … }`.", pointer)

    def projection(
        self, fields: Mapping[str, Any], name: str, pointer: str, names: tuple[str, ...]
    ) -> Expression | None:
        """`from` or `as`: jq or an object; None when it changes nothing."""
        if name not in fields:
            return None
        value, place = fields[name], below(pointer, name)
        if isinstance(value, dict):
            return self.template(value, place, names)
        if isinstance(value, str):
            made = self.expression(value, place, names)
            return None if _inner(value) == "." else made
        self.refuse("wrong_type", f"`{name}` is a jq expression or an object.", place)
        return None

    def length(self, value: Any, pointer: str, names: tuple[str, ...]) -> Duration | Expression:
        """A duration, or the expression that gives one."""
        if is_expression(value):
            return self.expression(value, pointer, names)
        try:
            return duration(value)
        except DurationRefused as refused:
            code = "bad_format" if isinstance(value, str | dict) else "wrong_type"
            self.refuse(code, str(refused), pointer)
            return NO_TIME


def listed(names: Iterable[str]) -> str:
    """The names for a message, the first 20 of them, since a definition may hold hundreds."""
    every = [f"`{name[:64]}`" for name in names]
    return ", ".join(every[:20]) + (f" and {len(every) - 20} more" if len(every) > 20 else "")


def counted(number: int, what: str) -> str:
    """`1 filter`, `50 filters`; `what` is the plural."""
    return f"{number} {what.removesuffix('s') if number == 1 else what}"


def _inner(text: str) -> str:
    """The jq of an expression field, without `${ }`."""
    stripped = text.strip(BLANK)
    return stripped[2:-1].strip(BLANK) if is_expression(text) else stripped
