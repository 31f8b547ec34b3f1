"""A tree as a jq program. Nothing of an author's text gets into it but numbers, and strings whose characters are escaped."""

from typing import Final

from service.language.expr.functions import FUNCTIONS
from service.language.expr.tree import (
    Array,
    Binary,
    Call,
    Chain,
    Conditional,
    Environment,
    Let,
    Literal,
    Map,
    Member,
    Node,
    Predicate,
    Slice,
    Unary,
    Variable,
)

OPERATORS: Final = {
    "==": "expr_equal",
    "!=": "expr_unequal",
    "<": "expr_less",
    ">": "expr_greater",
    "<=": "expr_at_most",
    ">=": "expr_at_least",
    "+": "expr_add",
    "-": "expr_subtract",
    "*": "expr_multiply",
    "/": "expr_divide",
    "%": "expr_modulo",
    "**": "expr_power",
    "??": "expr_coalesce",
    "..": "expr_range",
    "in": "expr_in",
    "contains": "expr_contains",
    "startsWith": "expr_starts_with",
    "endsWith": "expr_ends_with",
    "matches": "expr_matches",
}
PREFIXES: Final = {"not": "expr_not", "-": "expr_negative", "+": "expr_positive"}
HARMLESS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _-")


def program(node: Node) -> str:
    """The jq for a tree; what it names is `$event`, its own variables, and the functions of `library`."""
    match node:
        case Literal(value):
            return literal(value)
        case Variable(name):
            return f"${name}"
        case Chain(start, steps):
            return chain(program(start), steps)
        case Call(function, arguments):
            return call(function, arguments)
        case Array() | Map() | Environment():
            return collection(node)
        case _:
            return operation(node)


def collection(node: Array | Map | Environment) -> str:
    """Values that are put together."""
    match node:
        case Array(items):
            return f"[{', '.join(f'({program(item)})' for item in items)}]"
        case Map(pairs):
            entries = (f"(expr_text({program(key)})): ({program(value)})" for key, value in pairs)
            return f"{{{', '.join(entries)}}}"
        case Environment():
            return "{event: $event}"


def operation(node: Unary | Binary | Conditional | Let) -> str:
    """A value that is made of others."""
    match node:
        case Unary(operator, operand):
            return f"{PREFIXES[operator]}({program(operand)})"
        case Binary("and" | "or" as word, left, right):
            return f"(expr_bool({program(left)}) {word} expr_bool({program(right)}))"
        case Binary(operator, left, right):
            return f"{OPERATORS[operator]}({program(left)}; {program(right)})"
        case Conditional(test, yes, no):
            return f"(if expr_bool({program(test)}) then {program(yes)} else {program(no)} end)"
        case Let(name, value, body):
            return f"(({program(value)}) as ${name} | {program(body)})"


def literal(value: str | float | bool | None) -> str:  # noqa: FBT001 - one of the values of the language
    """A constant. A string's characters are escaped, unless they are letters, digits and the like."""
    if isinstance(value, str):
        return '"' + "".join(each if each in HARMLESS else escaped(each) for each in value) + '"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def escaped(character: str) -> str:
    r"""A character as JSON's \\uXXXX: two of them beyond the first 65,536."""
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def chain(start: str, steps: tuple[Member | Slice, ...]) -> str:
    """A value's member's member; from an optional step on, nothing is looked at if there is nil before it."""
    text = start
    for index, step in enumerate(steps):
        if step.optional:
            rest = chain("$at", (unconditional(step), *steps[index + 1 :]))
            return f"({text} as $at | if $at == null then null else {rest} end)"
        text = stepped(text, step)
    return text


def unconditional(step: Member | Slice) -> Member | Slice:
    """A step once it is known that there is something before it."""
    if isinstance(step, Member):
        return Member(step.key, optional=False)
    return Slice(step.start, step.end, optional=False)


def stepped(text: str, step: Member | Slice) -> str:
    """One step from a value on."""
    if isinstance(step, Member):
        return f"expr_member({text}; {program(step.key)})"
    start, end = ("null" if edge is None else program(edge) for edge in (step.start, step.end))
    return f"expr_slice({text}; {start}; {end})"


def call(function: str, arguments: tuple[Node | Predicate, ...]) -> str:
    """A call; functions that take any number of arguments get them as one array."""
    texts = [
        predicate(each, function) if isinstance(each, Predicate) else program(each) for each in arguments
    ]
    if FUNCTIONS[function].most is None:
        texts = [f"[{', '.join(f'({text})' for text in texts)}]"]
    return f"expr_{function}({'; '.join(texts)})"


def predicate(made: Predicate, function: str) -> str:
    """What is done with an element, which comes as `[element, index]`, in `reduce` as `[element, index, accumulator]`."""
    number = made.number
    names = [f"$item{number}", f"$index{number}", *([f"$acc{number}"] if function == "reduce" else [])]
    return f". as [{', '.join(names)}] | {program(made.body)}"
