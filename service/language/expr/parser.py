"""An expression's text as a tree (https://expr-lang.org/docs/language-definition), by operator precedence (Pratt)."""

from typing import Final

from service.language.expr.functions import FUNCTIONS, miscounted, refusal
from service.language.expr.lexer import ExprRefused, Token, refused, tokens
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
    parts,
)

DEEPEST: Final = 50
"""Parentheses, brackets, braces, calls and operators before their operand inside one another."""
TALLEST: Final = 100
"""Levels of a tree: a chain of operators, `a + b + c`, has one for each of them."""

UNARY: Final = {"not": 50, "!": 50, "-": 90, "+": 90}
BINARY: Final = {
    "|": 0,
    "or": 10,
    "||": 10,
    "and": 15,
    "&&": 15,
    **dict.fromkeys(("==", "!=", "<", ">", "<=", ">="), 20),
    **dict.fromkeys(("in", "contains", "startsWith", "endsWith", "matches"), 20),
    "..": 25,
    "+": 30,
    "-": 30,
    "*": 60,
    "/": 60,
    "%": 60,
    "^": 100,
    "**": 100,
    "??": 500,
}
SPELLING: Final = {"||": "or", "&&": "and", "!": "not", "^": "**"}
NEGATABLE: Final = frozenset({"in", "contains", "startsWith", "endsWith", "matches"})
ORDERS: Final = frozenset({"<", ">", "<=", ">="})
CONSTANTS: Final = {"true": True, "false": False, "nil": None}
WORDS: Final = frozenset({"and", "or", "not", "let", "if", "else", *NEGATABLE, *CONSTANTS})
MIXED: Final = "?? and other operators have to be told apart by parentheses"


def parsed(text: str, variables: frozenset[str]) -> Node:
    """Read an expression in which these variables are visible.

    Raises:
        ExprRefused: it is none, it has something that is not supported, or it is too long or too deep.
    """
    return Parser(text, variables).whole()


class Parser:
    """One reading of a text."""

    def __init__(self, text: str, variables: frozenset[str]) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.position = 0
        self.depth = 0
        self.named = 0
        self.names = {name: name for name in variables}
        self.predicates: list[
            tuple[int, bool]
        ] = []  # those around this place: number, and whether `#acc` is known

    # --- Tokens ---

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.position]

    def next(self) -> Token:
        """Take the next token."""
        token = self.token
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def at(self, *texts: str) -> bool:
        """Whether the next token is one of these symbols or words."""
        return self.token.kind in ("symbol", "name") and self.token.text in texts

    def took(self, text: str) -> bool:
        """Take the next token if it is this symbol or word."""
        found = self.at(text)
        if found:
            self.next()
        return found

    def expect(self, text: str) -> None:
        """Take a symbol or word that has to be there."""
        if not self.took(text):
            raise self.refusal(self.token, f"{text!r} was expected, not {shown(self.token)}")

    def refusal(self, token: Token, what: str) -> ExprRefused:
        """The refusal of what stands at a token."""
        return refused(self.text, token.at, what)

    def new_name(self, kind: str) -> str:
        """A name that no other variable of this expression has."""
        self.named += 1
        return f"{kind}{self.named}"

    # --- Expressions ---

    def whole(self) -> Node:
        """The tree of the whole text."""
        node = self.expression(0)
        if self.token.kind != "end":
            raise self.refusal(self.token, f"{shown(self.token)} was not expected")
        if is_taller(node, TALLEST):
            raise ExprRefused(f"an expression has at most {TALLEST} levels")
        return node

    def expression(self, power: int) -> Node:
        """The longest expression whose operators bind at least this much."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.refusal(self.token, f"an expression is nested at most {DEEPEST} levels deep")
        if power == 0 and self.at("let"):
            node = self.let()
        elif power == 0 and self.at("if"):
            node = self.branches()
        else:
            node = self.operations(power)
            if power == 0 and self.at("?"):
                node = self.conditional(node)
        self.depth -= 1
        return node

    def operations(self, power: int) -> Node:
        """Operands, and the operators between them."""
        node = self.operand()
        before = ""
        while True:
            negated = self.at("not") and self.tokens[self.position + 1].text in NEGATABLE
            token = self.tokens[self.position + 1] if negated else self.token
            binding = BINARY.get(token.text) if token.kind in ("symbol", "name") else None
            if binding is None or binding < power:
                return node
            if before == "??" and token.text != "??":
                raise self.refusal(token, MIXED)
            self.position += 1 + negated
            before = token.text
            node = self.operation(node, token, binding)
            if negated:
                node = Unary("not", node)

    def operation(self, left: Node, token: Token, binding: int) -> Node:
        """An operation whose operator has just been taken."""
        if token.text == "|":
            return self.steps(self.call(self.next(), left))
        operator = SPELLING.get(token.text, token.text)
        right = self.expression(binding if operator == "**" else binding + 1)
        if operator in ORDERS and self.at(*ORDERS):  # 1 < x < 3 is 1 < x and x < 3
            name = self.new_name("let")
            following = self.operation(Variable(name), self.next(), binding)
            return Let(name, right, Binary("and", Binary(operator, left, Variable(name)), following))
        return Binary(operator, left, right)

    def conditional(self, test: Node) -> Node:
        """`test ? yes : no`, and `test ?: no`, from the question mark on."""
        self.expect("?")
        if self.took(":"):
            name = self.new_name("let")
            return Let(name, test, Conditional(Variable(name), Variable(name), self.expression(0)))
        yes = self.expression(0)
        self.expect(":")
        return Conditional(test, yes, self.expression(0))

    def let(self) -> Node:
        """`let name = value; body`."""
        self.expect("let")
        token = self.next()
        if token.kind != "name" or token.text[0] in "#$" or token.text in WORDS:
            raise self.refusal(token, f"a name was expected, not {shown(token)}")
        if token.text in self.names or token.text in FUNCTIONS:
            raise self.refusal(token, f"there is a {token.text} already")
        self.expect("=")
        value = self.expression(0)
        self.expect(";")
        name = self.names[token.text] = self.new_name("let")
        body = self.expression(0)
        del self.names[token.text]
        return Let(name, value, body)

    def branches(self) -> Node:
        """`if test { yes } else { no }`."""
        self.expect("if")
        test = self.expression(0)
        yes = self.block()
        self.expect("else")
        return Conditional(test, yes, self.expression(0) if self.at("if") else self.block())

    def block(self) -> Node:
        """`{ body }`."""
        self.expect("{")
        body = self.expression(0)
        self.expect("}")
        return body

    # --- Operands ---

    def operand(self) -> Node:
        """A value, with the operators before it and the steps behind it."""
        if self.at(*UNARY):
            operator = self.next().text
            return Unary(SPELLING.get(operator, operator), self.expression(UNARY[operator]))
        if self.at(".") and self.predicates:
            return self.steps(self.element("#"))
        return self.steps(self.primary())

    def primary(self) -> Node:
        """A value without anything around it."""
        token = self.next()
        if token.kind in ("number", "text"):
            return Literal(token.value)
        if token.kind == "name":
            return self.named_value(token)
        match token.text if token.kind == "symbol" else "":
            case "(":
                node = self.expression(0)
                self.expect(")")
                return node
            case "[":
                return Array(self.listed("]"))
            case "{":
                return self.map()
        raise self.refusal(token, f"a value was expected, not {shown(token)}")

    def named_value(self, token: Token) -> Node:
        """What a name stands for."""
        name = token.text
        if name in CONSTANTS:
            return Literal(CONSTANTS[name])
        if name == "$env":
            return Environment()
        if name[0] == "#":
            return self.element(name, token)
        if name in WORDS:
            raise self.refusal(token, f"a value was expected, not {shown(token)}")
        if self.at("("):
            return self.call(token)
        if name not in self.names:
            visible = ", ".join(sorted(self.names))
            raise self.refusal(token, f"there is no variable {name}; known here: {visible}")
        return Variable(self.names[name])

    def element(self, name: str, token: Token | None = None) -> Node:
        """What a predicate is about: `#`, `#index`, or `#acc` in `reduce`."""
        token = token or self.token
        if not self.predicates:
            raise self.refusal(token, f"{name} has a meaning only in what a function does with each element")
        number, reduces = self.predicates[-1]
        if name == "#acc" and not reduces:
            raise self.refusal(token, "#acc has a meaning only in reduce()")
        return Variable({"#": "item", "#index": "index", "#acc": "acc"}[name] + str(number))

    def listed(self, end: str) -> tuple[Node, ...]:
        """Expressions with commas between them, up to a bracket; a comma may stand behind the last."""
        items: list[Node] = []
        while not self.took(end):
            items.append(self.expression(0))
            if not self.at(end):
                self.expect(",")
        return tuple(items)

    def map(self) -> Node:
        """`{key: value}`, from behind the brace on."""
        pairs: list[tuple[Node, Node]] = []
        while not self.took("}"):
            key = self.key()
            self.expect(":")
            pairs.append((key, self.expression(0)))
            if not self.at("}"):
                self.expect(",")
        return Map(tuple(pairs))

    def key(self) -> Node:
        """The key of a map: a name, a text, a number, or an expression in parentheses."""
        token = self.next()
        if token.kind == "name" and token.text[0] not in "#$":
            return Literal(token.text)
        if token.kind in ("text", "number"):
            return Literal(str(token.value))
        if token.text != "(":
            raise self.refusal(token, f"a key was expected, not {shown(token)}")
        node = self.expression(0)
        self.expect(")")
        return node

    # --- Steps and calls ---

    def steps(self, start: Node) -> Node:
        """A value and the steps behind it."""
        found: list[Member | Slice] = []
        while self.at(".", "?.", "["):
            token = self.next()
            if token.text == "[":
                found.append(self.bracket(optional=False))
            elif token.text == "?." and self.took("["):
                found.append(self.bracket(optional=True))
            else:
                found.append(self.member(optional=token.text == "?."))
        return Chain(start, tuple(found)) if found else start

    def member(self, *, optional: bool) -> Member:
        """The name behind a dot."""
        token = self.next()
        if token.kind != "name" or token.text[0] in "#$":
            raise self.refusal(token, f"a member's name was expected, not {shown(token)}")
        if self.at("("):
            raise self.refusal(token, f"values have no methods, as .{token.text}() would be one")
        return Member(Literal(token.text), optional)

    def bracket(self, *, optional: bool) -> Member | Slice:
        """A key or the two ends of a slice, up to the closing bracket."""
        start = None if self.at(":") else self.expression(0)
        if start is not None and self.took("]"):
            return Member(start, optional)
        self.expect(":")
        end = None if self.at("]") else self.expression(0)
        self.expect("]")
        return Slice(start, end, optional)

    def call(self, token: Token, *given: Node) -> Node:
        """A call of a function, from its arguments' parenthesis on; `given` came through a pipe."""
        if token.kind != "name" or token.text in WORDS:
            raise self.refusal(token, f"the name of a function was expected, not {shown(token)}")
        reason = refusal(token.text)
        if reason is not None:
            raise self.refusal(token, reason)
        self.expect("(")
        arguments: list[Node | Predicate] = list(given)
        while not self.took(")"):
            is_predicate = FUNCTIONS[token.text].predicate and len(arguments) == 1
            arguments.append(self.predicate(token.text) if is_predicate else self.expression(0))
            if not self.at(")"):
                self.expect(",")
        reason = miscounted(token.text, len(arguments))
        if reason is not None:
            raise self.refusal(token, reason)
        return Call(token.text, tuple(arguments))

    def predicate(self, function: str) -> Predicate:
        """What a function does with each element, in braces or without."""
        self.named += 1
        number = self.named
        self.predicates.append((number, function == "reduce"))
        body = self.block() if self.at("{") else self.expression(0)
        self.predicates.pop()
        return Predicate(number, body)


def shown(token: Token) -> str:
    """A token in a message."""
    if token.kind == "end":
        return token.text
    text = token.text if len(token.text) <= 40 else token.text[:39] + "…"
    return f"{text!r}" if token.kind != "text" else text


def is_taller(node: Node, levels: int) -> bool:
    """Whether a tree has more levels than that."""
    level: list[object] = [node]
    for _ in range(levels):
        level = [part for each in level for part in parts(each)]  # type: ignore[arg-type]  # parts of parts are parts
        if not level:
            return False
    return True
