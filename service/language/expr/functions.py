"""The built-in functions: what each takes, and which of the language's are not supported."""

from typing import Final

import msgspec


class Function(msgspec.Struct, frozen=True):
    """How many arguments a function takes (`most` None: any number), and whether its second one is a predicate."""

    least: int
    most: int | None
    predicate: bool = False


ONE, TWO, ONE_OR_TWO, ANY = Function(1, 1), Function(2, 2), Function(1, 2), Function(1, None)
EACH, PERHAPS_EACH = Function(2, 2, predicate=True), Function(1, 2, predicate=True)

FUNCTIONS: Final = {
    "len": ONE,
    "all": EACH,
    "any": EACH,
    "one": EACH,
    "none": EACH,
    "map": EACH,
    "filter": EACH,
    "find": EACH,
    "findIndex": EACH,
    "findLast": EACH,
    "findLastIndex": EACH,
    "count": PERHAPS_EACH,
    "sum": PERHAPS_EACH,
    "reduce": Function(2, 3, predicate=True),
    "min": ANY,
    "max": ANY,
    "mean": ANY,
    "median": ANY,
    "abs": ONE,
    "ceil": ONE,
    "floor": ONE,
    "round": ONE,
    "int": ONE,
    "float": ONE,
    "string": ONE,
    "type": ONE,
    "upper": ONE,
    "lower": ONE,
    "trim": ONE_OR_TWO,
    "trimPrefix": TWO,
    "trimSuffix": TWO,
    "hasPrefix": TWO,
    "hasSuffix": TWO,
    "indexOf": TWO,
    "lastIndexOf": TWO,
    "split": Function(2, 3),
    "join": ONE_OR_TWO,
    "replace": Function(3, 3),
    "repeat": TWO,
    "keys": ONE,
    "values": ONE,
    "toPairs": ONE,
    "fromPairs": ONE,
    "first": ONE,
    "last": ONE,
    "take": TWO,
    "reverse": ONE,
    "sort": ONE_OR_TWO,
    "uniq": ONE,
    "concat": ANY,
    "flatten": ONE,
    "get": TWO,
    "toJSON": ONE,
    "fromJSON": ONE,
    "toBase64": ONE,
    "fromBase64": ONE,
}

UNSUPPORTED: Final = frozenset(
    {
        "now",
        "duration",
        "date",
        "timezone",
        "groupBy",
        "sortBy",
        "splitAfter",
        "bitand",
        "bitor",
        "bitxor",
        "bitnand",
        "bitnot",
        "bitshl",
        "bitshr",
        "bitushr",
    }
)
LINK: Final = (
    "link() is not supported: an expression here calls nobody; take what it needs from the event itself"
)


def refusal(name: str) -> str | None:
    """Why a function cannot be called, if it cannot."""
    if name in FUNCTIONS:
        return None
    if name == "link":
        return LINK
    return f"{name}() is not supported" if name in UNSUPPORTED else f"there is no function {name}()"


def miscounted(name: str, given: int) -> str | None:
    """What is wrong with the number of arguments that a function is given, if anything is."""
    function = FUNCTIONS[name]
    if given < function.least:
        return f"{name}() needs {function.least} argument{'s' if function.least > 1 else ''}, not {given}"
    if function.most is not None and given > function.most:
        return (
            f"{name}() takes at most {function.most} argument{'s' if function.most > 1 else ''}, not {given}"
        )
    return None
