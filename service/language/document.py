"""From JSON or YAML text to a typed definition, or to everything that is wrong with it (contract 1).

`parse_json` and `parse_yaml` make a value of the text, `read` makes a `Definition` of the value, and `check` adds what only
the sandbox can tell: whether each expression and the input schema compile. Whatever the engine does not run yet is refused
here by name, so that no instance ever meets a task it cannot perform.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec
import yaml

from service.language import cloudevents
from service.language.cloudevents import Filter
from service.language.durations import Duration, DurationRefused, duration
from service.language.errors import Problem, below
from service.language.expressions import BLANK, Expression, expression, is_expression, template

# Contract 1.6, suggested limits.
TEXT_LIMIT = 256 * 1024  # bytes
DEPTH_LIMIT = 128  # levels of objects and lists; 20 nested tasks with data in the innermost stay far below
NESTING_LIMIT = 20  # tasks inside tasks
TASK_LIMIT = 500
EXPRESSION_LIMIT = 8 * 1024  # bytes
EXPRESSION_COUNT = 2_000  # compiling one takes about a millisecond
PLACE_LIMIT = 2_000  # characters of a JSON Pointer: every place below a long key would carry it again
PROBLEM_LIMIT = 100  # problems and warnings each; nobody reads more, and each costs more than what caused it
NUMBER_LIMIT = 1_000  # digits; longer ones cost quadratic time to read

# What an expression may see, by place (contract 3.2).
WORKFLOW_INPUT = ("workflow", "runtime")
BEFORE_BODY = ("context", "task", "workflow", "runtime")
BODY = ("context", "input", "task", "workflow", "runtime")
EXPORT = ("context", "input", "output", "task", "workflow", "runtime")
WORKFLOW_OUTPUT = ("context", "workflow", "runtime")

DIRECTIVES = ("continue", "exit", "end")


class DocumentRefused(Exception):  # noqa: N818 - named after the situation
    """The text or value is no definition; everything wrong with it at once."""

    def __init__(self, problems: list[Problem]) -> None:
        """Keep the problems, sorted by where they are."""
        super().__init__("; ".join(f"{problem.pointer}: {problem.message}" for problem in problems))
        self.problems = sorted(problems, key=_place)


def _place(problem: Problem) -> list[tuple[int, str]]:
    """Sort by pointer, positions as numbers."""
    return [
        (int(step), "") if step.isascii() and step.isdigit() and len(step) < 10 else (10**10, step)
        for step in problem.pointer.split("/")
    ]


# --- The tree -----------------------------------------------------------------------------------------------------


class Set(msgspec.Struct, frozen=True):
    """`set`: the output is the value."""

    value: Expression


class Case(msgspec.Struct, frozen=True):
    """One case of a `switch`; without `when` it is the default."""

    name: str
    when: Expression | None
    then: str


class Switch(msgspec.Struct, frozen=True):
    """`switch`: the first case that holds says where to go."""

    cases: tuple[Case, ...]


class Wait(msgspec.Struct, frozen=True):
    """`wait`: go on after a while."""

    length: Duration | Expression


class Listen(msgspec.Struct, frozen=True):
    """`listen`: go on after an event; its output is the list of what `read` takes from the events consumed."""

    one: Filter
    read: cloudevents.Read


class Raise(msgspec.Struct, frozen=True):
    """`raise`: fault with this error, an object of the members of contract 5.1."""

    error: Expression


class Do(msgspec.Struct, frozen=True):
    """`do`: the tasks one after the other."""

    tasks: "tuple[Task, ...]"


Work = Do | Set | Switch | Wait | Listen | Raise


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task: what it does, and the fields that every kind has (contract 1.4).

    An expression that is absent or the identity is None: its value is passed through without an evaluation.
    """

    name: str
    pointer: str
    definition: Mapping[str, Any]
    work: Work
    condition: Expression | None = None
    input_from: Expression | None = None
    output_as: Expression | None = None
    export_as: Expression | None = None
    then: str | None = None


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as its author wrote it, every reference resolved; `document` is the parsed value itself."""

    namespace: str
    name: str
    version: str
    title: str | None
    summary: str | None
    tags: Mapping[str, str | int | float | bool]
    metadata: Mapping[str, Any]
    input_schema: Any
    input_from: Expression | None
    tasks: tuple[Task, ...]
    output_as: Expression | None
    timeout: Duration | Expression | None
    document: Mapping[str, Any]


class Checked(msgspec.Struct, frozen=True):
    """What became of a document: a definition when there are no problems; warnings refuse nothing."""

    definition: Definition | None
    problems: list[Problem]
    warnings: list[Problem]


# --- Text ---------------------------------------------------------------------------------------------------------


# Characters that Postgres and other JSON readers refuse.
_HARMFUL = re.compile("[\\0\\ud800-\\udfff]")


class _Repeating(dict[str, Any]):
    """An object whose text gave some of its keys twice."""

    repeated: Sequence[str] = ()


class _Unreadable(ValueError):  # noqa: N818 - named after the situation
    """The text means no JSON value."""


def parse_json(text: bytes) -> Any:
    """The value of a JSON text with integers exact, or `DocumentRefused`."""
    source = _decoded(text, "json_invalid")
    try:
        value = json.loads(
            source,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_no_constant,
        )
    except json.JSONDecodeError as error:
        raise _refused(
            "json_invalid", f"{error.msg} at line {error.lineno}, column {error.colno}.", ""
        ) from None
    except _Unreadable as error:
        raise _refused("json_invalid", str(error), "") from None
    except RecursionError:
        raise _too_deep("") from None
    return _inspected(value, "json_invalid")


def parse_yaml(text: bytes) -> Any:
    """The value of a YAML 1.2 text (core schema, JSON's values only), or `DocumentRefused`."""
    source = _decoded(text, "yaml_invalid")
    try:
        value = _Composer(yaml.parse(source, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))).document()
    except yaml.MarkedYAMLError as error:
        raise _refused(
            "yaml_invalid", _marked(error.problem or "cannot be read", error.problem_mark), ""
        ) from None
    except (yaml.YAMLError, _Unreadable) as error:
        raise _refused("yaml_invalid", str(error), "") from None
    return _inspected(value, "yaml_invalid")


def _refused(code: str, message: str, pointer: str) -> DocumentRefused:
    return DocumentRefused([Problem(code, message, pointer)])


def _too_deep(pointer: str) -> DocumentRefused:
    return _refused(
        "too_deep", f"A definition has at most {DEPTH_LIMIT} levels of objects and lists.", pointer
    )


def _decoded(text: bytes, code: str) -> str:
    """The characters, once size and encoding are known to be harmless."""
    if len(text) > TEXT_LIMIT:
        raise _refused("too_large", f"A definition has at most {TEXT_LIMIT // 1024} KiB.", "")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(code, f"The text is not UTF-8: {error.reason} at byte {error.start}.", "") from None


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    repeated = []
    for key, value in pairs:
        if key in members:
            repeated.append(key)
        members[key] = value
    if not repeated:
        return members
    marked = _Repeating(members)
    marked.repeated = repeated
    return marked


def _integer(digits: str) -> int:
    if len(digits) > NUMBER_LIMIT:
        raise _Unreadable(f"A number has at most {NUMBER_LIMIT} digits.")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _Unreadable(f"The number {digits[:40]} is out of range.")
    return number


def _no_constant(name: str) -> Any:
    raise _Unreadable(f"{name} is no JSON value.")


def _inspected(value: Any, code: str) -> Any:
    """The value, once nothing in it can harm whoever walks, stores or prints it."""
    problems: list[Problem] = []
    _inspect(value, "", code, problems)
    if problems:
        raise DocumentRefused(problems[:PROBLEM_LIMIT])
    return value


def _inspect(value: Any, pointer: str, code: str, problems: list[Problem], depth: int = 0) -> None:
    """Look at a value and all inside it; pointers of plain values are only made for what is wrong."""
    if depth >= DEPTH_LIMIT and not isinstance(value, str):
        raise _too_deep("/".join(pointer.split("/")[:4]))
    if len(pointer) > PLACE_LIMIT:
        message = f"The names that lead to a value have at most {PLACE_LIMIT} characters together."
        raise _refused("too_large", message, "/".join(pointer[:PLACE_LIMIT].split("/")[:-1]))
    texts = [value] if isinstance(value, str) else value if isinstance(value, dict) else ()
    message = "NUL characters and lone surrogates are not allowed."
    problems += [Problem(code, message, pointer) for text in texts if _HARMFUL.search(text)]
    if isinstance(value, _Repeating):
        problems += [
            Problem("duplicate_key", f"The key {key!r} stands here twice.", _place_of(pointer, key))
            for key in value.repeated[:PROBLEM_LIMIT]
        ]
    for key, inner in _members(value):
        if isinstance(inner, dict | list) or (isinstance(inner, str) and _HARMFUL.search(inner)):
            _inspect(inner, _place_of(pointer, key), code, problems, depth + 1)


def _place_of(pointer: str, key: str | int) -> str:
    """The pointer of a member as text that can be sent, which a key that is refused may not be."""
    return _HARMFUL.sub("?", below(pointer, key))


def _below(pointer: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Each member of a collection with its pointer, one at a time."""
    return ((below(pointer, key), inner) for key, inner in _members(value))


def _members(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


# --- YAML ---------------------------------------------------------------------------------------------------------

_YAML_TAG = "tag:yaml.org,2002:"
_YAML_NULL = re.compile(r"~|null|Null|NULL|")
_YAML_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_YAML_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_YAML_BASED = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_YAML_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_YAML_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def _marked(message: str, mark: Any) -> str:
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{message}{where}. Quote a text that holds ': ' or ' #'."


class _Composer:
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
            raise _Unreadable("The text is empty.")
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
        if event.tag not in {None, "!", _YAML_TAG + own}:
            raise self.unreadable(f"The tag {event.tag[:64]!r} is not supported", event)
        if len(self.open) >= DEPTH_LIMIT:
            raise _too_deep("")
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
        return _object(zip(keys, contents[1::2], strict=True))

    def scalar(self, event: Any) -> Any:
        if event.tag is None and event.implicit[0]:
            return self.plain(event)
        if event.tag not in {None, "!", _YAML_TAG + "str"}:
            raise self.unreadable(f"The tag {event.tag[:64]!r} is not supported", event)
        return event.value

    def plain(self, event: Any) -> Any:
        """YAML 1.2, core schema: what an unquoted scalar means."""
        text = event.value
        if _YAML_NULL.fullmatch(text):
            return None
        if _YAML_BOOLEAN.fullmatch(text):
            return text.lower() == "true"
        if _YAML_NOT_FINITE.fullmatch(text):
            raise self.unreadable(f"{text} is no JSON value; quote it to mean the text", event)
        return self.number(text)

    def number(self, text: str) -> Any:
        if _YAML_INTEGER.fullmatch(text):
            return _integer(text)
        if (based := _YAML_BASED.fullmatch(text)) and len(text) <= NUMBER_LIMIT:
            return int(based[1], 8) if based[1] else int(based[2], 16)
        return _float(text) if _YAML_FLOAT.fullmatch(text) else text

    def unreadable(self, message: str, event: Any) -> _Unreadable:
        return _Unreadable(
            f"{message} (line {event.start_mark.line + 1}, column {event.start_mark.column + 1})."
        )


# --- Structure ----------------------------------------------------------------------------------------------------

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
_ROOT = ("document", "input", "use", "do", "timeout", "output", "schedule", "evaluate", "$schema")
_HEADER = ("dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata")
_USE = (
    "authentications",
    "errors",
    "functions",
    "retries",
    "secrets",
    "timeouts",
    "extensions",
    "catalogs",
)
_ERROR = ("type", "status", "title", "detail", "instance")

_NUMERIC = r"(?:0|[1-9][0-9]*)"
_PRE_RELEASE = rf"(?:{_NUMERIC}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMANTIC_VERSION = re.compile(
    rf"{_NUMERIC}\.{_NUMERIC}\.{_NUMERIC}(?:-{_PRE_RELEASE}(?:\.{_PRE_RELEASE})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LABEL_RULE = "has 1 to 63 letters, digits and hyphens, the first and the last being no hyphen"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
}
_BARE = re.compile(r"[.$][A-Za-z_]")

_NOTHING = Expression(
    None, (), None
)  # stands for what was refused; no definition with it ever leaves this module
_NO_TIME = duration({"seconds": 0})


class Compiler(Protocol):
    """What `check` needs of the sandbox."""

    async def compile(self, account_id: UUID, expressions: Sequence[Expression], /) -> list[str | None]:
        """What is wrong with each expression, with its line and column, or None."""
        ...

    async def check_schema(self, account_id: UUID, schema: Any, /) -> str | None:
        """What is wrong with a JSON Schema, or None."""
        ...


def read(document: Any) -> Definition:
    """The definition, or `DocumentRefused` with every structural problem; whether its jq compiles `check` tells."""
    reading = _Reading(_inspected(document, "bad_format"))
    if reading.problems:
        raise DocumentRefused(reading.problems)
    return reading.definition


async def check(document: Any, sandbox: Compiler, account_id: UUID) -> Checked:
    """Everything wrong with the document at once: its structure, its expressions and its input schema."""
    try:
        reading = _Reading(_inspected(document, "bad_format"))
    except DocumentRefused as refused:
        return Checked(None, refused.problems, [])
    expressions = reading.expressions[:EXPRESSION_COUNT]
    compiled = await sandbox.compile(account_id, [one for _, one in expressions])
    for (pointer, _), message in zip(expressions, compiled, strict=True):
        if message is not None:
            reading.refuse("bad_expression", message, pointer)
    if reading.definition.input_schema is not None:
        message = await sandbox.check_schema(account_id, reading.definition.input_schema)
        if message is not None:
            reading.refuse("bad_schema", message, "/input/schema/document")
    return Checked(
        None if reading.problems else reading.definition,
        sorted(reading.problems, key=_place),
        sorted(reading.warnings, key=_place),
    )


class _Reading:
    """One walk through a document, collecting what is wrong with it and every expression in it."""

    def __init__(self, document: Any) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.expressions: list[tuple[str, Expression]] = []
        self.errors: dict[str, Expression] = {}
        self.timeouts: dict[str, Duration | Expression] = {}
        self.siblings: list[list[str]] = []  # the task names of each list around the current task
        self.pointers: dict[str, str] = {}  # one place of each task name
        self.jumps: list[tuple[str, str, list[str]]] = []  # pointer, target, the names it may be
        self.counted = 0
        self.definition = self._definition(document)
        self._resolve_jumps()

    def refuse(self, code: str, message: str, pointer: str) -> None:
        if len(self.problems) < PROBLEM_LIMIT:
            self.problems.append(Problem(code, message, pointer))

    def warn(self, code: str, message: str, pointer: str) -> None:
        if len(self.warnings) < PROBLEM_LIMIT:
            self.warnings.append(Problem(code, message, pointer))

    # Shapes

    def closed(
        self, value: Any, pointer: str, allowed: Sequence[str], required: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        """The object, its fields known and the required ones present; empty when it is no object."""
        if not isinstance(value, dict):
            self.refuse("wrong_type", f"This is an object with the fields {_listed(allowed)}.", pointer)
            return {}
        for name in value:
            if name not in allowed:
                message = f"There is no field `{name}` here; the fields are {_listed(allowed)}."
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
            self.refuse("wrong_type", f"`{name}` is a string; quote it.", below(pointer, name))
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

    def unsupported(
        self, fields: Mapping[str, Any], names: Sequence[str], pointer: str, instead: str
    ) -> None:
        """Refuse those fields that the standard has and this engine does not run yet."""
        for name in names:
            if name in fields:
                message = f"`{name}` is not supported here yet; {instead}."
                self.refuse("unsupported_feature", message, below(pointer, name))

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
            made = expression(value, names)
            self.expressions.append((pointer, made))
            if len(self.expressions) == EXPRESSION_COUNT + 1:
                self.refuse("too_large", f"A definition has at most {EXPRESSION_COUNT} expressions.", pointer)
            return made
        return _NOTHING

    def template(self, value: Any, pointer: str, names: tuple[str, ...]) -> Expression:
        """A field that is data, in which strings may be `${ }`; each such string is checked at its own place."""
        self._leaves(value, pointer, names)
        return template(value, names)

    def _leaves(self, value: Any, pointer: str, names: tuple[str, ...]) -> None:
        if is_expression(value):
            self.expression(value, pointer, names)
        elif isinstance(value, str):
            self.literal(value, pointer)
        for place, inner in _below(pointer, value):
            self._leaves(inner, place, names)

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
            return _NO_TIME

    # The workflow

    def _definition(self, document: Any) -> Definition:
        root = self.closed(document, "", _ROOT, ("document", "do"))
        header = self._header(root["document"]) if "document" in root else {}
        self._use(root)
        self._evaluate(root)
        self.unsupported(root, ("schedule",), "", "start instances by a trigger")
        entry = self.closed(root.get("input", {}), "/input", ("schema", "from"))
        result = self.closed(root.get("output", {}), "/output", ("schema", "as"))
        self.unsupported(result, ("schema",), "/output", "`as` is")
        return Definition(
            namespace=header.get("namespace") or "",
            name=header.get("name") or "",
            version=header.get("version") or "",
            title=header.get("title"),
            summary=header.get("summary"),
            tags=header.get("tags", {}),
            metadata=header.get("metadata", {}),
            input_schema=self._schema(entry["schema"]) if "schema" in entry else None,
            input_from=self.projection(entry, "from", "/input", WORKFLOW_INPUT),
            tasks=self.tasks(root["do"], "/do") if "do" in root else (),
            output_as=self.projection(result, "as", "/output", WORKFLOW_OUTPUT),
            timeout=self._timeout(root["timeout"]) if "timeout" in root else None,
            document=root,
        )

    def _header(self, value: Any) -> dict[str, Any]:
        at = "/document"
        fields = self.closed(value, at, _HEADER, ("dsl", "namespace", "name", "version"))
        semantic = (_SEMANTIC_VERSION, "is a full semantic version such as 1.0.0")
        language = self.text(fields, "dsl", at, semantic)
        if language and _SEMANTIC_VERSION.fullmatch(language) and not re.fullmatch(r"1\.0\.[0-9]+", language):
            self.refuse(
                "unsupported_dsl", "The versions of the language are 1.0.n, for example 1.0.3.", at + "/dsl"
            )
        label = (_LABEL, _LABEL_RULE)
        tags = self.object(fields, "tags", at)
        for name, tag in tags.items():
            if not isinstance(tag, str | int | float):
                message = "A tag is a string, a number or a boolean."
                self.refuse("wrong_type", message, below(at, "tags", name))
        return {
            "namespace": self.text(fields, "namespace", at, label),
            "name": self.text(fields, "name", at, label),
            "version": self.text(fields, "version", at, semantic),
            "title": self.text(fields, "title", at),
            "summary": self.text(fields, "summary", at),
            "tags": tags,
            "metadata": self.object(fields, "metadata", at),
        }

    def _use(self, root: Mapping[str, Any]) -> None:
        fields = self.closed(root.get("use", {}), "/use", _USE)
        refused = [
            name for name in fields if name in _USE and name not in {"errors", "timeouts"} and fields[name]
        ]
        self.unsupported(fields, refused, "/use", "`errors` and `timeouts` are")
        for name, value in self.object(fields, "errors", "/use").items():
            self.errors[name] = self.error(value, below("/use/errors", name))
        for name, value in self.object(fields, "timeouts", "/use").items():
            self.timeouts[name] = self._after(value, below("/use/timeouts", name))

    def _evaluate(self, root: Mapping[str, Any]) -> None:
        fields = self.closed(root.get("evaluate", {}), "/evaluate", ("language", "mode"))
        for name, only in (("language", "jq"), ("mode", "strict")):
            value = self.text(fields, name, "/evaluate")
            if value not in {None, only}:
                message = f"The only supported {name} is `{only}`."
                self.refuse("unsupported_feature", message, below("/evaluate", name))

    def _schema(self, value: Any) -> Any:
        """The JSON Schema of the workflow's input, carrying its draft."""
        at = "/input/schema"
        fields = self.closed(value, at, ("format", "document", "resource"))
        self.unsupported(fields, ("resource",), at, "write the schema itself under `document`")
        if "document" not in fields and "resource" not in fields:
            self.refuse("missing_field", "The field `document` is missing.", at + "/document")
        schema = fields.get("document", {})
        if not isinstance(schema, dict | bool):
            self.refuse("wrong_type", "A JSON Schema is an object.", at + "/document")
        language, _, draft = (self.text(fields, "format", at) or "json").partition(":")
        if language != "json" or (draft and draft not in _DRAFTS):
            known = _listed(["json", *(f"json:{name}" for name in _DRAFTS)])
            self.refuse("unsupported_feature", f"The supported formats are {known}.", at + "/format")
        elif draft and isinstance(schema, dict):
            return {"$schema": _DRAFTS[draft]} | schema
        return schema

    def _timeout(self, value: Any) -> Duration | Expression:
        if not isinstance(value, str):
            return self._after(value, "/timeout")
        if value not in self.timeouts:
            self.unknown("timeout", value, self.timeouts, "/timeout")
        return self.timeouts.get(value, _NO_TIME)

    def _after(self, value: Any, pointer: str) -> Duration | Expression:
        fields = self.closed(value, pointer, ("after",), ("after",))
        return (
            self.length(fields["after"], pointer + "/after", WORKFLOW_INPUT)
            if "after" in fields
            else _NO_TIME
        )

    def unknown(self, kind: str, name: str, known: Iterable[str], pointer: str) -> None:
        """Refuse a reference to something that `use` does not declare."""
        declared = _listed(known) or "none"
        self.refuse(
            f"unknown_{kind}", f"There is no {kind} `{name}`; declared under `use`: {declared}.", pointer
        )

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

    # Task lists

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
            self._flow(tasks)
        return tasks

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
            message = f"`{kind}` is not supported yet; the supported tasks are {_listed(_READERS)}."
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
            self.refuse("missing_field", f"A task needs exactly one of {_listed(_KINDS)}.", pointer)
        if len(kinds) > 1:
            self.refuse("ambiguous_task", f"A task does one thing; this has {_listed(kinds)}.", pointer)
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

    def _resolve_jumps(self) -> None:
        for pointer, target, names in self.jumps:
            if target in names:
                continue
            elsewhere = self.pointers.get(target)
            hint = f" It exists at {elsewhere}, but a jump stays in its own list." if elsewhere else ""
            allowed = _listed([*DIRECTIVES, *names])
            message = f"There is no task `{target}` in this list.{hint} Allowed: {allowed}."
            self.refuse("unknown_target", message, pointer)

    def _flow(self, tasks: Sequence[Task]) -> None:
        """Warn of what the ways through one list make useless or endless."""
        positions = {task.name: index for index, task in enumerate(tasks) if task.name not in DIRECTIVES}
        ways = [
            [index + 1 if way == "continue" else positions.get(way, len(tasks)) for way in _ways(task)]
            for index, task in enumerate(tasks)
        ]
        reached, pending = set(), [0]
        while pending:
            index = pending.pop()
            if index < len(tasks) and index not in reached:
                reached.add(index)
                pending += ways[index]
        for index, task in enumerate(tasks):
            if index not in reached:
                self.warn("unreachable_task", "No way leads to this task.", task.pointer)
            if isinstance(task.work, Raise) and task.then:
                self.warn(
                    "unused_then", "A raised error leaves the list; `then` is never followed.", task.pointer
                )
            if any(way <= index and not any(map(_pauses, tasks[way : index + 1])) for way in ways[index]):
                message = (
                    "This leads back without a `wait` or `listen` between: it may use up the limit of tasks."
                )
                self.warn("backward_jump", message, task.pointer)


def _listed(names: Iterable[str]) -> str:
    """The names for a message, the first 20 of them, since a definition may hold hundreds."""
    every = [f"`{name[:64]}`" for name in names]
    return ", ".join(every[:20]) + (f" and {len(every) - 20} more" if len(every) > 20 else "")


def _inner(text: str) -> str:
    """The jq of an expression field, without `${ }`."""
    stripped = text.strip(BLANK)
    return stripped[2:-1].strip(BLANK) if is_expression(text) else stripped


def _ways(task: Task) -> list[str]:
    """The directives that may be followed after the task."""
    own = task.then or "continue"
    if isinstance(task.work, Raise):
        ways = []
    elif isinstance(task.work, Switch):
        open_end = all(case.when is not None for case in task.work.cases)
        ways = [case.then for case in task.work.cases] + ([own] if open_end else [])
    else:
        ways = [own]
    return [*ways, "continue"] if task.condition is not None else ways


def _pauses(task: Task) -> bool:
    """Whether the task may hand the time to others."""
    work = task.work
    return isinstance(work, Wait | Listen) or (isinstance(work, Do) and any(map(_pauses, work.tasks)))


# --- The kinds of tasks -------------------------------------------------------------------------------------------


def _do(reading: _Reading, fields: Mapping[str, Any], pointer: str) -> Work | None:
    return Do(reading.tasks(fields["do"], pointer))


def _set(reading: _Reading, fields: Mapping[str, Any], pointer: str) -> Work | None:
    value = fields["set"]
    if isinstance(value, str):
        return Set(reading.expression(value, pointer, BODY))
    if isinstance(value, dict) and value:
        return Set(reading.template(value, pointer, BODY))
    reading.refuse("wrong_type", "`set` is an object with at least one key, or a jq expression.", pointer)
    return None


def _switch(reading: _Reading, fields: Mapping[str, Any], pointer: str) -> Work | None:
    value = fields["switch"]
    if not isinstance(value, list) or not value:
        reading.refuse("wrong_type", "`switch` is a list of at least one case.", pointer)
        return None
    cases: list[Case] = []
    for name, inner, place in reading.named(value, pointer, "case"):
        case = reading.closed(inner, place, ("when", "then"), ("then",))
        when = reading.expression(case["when"], place + "/when", BODY) if "when" in case else None
        if when is None and any(other.when is None for other in cases):
            reading.refuse("multiple_defaults", "Only one case may be without `when`.", place)
        cases.append(Case(name, when, reading.directive(case, place) or "continue"))
    return Switch(tuple(cases))


def _wait(reading: _Reading, fields: Mapping[str, Any], pointer: str) -> Work | None:
    return Wait(reading.length(fields["wait"], pointer, BODY))


def _raise(reading: _Reading, fields: Mapping[str, Any], pointer: str) -> Work | None:
    place = pointer + "/error"
    shape = reading.closed(fields["raise"], pointer, ("error",), ("error",))
    value = shape.get("error", {})
    if isinstance(value, str):
        if value not in reading.errors:
            reading.unknown("error", value, reading.errors, place)
        return Raise(reading.errors.get(value, _NOTHING))
    return Raise(reading.error(value, place)) if "error" in shape else None


def _listen(reading: _Reading, fields: Mapping[str, Any], pointer: str) -> Work | None:
    task = pointer.rpartition("/")[0]
    reading.unsupported(fields, ("foreach",), task, "work on the task's output, the list of events, instead")
    shape = reading.closed(fields["listen"], pointer, ("to", "read"), ("to",))
    read = shape.get("read", "data")
    if read not in ("data", "envelope", "raw"):
        reading.refuse("bad_format", "`read` is one of `data`, `envelope`, `raw`.", pointer + "/read")
    if "to" not in shape:
        return None
    to = reading.closed(shape["to"], pointer + "/to", ("one", "any", "all", "until"))
    reading.unsupported(to, ("any", "all", "until"), pointer + "/to", "`one` is")
    if not to:
        reading.refuse("missing_field", "The field `one` is missing.", pointer + "/to/one")
    if "one" not in to:
        return None
    return Listen(_filter(reading, to["one"], pointer + "/to/one"), read)


def _filter(reading: _Reading, value: Any, pointer: str) -> Filter:
    """What an event must hold to be taken (contract 8.2)."""
    shape = reading.closed(value, pointer, ("with", "correlate"), ("with",))
    reading.unsupported(shape, ("correlate",), pointer, "compare with an expression under `with`")
    wanted = reading.object(shape, "with", pointer)
    if "with" in shape and wanted == {} == shape["with"]:
        reading.refuse("missing_field", "A filter names at least one attribute.", pointer + "/with")
    return Filter(
        tuple(
            _condition(reading, name, inner, below(pointer, "with", name)) for name, inner in wanted.items()
        )
    )


def _condition(reading: _Reading, attribute: str, value: Any, pointer: str) -> cloudevents.Condition:
    known = (
        attribute == "data" or attribute in cloudevents.TEXTS or cloudevents.ATTRIBUTE.fullmatch(attribute)
    )
    if not known:
        reading.refuse("bad_format", "An event's attributes have lower-case letters and digits.", pointer)
    if attribute in cloudevents.TEXTS and not isinstance(value, str):
        reading.refuse("wrong_type", f"`{attribute}` of an event is a string.", pointer)
    elif attribute != "data" and not isinstance(value, str | bool | int):
        reading.refuse("wrong_type", "This attribute is a string, an integer or a boolean.", pointer)
    elif isinstance(value, str) and len(value.encode()) > EXPRESSION_LIMIT:
        reading.refuse("too_large", f"A pattern has at most {EXPRESSION_LIMIT // 1024} KiB.", pointer)
    reading.template(value, pointer, BODY)
    return cloudevents.condition(attribute, value, BODY)


_READERS: Mapping[str, Callable[[_Reading, Mapping[str, Any], str], Work | None]] = {
    "do": _do,
    "set": _set,
    "switch": _switch,
    "wait": _wait,
    "listen": _listen,
    "raise": _raise,
}
