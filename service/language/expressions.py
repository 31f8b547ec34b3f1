"""Where jq stands in a definition, and what it may see there.

An `Expression` is made once, when a definition is read; an `Evaluation` asks for its value with the data of one moment.
Constants, identity, plain paths and simple programs (`service.language.simple`) are answered in this process,
everything else goes to the sandbox.

A program never holds anything of a template but its expressions: literal parts stay here and the values are put between
them afterwards, so no literal text can be taken for jq, and no number of it passes through jq's arithmetic.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard

import msgspec

from service.language import jq_values
from service.language.jq_values import SandboxNeededError
from service.language.simple import Program, parsed
from service.language.sizes import VALUE_BYTES, VALUE_DEPTH, Size, TooDeepError, TooLargeError, measure

NO_RESULT: Final = "no result"
FAILED: Final = "expression failed"
DETAIL_LIMIT: Final = 2_000

IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
VARIABLE_NAME = re.compile(IDENTIFIER)
KEY = rf"\.(?:{IDENTIFIER}|\"[^\"\\\x00-\x1f\x7f]*\")"
PLAIN_PATH = re.compile(rf"(?:\$(?P<name>{IDENTIFIER}))?(?P<keys>(?:{KEY})*)")
EACH_KEY = re.compile(KEY)
CONSTANT = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]{0,14})|\"[^\"\\\x00-\x1f\x7f]*\"")
BLANK = " \t\r\n"  # what jq skips; str.strip() alone would also remove no-break spaces, which jq refuses

HALTED: Final = "halt is not available here"
SHADOWED = (
    'def env: {}; def input: error("No more inputs"); def inputs: empty; def debug: .; def debug(f): .; def stderr: .; '
    "def input_filename: null; def input_line_number: 0; def get_search_list: []; "
    f'def modulemeta: error("modulemeta is not available here"); def halt: error("{HALTED}"); '
    'def halt_error: error("halt_error is not available here"); def halt_error(f): halt_error; {} as $ENV | '
)
"""What jq offers and a workflow must not have: the process, its environment, its files, its input, its end."""


class Constant(msgspec.Struct, frozen=True):
    """A value known without any data."""

    value: Any


class Path(msgspec.Struct, frozen=True):
    """A value read by keys alone, from `.` or from a variable."""

    variable: str | None
    keys: tuple[str, ...]


class Leaf(msgspec.Struct, frozen=True):
    """One piece of jq: its JSON Pointer below the value it stands in, its text, and what this process knows of it.

    `text` keeps the author's columns: the `${` before it has become two blanks. `plain` is what it is when no data can
    make it need jq; if there is none, `simple` may answer it for most data.
    """

    pointer: str
    text: str
    plain: Constant | Path | None
    simple: Program | None = None


class Slot(msgspec.Struct, frozen=True):
    """The place of a leaf's value in a template."""

    leaf: int


class Expression(msgspec.Struct, frozen=True):
    """A value of a definition that may hold jq.

    `source` is the author's text or template, `names` the variables visible there (without `$`), `program` the
    complete jq program for the sandbox, or None when the value is known without jq (constants, `.` and plain paths only).
    `leaves` are its pieces of jq, `shape` the template with slots in their places, `used` those of the names that its
    program may read.
    """

    source: Any
    names: tuple[str, ...]
    program: str | None
    leaves: tuple[Leaf, ...] = ()
    shape: Any = None
    used: tuple[str, ...] = ()


class Evaluation(msgspec.Struct, frozen=True):
    """A request for the value of `expression` with `dot` as `.` and `variables` (names without `$`) bound.

    Values are read, never changed; an answer may share parts with them.
    """

    expression: Expression
    dot: Any
    variables: Mapping[str, Any]


class ExpressionFailure(msgspec.Struct, frozen=True):
    """Why an evaluation has no value: a `title` naming the kind or the limit, a `detail` with jq's own message."""

    title: str
    detail: str


class NotLocal(msgspec.Struct, frozen=True):
    """The answer of `answer_locally` when only jq can tell."""


NOT_LOCAL: Final = NotLocal()


# --- Reading a definition -------------------------------------------------------------------------------------------


def is_expression(value: Any) -> TypeGuard[str]:
    """Whether a value of a definition is a string that is wholly `${ … }`.

    Blanks around it do not count: YAML block scalars end in a line break that nobody sees.
    """
    if not isinstance(value, str):
        return False
    text = value.strip(BLANK)
    return text.startswith("${") and text.endswith("}")


def is_variable_name(text: str) -> bool:
    """Whether jq can bind `$text`. `ENV` and `__loc__` are jq's own."""
    return VARIABLE_NAME.fullmatch(text) is not None and text not in {"ENV", "__loc__"}


def expression(source: str, names: Iterable[str]) -> Expression:
    """Read a field that is an expression: bare jq, or jq in `${ … }`."""
    visible = distinct(names)
    return compose(source, Slot(0), (leaf(source, "", visible),), visible)


def template(value: Any, names: Iterable[str]) -> Expression:
    """Read a field that is data, in which strings that are wholly `${ … }` are expressions."""
    visible = distinct(names)
    leaves: list[Leaf] = []
    shape = shaped(value, "", leaves, visible)
    return compose(value, shape, tuple(leaves), visible)


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Names of variables, each once. Raises ValueError for what is no name."""
    visible = tuple(dict.fromkeys(names))
    wrong = [name for name in visible if not is_variable_name(name)]
    if wrong:
        raise ValueError(f"not a variable name: {wrong[0]!r}")
    return visible


def shaped(value: Any, pointer: str, leaves: list[Leaf], names: Sequence[str]) -> Any:
    """A template with slots for its expressions, which are appended to `leaves`; other values are kept as they are."""
    if is_expression(value):
        leaves.append(leaf(value, pointer, names))
        return Slot(len(leaves) - 1)
    known = len(leaves)
    if isinstance(value, dict):
        copy: Any = {
            key: shaped(child, f"{pointer}/{escaped(key)}", leaves, names) for key, child in value.items()
        }
    elif isinstance(value, list):
        copy = [shaped(child, f"{pointer}/{index}", leaves, names) for index, child in enumerate(value)]
    else:
        return value
    return copy if len(leaves) > known else Constant(value)


def escaped(key: Any) -> str:
    """A key as a part of a JSON Pointer (RFC 6901)."""
    return str(key).replace("~", "~0").replace("/", "~1")


def leaf(source: str, pointer: str, names: Sequence[str]) -> Leaf:
    """One piece of jq, its columns kept."""
    text = source
    if is_expression(source):
        text = source.rstrip(BLANK)[:-1].replace("${", "  ", 1)
    plain = plainly(text.strip(BLANK))
    return Leaf(pointer, text, plain, parsed(text, names) if plain is None else None)


def plainly(text: str) -> Constant | Path | None:
    """What a text means when that can be told without jq."""
    if CONSTANT.fullmatch(text):
        return Constant(msgspec.json.decode(text.encode(errors="surrogatepass")))
    if text == ".":
        return Path(None, ())
    found = PLAIN_PATH.fullmatch(text)
    if found is None or not text or found["name"] in {"ENV", "__loc__"}:
        return None
    return Path(found["name"], tuple(key[1:].strip('"') for key in EACH_KEY.findall(found["keys"])))


def compose(source: Any, shape: Any, leaves: tuple[Leaf, ...], names: tuple[str, ...]) -> Expression:
    """Put an expression together: all of its leaves that may need jq become one program."""
    texts = [each.text for each in leaves if each.plain is None]
    used = tuple(name for name in names if any(name in text for text in texts))
    program = wrapped(texts, names) if texts else None
    return Expression(source, names, program, leaves, shape, used)


# --- The program ----------------------------------------------------------------------------------------------------


def prologue(names: Sequence[str]) -> str:
    """The first line of every program: nothing of the process in sight, the names of the place bound."""
    bound = f".[1] as {{{', '.join(f'${name}' for name in names)}}} | " if names else ""
    return f"{SHADOWED}{bound}.[0] | "


def wrapped(texts: Sequence[str], names: Sequence[str]) -> str:
    """The program whose answer is a list with one entry for each text: `[value]`, `[]` for none, or `{"e": error}`.

    A value is always inside a list, so no text can pose as an error or as another text. Two line breaks follow each
    text because a comment that ends in a backslash swallows one.
    """
    entries = ",".join(f"(try [first((\n{text}\n\n))] catch {{e: .}})" for text in texts)
    return f"{prologue(names)}[{entries}]|tojson"


def bare(text: str, names: Sequence[str]) -> str:
    """The program that compiles only if `text` is a complete expression by itself, its first line being line 2.

    Without it `1) , (2` would pass, being balanced once it is wrapped.
    """
    return f"{prologue(names)}\n{text}"


def document(evaluation: Evaluation) -> bytes:
    """What a program gets as its input: `.`, and the variables that it may read.

    Raises what msgspec raises: UnicodeEncodeError for a lone surrogate, RecursionError for endless depth.
    """
    variables = evaluation.variables
    bound = {name: variables[name] for name in evaluation.expression.used if name in variables}
    return msgspec.json.encode([evaluation.dot, bound])


# --- Answers --------------------------------------------------------------------------------------------------------


is_true = jq_values.is_true


def answer_locally(evaluation: Evaluation) -> Any | NotLocal:
    """The value or failure of an evaluation that needs no jq, exactly as jq would give it."""
    try:
        return completed(evaluation, lambda each: known(each, evaluation))
    except SandboxNeededError:
        return NOT_LOCAL


def known(each: Leaf, evaluation: Evaluation) -> Any:
    """The value or failure of a leaf without the sandbox. Raises SandboxNeededError."""
    if each.plain is not None:
        return read_plain(each.plain, evaluation)
    if each.simple is None:
        raise SandboxNeededError
    return each.simple.value(evaluation.dot, evaluation.variables)


def assembled(evaluation: Evaluation, entries: Sequence[Any]) -> Any:
    """The value of an evaluation out of its program's answer: one entry for each leaf that is not plain."""
    expected = sum(1 for each in evaluation.expression.leaves if each.plain is None)
    if len(entries) != expected:
        return ExpressionFailure(FAILED, "the evaluator's answer has not one entry for each expression")
    remaining = iter(entries)
    return completed(
        evaluation,
        lambda each: (
            read_entry(next(remaining)) if each.plain is None else read_plain(each.plain, evaluation)
        ),
    )


def completed(evaluation: Evaluation, answer: Callable[[Leaf], Any]) -> Any:
    """The template with the answer to each of its leaves, or the first failure among these."""
    values = []
    for each in evaluation.expression.leaves:
        found = answer(each)
        if isinstance(found, ExpressionFailure):
            return located(found, each)
        values.append(found)
    shape = evaluation.expression.shape
    value = filled(shape, values)
    return value if isinstance(shape, Slot) else excess(value) or value


def excess(value: Any) -> ExpressionFailure | None:
    """The failure of a value that is larger or deeper than the sandbox would let it be."""
    try:
        found = measure(value)
    except TooLargeError:
        found = Size(VALUE_BYTES + 1, 1)
    except TooDeepError:
        found = Size(0, VALUE_DEPTH + 1)
    if found.size > VALUE_BYTES:
        return ExpressionFailure("output size limit", f"a value has at most {VALUE_BYTES} bytes")
    if found.depth > VALUE_DEPTH:
        return ExpressionFailure("depth limit", f"a value has at most {VALUE_DEPTH} levels")
    return None


def located(failure: ExpressionFailure, place: Leaf) -> ExpressionFailure:
    """A failure that names the leaf of the template it happened in."""
    if not place.pointer:
        return failure
    return ExpressionFailure(failure.title, f"{place.pointer}: {failure.detail}")


def read_entry(entry: Any) -> Any:
    """One entry of a program's answer."""
    match entry:
        case [
            value,
            *_,
        ]:  # `?//` takes the break of jq's `first` for an error and goes on: still, the first one wins
            return value
        case []:
            return ExpressionFailure(NO_RESULT, "the expression gives no result")
        case {"e": message} if message == HALTED:
            return ExpressionFailure(NO_RESULT, HALTED)
        case {"e": str(message)}:
            return ExpressionFailure(FAILED, shortened(message))
        case {"e": other}:
            return ExpressionFailure(FAILED, shortened(msgspec.json.encode(other).decode()))
    return ExpressionFailure(FAILED, "the evaluator's answer is not one of its own")


def shortened(detail: str) -> str:
    """A detail of a bounded length, without NUL, which PostgreSQL cannot store: an author's error may hold anything."""
    detail = detail.replace("\0", "\ufffd")
    return detail if len(detail) <= DETAIL_LIMIT else detail[: DETAIL_LIMIT - 1] + "…"


def read_plain(plain: Constant | Path, evaluation: Evaluation) -> Any:
    """The value of a constant or of a plain path; null all the way down from null, a failure on anything without keys."""
    if isinstance(plain, Constant):
        return plain.value
    if plain.variable is None:
        value = evaluation.dot
    elif plain.variable in evaluation.expression.names:
        value = evaluation.variables.get(plain.variable)
    else:
        return ExpressionFailure(FAILED, undefined(plain.variable, evaluation.expression.names))
    for key in plain.keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif value is not None:
            return ExpressionFailure(FAILED, f"Cannot index {kind_of(value)} with string ({quoted(key)})")
    return value


def undefined(name: str, names: Sequence[str]) -> str:
    """The message for a variable that is not visible where it is used."""
    available = ", ".join(f"${each}" for each in names) or "no variables"
    return f"${name} is not defined here; available: {available}"


def kind_of(value: Any) -> str:
    """The type of a JSON value in jq's words."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "number"


def quoted(key: str) -> str:
    """A key as jq's messages show it: 29 bytes at most, the rest being dots."""
    text = msgspec.json.encode(key)
    if len(text) > 29:
        text = text[:25].decode(errors="ignore").encode() + b'..."'
    return text.decode()


def filled(shape: Any, values: Sequence[Any]) -> Any:
    """A template with the values in their places."""
    if isinstance(shape, Slot):
        return values[shape.leaf]
    if isinstance(shape, Constant):
        return shape.value
    if isinstance(shape, dict):
        return {key: filled(child, values) for key, child in shape.items()}
    if isinstance(shape, list):
        return [filled(child, values) for child in shape]
    return shape


def bare_programs(subject: Expression) -> Iterator[tuple[Leaf, str]]:
    """The programs that tell whether each leaf is a complete expression by itself."""
    return ((each, bare(each.text, subject.names)) for each in subject.leaves if each.plain is None)
