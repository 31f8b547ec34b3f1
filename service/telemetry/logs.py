"""Log lines: JSON, one object a line, on standard error; with whose request, account and instance they are about.

A line's own message is a text of ours around ids and numbers. What a caller or an outside server sent gets into none: of a
library's line only the text that its author wrote is shown, of an exception its kind and where it was raised.
"""

import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from service.telemetry import tracing
from service.telemetry.metrics import ABORTED, METHODS, UNREAD, UNROUTED
from tenancy.requests import current_request

OURS = "tutti"
IDS = ("instanceId", "instanceID")  # the parameters of routes that name an instance
ACCOUNTS = ("accountId",)
TELLING = (
    "sqlstate",
    "constraint_name",
    "table_name",
    "errno",
)  # of an exception; names and codes, and no values

current_scope: ContextVar[Mapping[str, Any] | None] = ContextVar("current_scope", default=None)
current_account: ContextVar[UUID | None] = ContextVar("current_account", default=None)
current_instance: ContextVar[UUID | None] = ContextVar("current_instance", default=None)

access = logging.getLogger("tutti.access")
DONE, LEFT = "request answered", "request left by its caller"


@contextlib.contextmanager
def about(account_id: UUID | None, instance_id: UUID | None = None) -> Iterator[None]:
    """Say in every line of the block's task whom it is about."""
    account, instance = current_account.set(account_id), current_instance.set(instance_id)
    try:
        yield
    finally:
        current_account.reset(account)
        current_instance.reset(instance)


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object; of an exception a field of it says what kind it was, and where."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
            **subjects(),
            **getattr(record, "told", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = kind_of(record.exc_info[1])
            line["traceback"] = "\n".join(places_of(record.exc_info[1]))
        return msgspec.json.encode(line).decode()


def message_of(record: logging.LogRecord) -> str:
    """The message; of a library's the first line, as its author wrote it, without what was filled in."""
    if record.name.partition(".")[0] == OURS:
        text = record.getMessage()
    else:
        text = (
            str(record.msg).partition("\n")[0] if isinstance(record.msg, str) else type(record.msg).__name__
        )
    return text.encode(errors="replace").decode()


def subjects() -> dict[str, str]:
    """The ids of the request, account, instance and trace that a line is about, as far as they are known."""
    scope = current_scope.get() or {}
    parameters = scope.get("path_params") or {}
    account_id = current_account.get() or first_id(parameters, ACCOUNTS)
    instance_id = current_instance.get() or first_id(parameters, IDS)
    found = {
        "request_id": current_request.get(),
        "account_id": account_id,
        "instance_id": instance_id,
        "trace_id": tracing.trace_id_of(instance_id),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def first_id(parameters: Mapping[str, Any], names: tuple[str, ...]) -> UUID | None:
    """A parameter of the route that is an id; what a caller wrote in its place otherwise is not shown."""
    for name in names:
        value = parameters.get(name)
        if isinstance(value, UUID):
            return value
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return UUID(value)
    return None


def kind_of(error: BaseException) -> str:
    """What kind of exception it is, with the names and codes that say more; not its text, which may quote a caller."""
    told = [
        f"{name}={value}" for name in TELLING if isinstance(value := getattr(error, name, None), str | int)
    ]
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return f"{kind} ({', '.join(told)})" if told else kind


def places_of(error: BaseException) -> list[str]:
    """Where an exception was raised, and those that brought it about, each with its kind; lines of the source, no values."""
    lines = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        lines.append(kind_of(current))
        lines += [
            f'  File "{place.filename}", line {place.lineno}, in {place.name}'
            for place in traceback.extract_tb(current.__traceback__, limit=-40)
        ]
        lines += [line for inner in inside(current) for line in places_of(inner)]
        hidden = current.__suppress_context__ and current.__cause__ is None
        current = None if hidden else current.__cause__ or current.__context__
    return lines


def inside(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions of a group."""
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def note_request(scope: Mapping[str, Any], status: int, seconds: float) -> None:
    """Write the line of a request that is over: at `debug`, as it costs a part of what a small request does."""
    if not access.isEnabledFor(logging.DEBUG):
        return
    told = {
        "method": scope["method"] if scope["method"] in METHODS else "other",
        "route": scope.get("path_template") or UNROUTED,
        "status": status or ABORTED,
        "duration_ms": round(seconds * 1000, 1),
    }
    access.debug(DONE if status else LEFT, extra={"told": told})


def note_unread(method: str, status: int) -> None:
    """Write the line of what was refused, or left, before anybody looked at it."""
    if not access.isEnabledFor(logging.DEBUG):
        return
    method = method if method in METHODS else "other"
    told = {"method": method, "route": UNREAD, "status": status or ABORTED}
    access.debug(DONE if status else LEFT, extra={"told": told})


def configure_logging(level: str) -> None:
    """Send every logger's lines through `JsonLines`; libraries speak up from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("tutti").setLevel(level.upper())
