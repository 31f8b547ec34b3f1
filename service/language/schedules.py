"""Reading when a workflow starts by itself (contract 6.3)."""

import re
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim, CronSimError

from service.language.document import Schedule
from service.language.durations import Duration, until
from service.language.expressions import Expression
from service.language.fields import NO_TIME, SCHEDULE
from service.language.inputs import trigger_fields
from service.language.listening import strategy
from service.language.tasks import TaskReader

LEAST_SECONDS = 1  # between two starts

_KINDS = ("every", "cron", "after", "on")
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_CRON = re.compile(r"[0-9A-Za-z*,/#-]{1,200}(?: [0-9A-Za-z*,/#-]{1,200}){4}")


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
    try:
        never = not _CRON.fullmatch(value) or next(CronSim(value, _SOME_DAY), None) is None
    except CronSimError:
        never = True
    if never:
        message = f"{value[:64]!r} names no time: write minute, hour, day, month and weekday in UTC, such as `0 9 * * 1`."
        reader.refuse("bad_format", message, pointer)
    return value


def warn_of_inputs(reader: TaskReader, schema: Any) -> None:
    """Warn of what a scheduled start cannot give: nobody is asked for inputs."""
    missing = [field.name for field in trigger_fields(schema) if field.required]
    if missing:
        message = (
            f"Nobody gives a scheduled start its inputs; {', '.join(missing[:20])} should have a default."
        )
        reader.warn("input_required", message, "/input/schema")
