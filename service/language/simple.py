r"""The part of jq that this process answers itself: what most expressions of real workflows are made of.

`parsed` accepts a subset of what jq accepts, never more, and whatever it makes answers with one value or not at all:
where the value is not certainly jq's, to the digit and to the order of keys, `Program.value` raises `SandboxNeededError`,
and the sandbox gives the value or the error. No error text is ever made here.

The subset: literals, strings with `\(…)`, `.`, `$name`, keys and indexes, objects, lists, parentheses,
`if … then … else … end`, `| // or and == != < <= > >= + - * / %`, and the functions of `jq_values.FUNCTIONS`. Programs are
short and never repeat anything, so nothing of an account can keep this process busy.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

import msgspec

from service.language.jq_values import (
    FUNCTIONS,
    OPERATIONS,
    SandboxNeededError,
    as_text,
    beyond,
    bounded,
    is_true,
    joined,
)

TEXT_LIMIT: Final = 4_096
"""Characters of a program."""
SIZE_LIMIT: Final = 100
"""Terms of a program: bounds its evaluation, and the levels of both recursions."""
DIGITS: Final = 15
"""Decimal digits that a double always holds."""

WORD = r"[A-Za-z_][A-Za-z0-9_]*"
TOKEN = re.compile(
    rf"""[ \t\r\n]*(?:
        \Z
      | (?: 0 | [1-9][0-9]* )(?: \.[0-9]+ )? (?![0-9A-Za-z_.])
      | [.$]?{WORD}
      | (?: // | [=!<>]= | [-+*/%|<>] ) (?!=)
      | \.(?!\.) | [][{{}}():,"]
    )""",
    re.VERBOSE,
)
STRING_PART = re.compile(r'[^"\\\x00-\x1f\x7f]+|\\["\\/bfnrt]|\\\(|"')
ALTERNATIVE, COMPARISON, PRODUCT = 1, 4, 6
LEVELS: Final = {
    "//": ALTERNATIVE,
    "or": 2,
    "and": 3,
    **dict.fromkeys(["==", "!=", "<", "<=", ">", ">="], COMPARISON),
    **dict.fromkeys(["+", "-"], 5),
    **dict.fromkeys(["*", "/", "%"], PRODUCT),
}
"""How tightly each operator binds."""


# --- Programs -------------------------------------------------------------------------------------------------------


class Node(Protocol):
    """A piece of a program."""

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        """The one value it has. Raises SandboxNeededError."""
        ...


class Literal(msgspec.Struct, frozen=True):
    """A value written in the program."""

    constant: Any

    def value(self, _dot: Any, _variables: Mapping[str, Any], /) -> Any:
        return self.constant


class Dot(msgspec.Struct, frozen=True):
    """`.`."""

    def value(self, dot: Any, _variables: Mapping[str, Any], /) -> Any:
        return dot


class Variable(msgspec.Struct, frozen=True):
    """`$name`, null when nothing is bound to it."""

    name: str

    def value(self, _dot: Any, variables: Mapping[str, Any], /) -> Any:
        return variables.get(self.name)


class Steps(msgspec.Struct, frozen=True):
    """Keys and indexes, one after the other, from `.` when there is no other start: `.a["b"][0]`."""

    start: Node | None
    keys: tuple[str | int, ...]

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        found = dot if self.start is None else self.start.value(dot, variables)
        for key in self.keys:
            if type(found) is dict and type(key) is str:
                found = found.get(key)
            elif type(found) is list and type(key) is int:
                found = found[key] if -len(found) <= key < len(found) else None
            elif found is not None:
                beyond()
        return found


class Object(msgspec.Struct, frozen=True):
    """`{key: …}`."""

    entries: tuple[tuple[str, Node], ...]

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        return {key: node.value(dot, variables) for key, node in self.entries}


class List(msgspec.Struct, frozen=True):
    """`[…, …]`."""

    items: tuple[Node, ...]

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        return [node.value(dot, variables) for node in self.items]


class Interpolation(msgspec.Struct, frozen=True):
    r"""`"… \(…) …"`."""

    parts: tuple[Node, ...]

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        text = ""
        for part in self.parts:
            text = joined(text, as_text(part.value(dot, variables)))
        return text


class Pipe(msgspec.Struct, frozen=True):
    """`first | second`."""

    first: Node
    second: Node

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        return self.second.value(self.first.value(dot, variables), variables)


class Condition(msgspec.Struct, frozen=True):
    """`if … then … else … end`."""

    test: Node
    then: Node
    otherwise: Node

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        node = self.then if is_true(self.test.value(dot, variables)) else self.otherwise
        return node.value(dot, variables)


class Alternative(msgspec.Struct, frozen=True):
    """`left // right`."""

    left: Node
    right: Node

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        found = self.left.value(dot, variables)
        return found if is_true(found) else self.right.value(dot, variables)


class Both(msgspec.Struct, frozen=True):
    """`left and right`."""

    left: Node
    right: Node

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        return is_true(self.left.value(dot, variables)) and is_true(self.right.value(dot, variables))


class Either(msgspec.Struct, frozen=True):
    """`left or right`."""

    left: Node
    right: Node

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        return is_true(self.left.value(dot, variables)) or is_true(self.right.value(dot, variables))


class Operation(msgspec.Struct, frozen=True):
    """An operator that takes two values."""

    symbol: str
    left: Node
    right: Node

    def value(self, dot: Any, variables: Mapping[str, Any], /) -> Any:
        left = self.left.value(dot, variables)
        return OPERATIONS[self.symbol](left, self.right.value(dot, variables))


class Call(msgspec.Struct, frozen=True):
    """A function of `.`."""

    name: str

    def value(self, dot: Any, _variables: Mapping[str, Any], /) -> Any:
        return FUNCTIONS[self.name](dot)


class Program(msgspec.Struct, frozen=True):
    """A program that this process understands; `builds` tells whether its value may be larger than what it reads."""

    root: Node
    builds: bool

    def value(self, dot: Any, variables: Mapping[str, Any]) -> Any:
        """The value that jq gives. Raises SandboxNeededError where only jq can tell."""
        found = self.root.value(dot, variables)
        return bounded(found) if self.builds else found


# --- Reading --------------------------------------------------------------------------------------------------------


def parsed(text: str, names: Collection[str]) -> Program | None:
    """The program of a text with `names` (without `$`) bound; None when it is not inside the subset."""
    if len(text) > TEXT_LIMIT:
        return None
    try:
        return Parser(text, names).program()
    except SandboxNeededError:
        return None


class Parser:
    """Reads one program: `next` is the next token, "" at the end, `position` is behind it."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.text = text
        self.names = names
        self.position = 0
        self.size = 0
        self.builds = False
        self.next = ""
        self.advance()

    def program(self) -> Program:
        """The whole text."""
        root = self.pipe()
        if self.next:
            beyond()
        return Program(root, self.builds)

    def advance(self) -> str:
        """Go to the next token; gives the one that was there."""
        found = TOKEN.match(self.text, self.position)
        if found is None:
            beyond()
        taken, self.next, self.position = self.next, found[0].lstrip(" \t\r\n"), found.end()
        return taken

    def accept(self, token: str) -> bool:
        """Go past `token` if it is the next one."""
        if self.next != token:
            return False
        self.advance()
        return True

    def expect(self, token: str) -> None:
        """Go past `token`, which has to be the next one."""
        if not self.accept(token):
            beyond()

    def grow(self) -> None:
        """Count one more term."""
        self.size += 1
        if self.size > SIZE_LIMIT:
            beyond()

    def pipe(self) -> Node:
        """What binds least: all that parentheses may hold."""
        first = self.operation(ALTERNATIVE)
        return Pipe(first, self.pipe()) if self.accept("|") else first

    def operation(self, least: int) -> Node:
        """Operators that bind at least as tightly as `least`: `//` to the right, comparisons not to each other."""
        left = self.operand()
        while (level := LEVELS.get(self.next, 0)) >= least:
            symbol = self.advance()
            right = self.operation(level if level == ALTERNATIVE else level + 1)
            left = self.operator(symbol, left, right)
            if level == COMPARISON and LEVELS.get(self.next) == COMPARISON:
                beyond()
        return left

    def operator(self, symbol: str, left: Node, right: Node) -> Node:
        """An operator with both of its sides."""
        match symbol:
            case "//":
                return Alternative(left, right)
            case "and":
                return Both(left, right)
            case "or":
                return Either(left, right)
        self.builds = self.builds or symbol == "+"
        return Operation(symbol, left, right)

    def operand(self) -> Node:
        """A term with the keys and indexes behind it."""
        self.grow()
        start, keys = self.term(), list[str | int]()
        while self.next == "[" or self.is_field():
            keys.append(self.key())
        if not keys:
            return start
        return Steps(None if isinstance(start, Dot) else start, tuple(keys))

    def is_field(self) -> bool:
        """Whether the next token is `.key`, or the `.` of `."key"`."""
        return self.next[:1] == "." and (
            self.next != "." or self.text[self.position : self.position + 1] == '"'
        )

    def key(self) -> str | int:
        """`.key`, `."key"`, `["key"]` or `[0]`."""
        first = self.advance()
        if first not in (".", "["):
            return first[1:]
        if self.next == '"':
            found: Any = self.plain_string()
        else:
            found = -self.number() if self.accept("-") else self.number()
        if first == "[":
            self.expect("]")
        return found if type(found) is str or type(found) is int else beyond()

    def term(self) -> Node:
        """What stands between operators, without what follows it."""
        if self.is_field():
            return Dot()
        if self.next == '"':
            return self.string()
        if self.next[:1] == "$":
            return self.variable()
        if self.next[:1].isdigit():
            return Literal(self.number())
        first = self.advance()
        rest = RESTS.get(first)
        return rest(self) if rest is not None else TERMS.get(first) or beyond()

    def rest_of_parentheses(self) -> Node:
        """What stands in parentheses."""
        inner = self.pipe()
        self.expect(")")
        return inner

    def negative(self) -> Node:
        """A number behind its minus, which to jq binds less than a product."""
        number = self.number()
        return Literal(-number) if number and LEVELS.get(self.next) != PRODUCT else beyond()

    def number(self) -> int | float:
        """A number that a double holds to its last digit."""
        digits = self.advance()
        if not digits[:1].isdigit() or len(digits.replace(".", "")) > DIGITS:
            beyond()
        return float(digits) if "." in digits else int(digits)

    def variable(self) -> Node:
        """`$name`, if there is one of this name."""
        name = self.advance()[1:]
        return Variable(name) if name in self.names else beyond()

    def string(self) -> Node:
        """A string; its quotation mark is the next token."""
        parts: list[Node] = []
        while (part := self.string_part()) != '"':
            if part == "\\(":
                self.advance()
                parts.append(self.pipe())
                if self.next != ")":
                    beyond()
            else:
                parts.append(Literal(json.loads(f'"{part}"')))
        self.advance()
        if all(isinstance(part, Literal) and type(part.constant) is str for part in parts):
            return Literal("".join(part.constant for part in parts if isinstance(part, Literal)))
        self.builds = True
        return Interpolation(tuple(parts))

    def string_part(self) -> str:
        r"""The next part of a string: characters, an escape, `\(` or its end."""
        found = STRING_PART.match(self.text, self.position)
        if found is None:
            beyond()
        self.position = found.end()
        return str(found[0])

    def plain_string(self) -> str:
        """A string without anything to evaluate."""
        found = self.string()
        return str(found.constant) if isinstance(found, Literal) else beyond()

    def rest_of_list(self) -> Node:
        """A list; its bracket has been read."""
        items: list[Node] = []
        if self.next != "]":
            items.append(self.operation(ALTERNATIVE))
            if self.accept("|"):
                items = [Pipe(items[0], self.pipe())]
            else:
                while self.accept(","):
                    items.append(self.operation(ALTERNATIVE))
        self.expect("]")
        if all(isinstance(item, Literal) for item in items):
            return Literal([item.constant for item in items if isinstance(item, Literal)])
        self.builds = True
        return List(tuple(items))

    def rest_of_object(self) -> Node:
        """An object; its brace has been read."""
        entries: list[tuple[str, Node]] = []
        if self.next != "}":
            entries.append(self.entry())
            while self.accept(","):
                entries.append(self.entry())
        self.expect("}")
        if all(isinstance(node, Literal) for _, node in entries):
            return Literal({key: node.constant for key, node in entries if isinstance(node, Literal)})
        self.builds = True
        return Object(tuple(entries))

    def entry(self) -> tuple[str, Node]:
        """`key: …`, or `key` or `$name` alone, which bring their values with them."""
        self.grow()
        if self.next[:1] == "$":
            name = self.next[1:]
            return name, self.variable()
        if self.next == '"':
            key = self.plain_string()
        elif re.fullmatch(WORD, self.next):
            key = self.advance()
        else:
            beyond()
        if self.accept(":"):
            return key, self.operation(ALTERNATIVE)
        return key, Steps(None, (key,))

    def rest_of_condition(self) -> Node:
        """The rest of an `if`, which may have no `else`."""
        test = self.pipe()
        self.expect("then")
        then = self.pipe()
        if self.accept("elif"):
            return Condition(test, then, self.rest_of_condition())
        otherwise = self.pipe() if self.accept("else") else Dot()
        self.expect("end")
        return Condition(test, then, otherwise)


RESTS: Final[Mapping[str, Callable[[Parser], Node]]] = {
    "-": Parser.negative,
    "(": Parser.rest_of_parentheses,
    "{": Parser.rest_of_object,
    "[": Parser.rest_of_list,
    "if": Parser.rest_of_condition,
}
TERMS: Final[Mapping[str, Node]] = {
    ".": Dot(),
    **{name: Literal(value) for name, value in {"true": True, "false": False, "null": None}.items()},
    **{name: Call(name) for name in FUNCTIONS},
}
