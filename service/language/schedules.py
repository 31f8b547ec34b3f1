"""Reading when a workflow starts by itself (contract 6.3)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim, CronSimError

from service.language.document import Schedule
from service.language.durations import Duration, until
from service.language.expressions import Expression
from service.language.fields import NO_TIME, SCHEDULE, listed
from service.language.inputs import names_in, properties, resolved
from service.language.listening import strategy
from service.language.tasks import TaskReader

LEAST_SECONDS = 1  # between two starts

_KINDS = ("every", "cron", "after", "on")
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_CRON = re.compile(r"[0-9A-Za-z*,/#-]{1,200}(?: [0-9A-Za-z*,/#-]{1,200}){4}")
_CRON_FIELDS = 5
_CRON_RULE = "write minute, hour, day, month and weekday in UTC, such as `0 9 * * 1`"


def schedule(reader: TaskReader, value: Any) -> Schedule | None:
    """`schedule`: exactly one of `every`, `cron`, `after` and `on`."""
    at = "/schedule"
    kind = reader.one_of(value, at, _KINDS)
    fields = reader.closed(value, at, _KINDS) if isinstance(value, dict) else {}
    if kind in {"every", "after"}:
        length = _length(reader, fields[kind], f"{at}/{kind}")
        return Schedule(every=length) if kind == "every" else Schedule(after=length)
    if kind == "cron":
        return Schedule(cron=_cron(reader, fields[kind], at + "/cron"))
    return Schedule(on=strategy(reader, fields[kind], at + "/on", SCHEDULE)) if kind else None


def _length(reader: TaskReader, value: Any, pointer: str) -> Duration:
    """A literal length: there is no input yet that an expression could read."""
    length = reader.length(value, pointer, ())
    if isinstance(length, Expression):
        message = (
            "Nothing is running that an expression could read; write the duration out, for example PT15M."
        )
        reader.refuse("bad_format", message, pointer)
        return NO_TIME
    if length is not NO_TIME and (until(length, _SOME_DAY) - _SOME_DAY).total_seconds() < LEAST_SECONDS:
        reader.refuse("bad_format", f"Starts are at least {LEAST_SECONDS} second apart.", pointer)
    return length


def _cron(reader: TaskReader, value: Any, pointer: str) -> str | None:
    """Five fields of cron, in UTC, that name a time which will come."""
    if not isinstance(value, str):
        reader.refuse("wrong_type", "`cron` is a string; quote it.", pointer)
        return None
    fields = len(value.split())
    if fields != _CRON_FIELDS:
        message = f"`cron` has five fields, and this has {fields}: {_CRON_RULE}."
        reader.refuse("bad_format", message, pointer)
        return value
    try:
        never = not _CRON.fullmatch(value) or next(CronSim(value, _SOME_DAY), None) is None
    except CronSimError:
        never = True
    if never:
        message = f"{value[:64]!r} names no time: {_CRON_RULE}."
        reader.refuse("bad_format", message, pointer)
    return value


def warn_of_inputs(reader: TaskReader, schema: Any, schedule: Schedule) -> None:
    """Warn of what a scheduled start cannot give: nobody is asked for inputs, and events come as a list."""
    top = resolved(schema, schema)
    given = "object" if schedule.on is None else "array"
    if "type" in top and given not in names_in(top["type"]):
        if given == "array":
            message = "The input of a start by events is the list of those events; the schema should have the type `array`."
        else:
            message = "The input of a scheduled start is an object; the schema should have the type `object`."
        reader.warn("input_required", message, "/input/schema")
        return
    missing = _required(schema, top) if given == "object" else []
    if missing:
        message = f"Nobody gives a scheduled start its inputs; {listed(missing)} should have a default."
        reader.warn("input_required", message, "/input/schema")


def _required(schema: Any, top: Mapping[str, Any]) -> list[str]:
    """The names of required inputs without a default, whether the schema says more of them or not."""
    known = properties(schema)
    names = dict.fromkeys(names_in(top.get("required")))
    return [name for name in names if known.get(name, {}).get("default") is None]
