"""Reading task lists and the fields that every task has (contract 1.4), and keeping what is in scope where.

What each kind of task does is read by the modules beside this one; `reading` says which reads which.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from service.language.document import DIRECTIVES, Task, Work
from service.language.durations import Duration
from service.language.errors import below
from service.language.expressions import Expression
from service.language.fields import BEFORE_BODY, BODY, EXPORT, NO_TIME, FieldReader, listed
from service.language.secrets import names_used, reads_secrets
from service.language.ways import useless_or_endless

# Contract 1.6, suggested limits.
NESTING_LIMIT = 20  # tasks inside tasks, a function's task being inside of the one that calls it
TASK_LIMIT = 500
SCHEMA_COUNT = 200  # each costs a round trip to the sandbox

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
_SINGULAR = {
    "authentications": "authentication",
    "errors": "error",
    "functions": "function",
    "retries": "retry",
    "timeouts": "timeout",
}
_COMMON = ("if", "input", "output", "export", "timeout", "then", "metadata")
_DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
}

Made = TypeVar("Made")
WorkReader = Callable[["TaskReader", Mapping[str, Any], str], Work | None]


def kinds_of(task: Mapping[str, Any]) -> list[str]:
    """The kinds that a task as written is of: one, where it is right."""
    return [kind for kind in _KINDS if kind in task and not (kind == "do" and "for" in task)]


class TaskReader(FieldReader):
    """Reads task lists.

    It keeps the names that `then` may lead to, the variables in scope, and what `use` declares, each thing of which is read
    when it is first referred to.
    """

    def __init__(self, works: Mapping[str, WorkReader]) -> None:
        super().__init__()
        self.works = works
        self.identity: tuple[Any, Any] = (None, None)  # the workflow's namespace and name
        self.declared: Mapping[str, Mapping[str, Any]] = {}  # the sections of `use`, as written
        self.secrets: tuple[str, ...] = ()
        self.schemas: list[tuple[str, Any]] = []
        self.made: dict[tuple[Any, ...], Any] = {}  # what was read of `declared`
        self.variables: tuple[str, ...] = ()  # of loops, events and caught errors around the current place
        self.siblings: list[list[str]] = [[]]  # the task names of each list around the current task
        self.pointers: dict[str, str] = {}  # one place of each task name
        self.jumps: list[tuple[str, str, list[str]]] = []  # pointer, target, the names it may be
        self.began = 0  # the number of expressions before those of the current task
        self.counted = 0
        self.depth = 0
        self.deepest = 0
        self.calling: list[
            str
        ] = []  # the functions whose tasks are being read, each called by the one before
        self.heights: dict[str, int] = {}  # how many levels of tasks are in each function
        self.pausing: set[str] = set()  # the functions that may wait for something

    # Scope

    def visible(self, place: tuple[str, ...]) -> tuple[str, ...]:
        """The variables of the place, and those in scope there."""
        return (*place, *self.variables)

    @contextmanager
    def binding(self, *names: str) -> Iterator[None]:
        """Read with more variables in scope; inner ones shadow outer ones of the same name."""
        before = self.variables
        self.variables = tuple(dict.fromkeys((*before, *names)))
        yield
        self.variables = before

    def declaration(
        self, section: str, name: str, pointer: str, make: Callable[[Any, str], Made], variant: Any = None
    ) -> Made | None:
        """What `use` declares under the name, made once for each variant; None after refusing a name it does not know.

        It is read with no variables in scope but the language's own: what it means must not depend on who refers to it.
        """
        known = self.declared.get(section, {})
        if name not in known:
            self.unknown(_SINGULAR[section], name, known, pointer)
            return None
        key = (section, name, variant)
        if key not in self.made:
            before, self.variables = self.variables, ()
            self.made[key] = make(known[name], below("/use", section, name))
            self.variables = before
        made: Made = self.made[key]
        return made

    # Lists

    def tasks(self, value: Any, pointer: str) -> tuple[Task, ...]:
        """A list of one-key objects, each the name of a task and the task, to be done in order."""
        tasks = self._list(value, pointer, jumps=True)
        if isinstance(value, list) and len(tasks) == len(value):
            for warning in useless_or_endless(tasks, self.pausing):
                self.warn(warning.code, warning.message, warning.pointer)
        return tasks

    def branches(self, value: Any, pointer: str) -> tuple[Task, ...]:
        """The same, each task by itself: none can lead to another."""
        return self._list(value, pointer, jumps=False)

    def _list(self, value: Any, pointer: str, *, jumps: bool) -> tuple[Task, ...]:
        if not isinstance(value, list):
            self.refuse(
                "wrong_type", "A task list is a list of objects with one key, the task's name.", pointer
            )
            return ()
        if not self.room(1, pointer):
            return ()
        items = self.named(value, pointer, "task")
        self._names(items)
        self.siblings.append([name for name, _, _ in items] if jumps else [])
        self.depth += 1
        tasks = tuple(task for item in items if (task := self.task(*item)))
        self.depth -= 1
        self.siblings.pop()
        return tasks

    def room(self, levels: int, pointer: str) -> bool:
        """Say whether so many more levels of tasks fit here, after refusing them if not."""
        if self.depth + levels > NESTING_LIMIT:
            message = f"Tasks are nested at most {NESTING_LIMIT} deep; those of a function count where it is called."
            self.refuse("too_deep", message, pointer)
            return False
        self.deepest = max(self.deepest, self.depth + levels)
        return True

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
        self.count(len(items))

    def count(self, more: int) -> None:
        """Count tasks, and refuse them once when they are too many."""
        before, self.counted = self.counted, self.counted + more
        if before <= TASK_LIMIT < self.counted:
            self.refuse("too_large", f"A definition has at most {TASK_LIMIT} tasks.", "/do")

    # Tasks

    def task(self, name: str, value: Any, pointer: str) -> Task | None:
        """One task, or None when what it does could not be read."""
        kind = self._kind(value, pointer)
        if kind is None:
            return None
        self.began = len(self.expressions)
        fields = self.closed(value, pointer, (kind, *_KINDS[kind], *_COMMON))
        common = self._common(fields, pointer)
        work = self.works[kind](self, fields, pointer)
        if work is None:
            return None
        return Task(name=name, kind=kind, pointer=pointer, definition=value, work=work, **common)

    def _kind(self, value: Any, pointer: str) -> str | None:
        """Which kind of task this is, by its keys."""
        if not isinstance(value, dict):
            self.refuse("wrong_type", "A task is an object.", pointer)
            return None
        kinds = kinds_of(value)
        if not kinds:
            self.refuse("missing_field", f"A task needs exactly one of {listed(_KINDS)}.", pointer)
        if len(kinds) > 1:
            self.refuse("ambiguous_task", f"A task does one thing; this has {listed(kinds)}.", pointer)
        return kinds[0] if len(kinds) == 1 else None

    def _common(self, fields: Mapping[str, Any], pointer: str) -> dict[str, Any]:
        """The fields that every kind of task has."""
        self.object(fields, "metadata", pointer)
        before = self.closed(fields.get("input", {}), pointer + "/input", ("schema", "from"))
        entry = self.visible(BEFORE_BODY)
        if fields.get("call") == "http" and reads_secrets(before.get("from")):
            entry = (*entry, "secrets")
        condition = fields.get("if")
        return {
            "condition": self.expression(condition, pointer + "/if", self.visible(BEFORE_BODY))
            if "if" in fields
            else None,
            "input_schema": self.schema(before, pointer + "/input"),
            "input_from": self.projection(before, "from", pointer + "/input", entry),
            **self.result(fields, "output", pointer, self.visible(BODY)),
            **self.result(fields, "export", pointer, self.visible(EXPORT)),
            "timeout": self.timeout(fields, pointer, self.visible(BEFORE_BODY)),
            "then": self.directive(fields, pointer),
        }

    def result(
        self, fields: Mapping[str, Any], part: str, pointer: str, names: tuple[str, ...]
    ) -> dict[str, Any]:
        """`output` or `export`: as `output_as` and `output_schema`, or `export_as` and `export_schema`."""
        place = below(pointer, part)
        shape = self.closed(fields.get(part, {}), place, ("schema", "as"))
        return {
            f"{part}_as": self.projection(shape, "as", place, names),
            f"{part}_schema": self.schema(shape, place),
        }

    def directive(self, fields: Mapping[str, Any], pointer: str) -> str | None:
        """`then`; that a name it gives exists is checked when all names are known."""
        target, place = self.text(fields, "then", pointer), below(pointer, "then")
        if target == "end" and self.calling:
            message = "`end` would end the workflow that calls the function; use `exit`, or decide it after the call."
            self.refuse("unknown_target", message, place)
        if target is not None and target not in DIRECTIVES:
            self.jumps.append((place, target, self.siblings[-1]))
        return target

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

    # Fields of several places

    def schema(self, fields: Mapping[str, Any], pointer: str) -> Any:
        """`schema`: a JSON Schema carrying its draft, kept for whoever can tell whether it is one; None when absent."""
        if "schema" not in fields:
            return None
        at = pointer + "/schema"
        value = fields["schema"]
        external = isinstance(value, dict) and "resource" in value
        required = () if external else ("document",)
        shape = self.closed(value, at, ("format", "document", "resource"), required)
        if external:
            message = "`resource` is not supported: write the schema itself under `document`."
            self.refuse("unsupported_feature", message, at + "/resource")
        language, _, draft = (self.text(shape, "format", at) or "json").partition(":")
        if language != "json" or (draft and draft not in _DRAFTS):
            known = listed(["json", *(f"json:{name}" for name in _DRAFTS)])
            self.refuse("unsupported_feature", f"The supported formats are {known}.", at + "/format")
            draft = ""
        schema = shape.get("document", {})
        if draft and isinstance(schema, dict):
            schema = {"$schema": _DRAFTS[draft]} | schema
        return self.kept_schema(schema, at + "/document")

    def kept_schema(self, schema: Any, pointer: str) -> Any:
        """The JSON Schema, kept for whoever can tell whether it is one."""
        if not isinstance(schema, dict | bool):
            self.refuse("wrong_type", "A JSON Schema is an object.", pointer)
        elif len(self.schemas) == SCHEMA_COUNT:
            self.refuse("too_large", f"A definition has at most {SCHEMA_COUNT} schemas.", pointer)
        else:
            self.schemas.append((pointer, schema))
        return schema

    def timeout(
        self, fields: Mapping[str, Any], pointer: str, names: tuple[str, ...]
    ) -> Duration | Expression | None:
        """`timeout`: an object with `after`, or the name of one that `use` declares."""
        if "timeout" not in fields:
            return None
        value, place = fields["timeout"], pointer + "/timeout"
        if isinstance(value, str):
            own = tuple(name for name in names if name not in self.variables)
            return self.declaration("timeouts", value, place, partial(self.after, names=own), own)
        return self.after(value, place, names)

    def after(self, value: Any, pointer: str, names: tuple[str, ...]) -> Duration | Expression:
        """An object with `after`, a length of time."""
        fields = self.closed(value, pointer, ("after",), ("after",))
        return self.length(fields["after"], pointer + "/after", names) if "after" in fields else NO_TIME

    def secrets_since(self, start: int) -> set[str]:
        """The secrets that the expressions after the first `start` read; refuses undeclared and unnamed ones."""
        used = set()
        for pointer, one in self.expressions[start:]:
            if "secrets" in one.names:
                for name in names_used(one.leaves[0].text):
                    used.add(self.secret(name, pointer))
        return used

    def secret(self, name: str | None, pointer: str) -> str:
        """The name of a secret that `use` declares."""
        if name is None:
            message = (
                "Write each secret by its name, `$secrets.name`: which ones a call reads is known beforehand."
            )
            self.refuse("undeclared_secret", message, pointer)
        elif name not in self.secrets:
            declared = listed(self.secrets) or "none"
            message = f"The secret `{name}` is not declared; add it to `use.secrets`, which has {declared}."
            self.refuse("undeclared_secret", message, pointer)
        return name or ""
