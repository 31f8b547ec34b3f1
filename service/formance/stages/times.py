r"""Lengths of time and instants as stages write them, read here when they are known and by jq when they come from variables.

Lengths are Go's (`1h30m`, `-1.5s`): units ns, us, ms, s, m, h, several of them added up, a sign in front of all.
Instants are those of RFC 3339, zone included. Both are read as whole milliseconds.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal

TEXT_LIMIT = 100  # characters
MOST_MILLISECONDS = 5 * 365 * 86_400_000  # what a timer takes is five years

_UNITS = {
    "ns": Decimal("0.000001"),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs"), Decimal("0.001")),  # there are two signs for micro
    "ms": Decimal(1),
    "s": Decimal(1000),
    "m": Decimal(60_000),
    "h": Decimal(3_600_000),
}
_UNIT = "|".join(_UNITS)
_NUMBER = r"[0-9]+\.?[0-9]*|\.[0-9]+"
_LENGTH = re.compile(rf"([-+]?)(?:0|((?:(?:{_NUMBER})(?:{_UNIT}))+))", re.ASCII)
_PART = re.compile(rf"({_NUMBER})({_UNIT})", re.ASCII)
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)

LENGTH_RULE = "a duration such as 1h30m (numbers with the units ns, us, ms, s, m or h)"
INSTANT_RULE = "a date with its time and zone, such as 2030-01-31T12:00:00Z"
TOO_LONG = "has to be five years at most"

# Milliseconds of a text that is `.`; null for one that is not of the form.
LENGTH_JQ = rf"""
(if length <= {TEXT_LIMIT} and test("\\A[-+]?(0|(([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)\\z")
 then (if startswith("-") then -1 else 1 end)
   * ([match("([0-9]*\\.?[0-9]*)(ns|us|µs|μs|ms|s|m|h)"; "g") | .captures | map(.string)
       | (("0" + .[0]) | rtrimstr(".") | tonumber)
         * {{ns: 1e-6, us: 1e-3, "µs": 1e-3, "μs": 1e-3, ms: 1, s: 1000, m: 60000, h: 3600000}}[.[1]]] | add // 0)
 else null end)
"""
INSTANT_JQ = r"""
(if test("\\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})\\z")
 then .[:19] as $whole
   | ($whole + "Z" | try fromdate catch null) as $seconds
   | if $seconds == null or ($seconds | todate) != $whole + "Z" then null
     else ((.[19:] | capture("\\A(?<part>\\.[0-9]+)?(?<zone>.*)\\z")) as $rest
       | $seconds * 1000 + ("0" + ($rest.part // "") | tonumber) * 1000
         - (if $rest.zone == "Z" then 0
            else (if $rest.zone | startswith("-") then -1 else 1 end)
              * (($rest.zone[1:3] | tonumber) * 60 + ($rest.zone[4:6] | tonumber)) * 60000 end))
     end
 else null end)
"""


def milliseconds(text: str) -> int | None:
    """The length of a duration, below zero for a negative one; None for a text that is none."""
    found = _LENGTH.fullmatch(text) if len(text) <= TEXT_LIMIT else None
    if found is None:
        return None
    parts = _PART.findall(found[2] or "")
    total = sum((Decimal(number) * _UNITS[unit] for number, unit in parts), Decimal())
    return int(-total if found[1] == "-" else total)


def epoch_milliseconds(text: str) -> int | None:
    """An instant in milliseconds since 1970; None for a text that is none."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        return None
    try:
        exact = datetime.fromisoformat(f"{found[1]}T{found[2]}{'+00:00' if found[4] == 'Z' else found[4]}")
    except ValueError:
        return None
    seconds = (exact - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    return int(seconds) * 1000 + int(Decimal(found[3] or 0) * 1000)
