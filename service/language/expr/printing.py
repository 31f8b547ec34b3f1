"""The values of variables as the texts that a workflow gets: variables are texts there."""

from decimal import Decimal
from typing import Any, Final

NIL: Final = "<nil>"
LEAST, GREATEST = 1e-6, 1e21
"""Numbers at least this far from 0, and less than that, are written without an exponent."""


def printed(value: Any) -> str:
    """A value as text: 1200000 and not 1.2e+06, true, <nil>, a string as it is, [1 2] and map[a:1 b:2]."""
    if isinstance(value, str):
        return value
    if value is None:
        return NIL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{' '.join(map(printed, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{printed(value[key])}' for key in sorted(value))}]"
    return str(value) if isinstance(value, int) else digits(value)


def digits(value: float) -> str:
    """A number as JSON has it: with the fewest digits that tell it from others."""
    if value and not LEAST <= abs(value) < GREATEST:
        return repr(value).replace(".0e", "e").replace("e-0", "e-")
    return format(Decimal(repr(value)).normalize(), "f")
