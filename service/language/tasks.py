"""Reading task lists, the fields that every task has, and what each kind of task does (contract 1.4).

Whatever the engine does not run yet is refused here by name, so that no instance ever meets a task it cannot perform.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.language import cloudevents
from service.language.cloudevents import Filter
from service.language.document import DIRECTIVES, Case, Do, Listen, Raise, Set, Switch, Task, Wait, Work
from service.language.errors import below
from service.language.expressions import Expression, is_expression
from service.language.fields import BEFORE_BODY, BODY, EXPORT, EXPRESSION_LIMIT, NOTHING, FieldReader, listed
from service.language.ways import useless_or_endless

# Contract 1.6, suggested limits.
NESTING_LIMIT = 20  # tasks inside tasks
TASK_LIMIT = 500
CASE_LIMIT = 100  # conditions of a `switch` are evaluated together, each with the data beside it

# Every kind of task of the standard with the fields it owns besides the key of its name (contract 1.4). `for` stands
# before `do`, which it also has.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "call": ("with",),
    "for": ("while", "do"),
    "do": (),
    "emit": (),
    "fork": (),
    "listen": ("foreach",),
    "raise": (),
    "run": (),
    "set": (),
    "switch": (),
    "try": ("catch",),
    "wait": (),
}
_COMMON = ("if", "input", "output", "export", "timeout", "then", "metadata")
_ERROR = ("type", "status", "title", "detail", "instance")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")


class TaskReader(FieldReader):
    """Reads task lists, keeping the names that `then` may lead to and the errors that `raise` may name."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: dict[str, Expression] = {}
        self.siblings: list[list[str]] = []  # the task names of each list around the current task
        self.pointers: dict[str, str] = {}  # one place of each task name
        self.jumps: list[tuple[str, str, list[str]]] = []  # pointer, target, the names it may be
        self.counted = 0

    def tasks(self, value: Any, pointer: str) -> tuple[Task, ...]:
        """A list of one-key objects, each the name of a task and the task."""
        if not isinstance(value, list):
            self.refuse(
                "wrong_type", "A task list is a list of objects with one key, the task's name.", pointer
            )
            return ()
        if len(self.siblings) >= NESTING_LIMIT:
            self.refuse("too_deep", f"Tasks are nested at most {NESTING_LIMIT} deep.", pointer)
            return ()
        items = self.named(value, pointer, "task")
        self._names(items)
        self.siblings.append([name for name, _, _ in items])
        tasks = tuple(task for item in items if (task := self.task(*item)))
        self.siblings.pop()
        if len(tasks) == len(value):
            for warning in useless_or_endless(tasks):
                self.warn(warning.code, warning.message, warning.pointer)
        return tasks

    def _names(self, items: Sequence[tuple[str, Any, str]]) -> None:
        seen = set()
        for name, _, pointer in items:
            if name in seen:
                message = f"Another task of this list is called `{name}`; `then` could not tell them apart."
                self.refuse("duplicate_task_name", message, pointer)
            if name in DIRECTIVES:
                message = (
                    f"No `then` can lead to a task called `{name}`: the word means something else there."
                )
                self.warn("reserved_name", message, pointer)
            seen.add(name)
            self.pointers.setdefault(name, pointer)
        before, self.counted = self.counted, self.counted + len(items)
        if before <= TASK_LIMIT < self.counted:
            self.refuse("too_large", f"A definition has at most {TASK_LIMIT} tasks.", "/do")

    def task(self, name: str, value: Any, pointer: str) -> Task | None:
        """One task, or None when what it does could not be read."""
        kind = self._kind(value, pointer)
        if kind is None:
            return None
        fields = self.closed(value, pointer, (kind, *_KINDS[kind], *_COMMON))
        self.unsupported(fields, ("timeout",), pointer, "the workflow's own `timeout` is")
        self.object(fields, "metadata", pointer)
        before, after, context = (
            self._shape(fields, part, pointer) for part in ("input", "output", "export")
        )
        common: dict[str, Any] = {
            "condition": self.expression(fields["if"], pointer + "/if", BEFORE_BODY)
            if "if" in fields
            else None,
            "input_from": self.projection(before, "from", pointer + "/input", BEFORE_BODY),
            "output_as": self.projection(after, "as", pointer + "/output", BODY),
            "export_as": self.projection(context, "as", pointer + "/export", EXPORT),
            "then": self.directive(fields, pointer),
        }
        if kind not in _READERS:
            message = f"`{kind}` is not supported yet; the supported tasks are {listed(_READERS)}."
            self.refuse("unsupported_task", message, below(pointer, kind))
            return None
        work = _READERS[kind](self, fields, below(pointer, kind))
        if work is None:
            return None
        return Task(name=name, pointer=pointer, definition=value, work=work, **common)

    def _kind(self, value: Any, pointer: str) -> str | None:
        """Which kind of task this is, by its keys."""
        if not isinstance(value, dict):
            self.refuse("wrong_type", "A task is an object.", pointer)
            return None
        kinds = [kind for kind in _KINDS if kind in value and not (kind == "do" and "for" in value)]
        if not kinds:
            self.refuse("missing_field", f"A task needs exactly one of {listed(_KINDS)}.", pointer)
        if len(kinds) > 1:
            self.refuse("ambiguous_task", f"A task does one thing; this has {listed(kinds)}.", pointer)
        return kinds[0] if len(kinds) == 1 else None

    def _shape(self, fields: Mapping[str, Any], part: str, pointer: str) -> Mapping[str, Any]:
        """`input`, `output` or `export` of a task."""
        main = "from" if part == "input" else "as"
        place = below(pointer, part)
        shape = self.closed(fields.get(part, {}), place, ("schema", main))
        self.unsupported(shape, ("schema",), place, f"`{main}` is, and so is `input.schema` of the workflow")
        return shape

    def directive(self, fields: Mapping[str, Any], pointer: str) -> str | None:
        """`then`; that a name it gives exists is checked when all names are known."""
        target = self.text(fields, "then", pointer)
        if target is not None and target not in DIRECTIVES:
            self.jumps.append((below(pointer, "then"), target, self.siblings[-1]))
        return target

    def error(self, value: Any, pointer: str) -> Expression:
        """An error to raise (contract 5.1)."""
        fields = self.closed(value, pointer, _ERROR, ("type", "status"))
        for name in ("type", "title", "detail", "instance"):
            text = self.text(fields, name, pointer)
            form = {"type": _URI, "instance": _POINTER}.get(name)
            if text is not None and form and not is_expression(text) and not form.fullmatch(text):
                meant = "an absolute URI" if name == "type" else "a JSON Pointer"
                self.refuse("bad_format", f"`{name}` is {meant} or `${{ … }}`.", below(pointer, name))
        status = fields.get("status", 0)
        if not isinstance(status, int) or isinstance(status, bool):
            self.refuse(
                "wrong_type",
                "`status` is an integer; an expression is not allowed.",
                below(pointer, "status"),
            )
        return self.template(fields, pointer, BODY)

    def resolve_jumps(self) -> None:
        """Refuse each `then` that leads nowhere, once every task has been read."""
        for pointer, target, names in self.jumps:
            if target in names:
                continue
            elsewhere = self.pointers.get(target)
            hint = f" It exists at {elsewhere}, but a jump stays in its own list." if elsewhere else ""
            allowed = listed([*DIRECTIVES, *names])
            message = f"There is no task `{target}` in this list.{hint} Allowed: {allowed}."
            self.refuse("unknown_target", message, pointer)


def _do(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    return Do(reader.tasks(fields["do"], pointer))


def _set(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    value = fields["set"]
    if isinstance(value, str):
        return Set(reader.expression(value, pointer, BODY))
    if isinstance(value, dict) and value:
        return Set(reader.template(value, pointer, BODY))
    reader.refuse("wrong_type", "`set` is an object with at least one key, or a jq expression.", pointer)
    return None


def _switch(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    value = fields["switch"]
    if not isinstance(value, list) or not value:
        reader.refuse("wrong_type", "`switch` is a list of at least one case.", pointer)
        return None
    if len(value) > CASE_LIMIT:
        reader.refuse("too_large", f"A `switch` has at most {CASE_LIMIT} cases.", pointer)
        return None
    cases: list[Case] = []
    for name, inner, place in reader.named(value, pointer, "case"):
        case = reader.closed(inner, place, ("when", "then"), ("then",))
        when = reader.expression(case["when"], place + "/when", BODY) if "when" in case else None
        if when is None and any(other.when is None for other in cases):
            reader.refuse("multiple_defaults", "Only one case may be without `when`.", place)
        cases.append(Case(name, when, reader.directive(case, place) or "continue"))
    return Switch(tuple(cases))


def _wait(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    return Wait(reader.length(fields["wait"], pointer, BODY))


def _raise(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    place = pointer + "/error"
    shape = reader.closed(fields["raise"], pointer, ("error",), ("error",))
    value = shape.get("error", {})
    if isinstance(value, str):
        if value not in reader.errors:
            reader.unknown("error", value, reader.errors, place)
        return Raise(reader.errors.get(value, NOTHING))
    return Raise(reader.error(value, place)) if "error" in shape else None


def _listen(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    task = pointer.rpartition("/")[0]
    reader.unsupported(fields, ("foreach",), task, "work on the task's output, the list of events, instead")
    shape = reader.closed(fields["listen"], pointer, ("to", "read"), ("to",))
    read = shape.get("read", "data")
    if read not in ("data", "envelope", "raw"):
        reader.refuse("bad_format", "`read` is one of `data`, `envelope`, `raw`.", pointer + "/read")
    if "to" not in shape:
        return None
    to = reader.closed(shape["to"], pointer + "/to", ("one", "any", "all", "until"))
    reader.unsupported(to, ("any", "all", "until"), pointer + "/to", "`one` is")
    if not to:
        reader.refuse("missing_field", "The field `one` is missing.", pointer + "/to/one")
    if "one" not in to:
        return None
    return Listen(_filter(reader, to["one"], pointer + "/to/one"), read)


def _filter(reader: TaskReader, value: Any, pointer: str) -> Filter:
    """What an event must hold to be taken (contract 8.2)."""
    shape = reader.closed(value, pointer, ("with", "correlate"), ("with",))
    reader.unsupported(shape, ("correlate",), pointer, "compare with an expression under `with`")
    wanted = reader.object(shape, "with", pointer)
    if "with" in shape and wanted == {} == shape["with"]:
        reader.refuse("missing_field", "A filter names at least one attribute.", pointer + "/with")
    return Filter(
        tuple(_condition(reader, name, inner, below(pointer, "with", name)) for name, inner in wanted.items())
    )


def _condition(reader: TaskReader, attribute: str, value: Any, pointer: str) -> cloudevents.Condition:
    known = (
        attribute == "data" or attribute in cloudevents.TEXTS or cloudevents.ATTRIBUTE.fullmatch(attribute)
    )
    if not known:
        reader.refuse("bad_format", "An event's attributes have lower-case letters and digits.", pointer)
    if attribute in cloudevents.TEXTS and not isinstance(value, str):
        reader.refuse("wrong_type", f"`{attribute}` of an event is a string.", pointer)
    elif attribute != "data" and not isinstance(value, str | bool | int):
        reader.refuse("wrong_type", "This attribute is a string, an integer or a boolean.", pointer)
    elif isinstance(value, str) and len(value.encode()) > EXPRESSION_LIMIT:
        reader.refuse("too_large", f"A pattern has at most {EXPRESSION_LIMIT // 1024} KiB.", pointer)
    reader.template(value, pointer, BODY)
    return cloudevents.condition(attribute, value, BODY)


_READERS: Mapping[str, Callable[[TaskReader, Mapping[str, Any], str], Work | None]] = {
    "do": _do,
    "set": _set,
    "switch": _switch,
    "wait": _wait,
    "listen": _listen,
    "raise": _raise,
}
