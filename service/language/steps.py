"""Reading what a task does when it stays inside the workflow: `do`, `set`, `switch`, `wait`, `raise`, `for`, `fork`, `emit`."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from service.language import cloudevents
from service.language.document import Case, Do, Emit, For, Fork, Raise, Set, Switch, Wait, Work
from service.language.errors import below
from service.language.expressions import Expression, is_expression
from service.language.fields import BODY, NOTHING
from service.language.tasks import TaskReader

# Contract 1.6, suggested limits.
CASE_LIMIT = 100  # conditions of a `switch` are evaluated together, each with the data beside it
BRANCH_LIMIT = 50

_ERROR = ("type", "status", "title", "detail", "instance")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+")
_FORMS = {
    "type": (_URI, "an absolute URI"),
    "instance": (re.compile(r"(?:/(?:[^~/]|~[01])*)*"), "a JSON Pointer"),  # RFC 6901
}


def do(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    return Do(reader.tasks(fields["do"], pointer + "/do"))


def assign(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    """`set`: jq, or an object with at least one key."""
    value, place = fields["set"], pointer + "/set"
    if isinstance(value, str):
        return Set(reader.expression(value, place, reader.visible(BODY)))
    if isinstance(value, dict) and value:
        return Set(reader.template(value, place, reader.visible(BODY)))
    reader.refuse("wrong_type", "`set` is an object with at least one key, or a jq expression.", place)
    return None


def switch(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    value, place = fields["switch"], pointer + "/switch"
    if not isinstance(value, list) or not value:
        reader.refuse("wrong_type", "`switch` is a list of at least one case.", place)
        return None
    if len(value) > CASE_LIMIT:
        reader.refuse("too_large", f"A `switch` has at most {CASE_LIMIT} cases.", place)
        return None
    cases: list[Case] = []
    for name, inner, at in reader.named(value, place, "case"):
        case = reader.closed(inner, at, ("when", "then"), ("then",))
        when = reader.expression(case["when"], at + "/when", reader.visible(BODY)) if "when" in case else None
        if when is None and any(other.when is None for other in cases):
            reader.refuse("multiple_defaults", "Only one case may be without `when`.", at)
        cases.append(Case(name, when, reader.directive(case, at) or "continue"))
    return Switch(tuple(cases))


def wait(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    return Wait(reader.length(fields["wait"], pointer + "/wait", reader.visible(BODY)))


def throw(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    """`raise`: an error, or the name of one that `use` declares."""
    place = pointer + "/raise/error"
    shape = reader.closed(fields["raise"], pointer + "/raise", ("error",), ("error",))
    if "error" not in shape:
        return None
    value = shape["error"]
    if isinstance(value, str):
        found = reader.declaration("errors", value, place, partial(error, reader))
        return Raise(found or NOTHING)
    return Raise(error(reader, value, place))


def misnamed(field: str, text: str) -> str | None:
    """What the text of an error's field has to be and is not; nothing where it may be any text."""
    form = _FORMS.get(field)
    return None if form is None or form[0].fullmatch(text) else form[1]


def error(reader: TaskReader, value: Any, pointer: str) -> Expression:
    """An error to raise (contract 5.1)."""
    fields = reader.closed(value, pointer, _ERROR, ("type", "status"))
    for name in ("type", "title", "detail", "instance"):
        text = reader.text(fields, name, pointer)
        meant = None if text is None or is_expression(text) else misnamed(name, text)
        if meant is not None:
            reader.refuse("bad_format", f"`{name}` is {meant} or `${{ … }}`.", below(pointer, name))
    status = fields.get("status", 0)
    if not isinstance(status, int) or isinstance(status, bool):
        message = "`status` is an integer; an expression is not allowed."
        reader.refuse("wrong_type", message, below(pointer, "status"))
    return reader.template(fields, pointer, reader.visible(BODY))


def loop(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    """`for`, with the `while` and `do` beside it."""
    place = pointer + "/for"
    shape = reader.closed(fields["for"], place, ("in", "each", "at"), ("in",))
    each, at = pair(reader, shape, place, "each", "item")
    items = reader.expression(shape["in"], place + "/in", reader.visible(BODY)) if "in" in shape else NOTHING
    if "do" not in fields:
        reader.refuse(
            "missing_field", "The field `do` is missing: what is done for each item.", pointer + "/do"
        )
        return None
    with reader.binding(each, at):
        condition = (
            reader.expression(fields["while"], pointer + "/while", reader.visible(BODY))
            if "while" in fields
            else None
        )
        return For(items, each, at, condition, reader.tasks(fields["do"], pointer + "/do"))


def pair(
    reader: TaskReader, shape: Mapping[str, Any], pointer: str, name: str, default: str
) -> tuple[str, str]:
    """The variables for an item and its position, which must differ."""
    item = reader.variable(shape, name, default, pointer)
    at = reader.variable(shape, "at", "index", pointer)
    if item == at:
        message = f"`{name}` and `at` are two variables; give them different names."
        reader.refuse("bad_variable", message, below(pointer, "at" if "at" in shape else name))
    return item, at


def fork(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    place = pointer + "/fork"
    shape = reader.closed(fields["fork"], place, ("branches", "compete"), ("branches",))
    compete = reader.boolean(shape, "compete", place, default=False)
    value = shape.get("branches", [{}])
    if isinstance(value, list) and len(value) > BRANCH_LIMIT:
        message = f"A `fork` has at most {BRANCH_LIMIT} branches."
        reader.refuse("too_large", message, place + "/branches")
        return None
    if compete and value == []:
        message = "No branch could win: a `fork` that competes needs at least one."
        reader.refuse("missing_field", message, place + "/branches")
    return Fork(reader.branches(value, place + "/branches") if "branches" in shape else (), compete)


def emit(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    """`emit`: the attributes of the event; `id` and `time` may be left out."""
    place = pointer + "/emit"
    shape = reader.closed(fields["emit"], place, ("event",), ("event",))
    if "event" not in shape:
        return None
    event = reader.closed(shape["event"], place + "/event", ("with",), ("with",))
    attributes = reader.object(event, "with", place + "/event")
    at = place + "/event/with"
    for name in ("source", "type") if "with" in event else ():
        if name not in attributes:
            reader.refuse("missing_field", f"The field `{name}` is missing.", below(at, name))
    if "data" in attributes and "data_base64" in attributes:
        reader.refuse("bad_format", "An event holds `data` or `data_base64`, not both.", at + "/data_base64")
    for name, value in attributes.items():
        _attribute(reader, name, value, at)
    return Emit(reader.template(attributes, at, reader.visible(BODY)))


def _attribute(reader: TaskReader, name: str, value: Any, pointer: str) -> None:
    """Refuse what an event that is emitted cannot hold, as far as it is literal."""
    if is_expression(value) and name in {*cloudevents.TEXTS, "data_base64"}:
        return
    if name == "source" and isinstance(value, str) and value and not _URI.fullmatch(value):
        reader.refuse("bad_format", "`source` is an absolute URI or `${ … }`.", below(pointer, name))
        return
    for problem in cloudevents.flaws(name, value):
        reader.refuse(problem.code, problem.message, below(pointer, name))
