"""The tree of an expression. Every name in it that reaches jq is one that the parser made up, never an author's."""

from collections.abc import Iterator

import msgspec


class Literal(msgspec.Struct, frozen=True):
    """A number, text, truth value or nil."""

    value: str | int | float | bool | None


class Variable(msgspec.Struct, frozen=True):
    """A variable of jq: `event`, or one that the parser has named."""

    name: str


class Environment(msgspec.Struct, frozen=True):
    """`$env`, the map of all variables."""


class Array(msgspec.Struct, frozen=True):
    """`[a, b]`."""

    items: tuple["Node", ...]


class Map(msgspec.Struct, frozen=True):
    """`{a: 1}`: keys (expressions that give texts) and values."""

    pairs: tuple[tuple["Node", "Node"], ...]


class Unary(msgspec.Struct, frozen=True):
    """`not a`, `-a`, `+a`."""

    operator: str
    operand: "Node"


class Binary(msgspec.Struct, frozen=True):
    """Two operands and what is between them, as the language's shorter spelling has it (`&&` is `and`)."""

    operator: str
    left: "Node"
    right: "Node"


class Conditional(msgspec.Struct, frozen=True):
    """`test ? yes : no`."""

    test: "Node"
    yes: "Node"
    no: "Node"


class Let(msgspec.Struct, frozen=True):
    """`let name = value; body`."""

    name: str
    value: "Node"
    body: "Node"


class Member(msgspec.Struct, frozen=True):
    """One step of a chain: `.name` or `[key]`; `optional` if nil before it makes the rest of the chain nil (`?.`)."""

    key: "Node"
    optional: bool


class Slice(msgspec.Struct, frozen=True):
    """One step of a chain: `[from:to]`."""

    start: "Node | None"
    end: "Node | None"
    optional: bool


class Chain(msgspec.Struct, frozen=True):
    """A value and the steps that lead into it."""

    start: "Node"
    steps: tuple[Member | Slice, ...]


class Predicate(msgspec.Struct, frozen=True):
    """What a function does with each element: its body, and the number in the names of `#`, `#index` and `#acc`."""

    number: int
    body: "Node"


class Call(msgspec.Struct, frozen=True):
    """A built-in function and what it is given."""

    function: str
    arguments: tuple["Node | Predicate", ...]


Node = Literal | Variable | Environment | Array | Map | Unary | Binary | Conditional | Let | Chain | Call


def parts(node: Node | Predicate | Member | Slice) -> Iterator[Node | Predicate | Member | Slice]:
    """What a part of a tree consists of."""
    for value in msgspec.structs.astuple(node):
        yield from found_in(value)


def found_in(value: object) -> Iterator[Node | Predicate | Member | Slice]:
    """The parts of a tree in one field of a part."""
    if isinstance(value, tuple):
        for each in value:
            yield from found_in(each)
    elif isinstance(value, Node | Predicate | Member | Slice):
        yield value
