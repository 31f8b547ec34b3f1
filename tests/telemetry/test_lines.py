"""How a log line is written, and what of a record and of an exception never is."""

import json
import logging
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.telemetry.logs import JsonLines, about, current_scope
from tenancy.requests import current_request

SECRET = "planted-secret"


class TellingError(Exception):
    """Quotes what it was given."""


def written(record: logging.LogRecord) -> dict[str, Any]:
    """Write a line and read it back."""
    text = JsonLines().format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def record(
    message: object, *arguments: object, name: str = "tutti.worker", error: BaseException | None = None
) -> logging.LogRecord:
    """Make a record."""
    told = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord(name, logging.WARNING, "file.py", 1, message, arguments, told)


def test_a_line_tells_the_request_the_account_and_the_instance() -> None:
    request_id, account_id, instance_id = uuid4(), uuid4(), uuid4()
    token = current_request.set(request_id)
    with about(account_id, instance_id):
        line = written(record("done with %d", 3))
    current_request.reset(token)
    assert (line["level"], line["logger"], line["message"]) == ("warning", "tutti.worker", "done with 3")
    assert (line["request_id"], line["account_id"], line["instance_id"]) == (
        str(request_id),
        str(account_id),
        str(instance_id),
    )
    assert not {"request_id", "account_id", "instance_id"} & written(record("later")).keys()


@pytest.mark.parametrize("given", [SECRET, 5, None, "../" + SECRET])
def test_a_route_that_names_no_id_names_nothing(given: object) -> None:
    token = current_scope.set(
        {"path_params": {"accountId": given, "instanceId": "{" + str(UUID(int=1)) + "}"}}
    )
    line = written(record("asked"))
    current_scope.reset(token)
    assert "account_id" not in line
    assert line["instance_id"] == str(UUID(int=1))


@pytest.mark.parametrize(
    "name", ["asyncio", "asyncpg", "uvicorn.error", "pgqueuer", "tuttifrutti", "aiohttp.client"]
)
def test_of_a_librarys_line_only_what_its_author_wrote_is_shown(name: str) -> None:
    assert written(record("could not read %s", SECRET, name=name))["message"] == "could not read %s"
    shown = written(record(f"Task exception was never retrieved\nfuture: <Task {SECRET}>", name=name))
    assert shown["message"] == "Task exception was never retrieved"
    assert SECRET not in str(written(record(TellingError(SECRET), name=name)))


def test_of_an_exception_its_kind_and_its_places_are_shown_and_those_behind_it() -> None:
    def fail() -> None:
        try:
            raise ExceptionGroup(SECRET, [TellingError(SECRET), OSError(5, SECRET)])  # noqa: TRY301 - as groups are
        except ExceptionGroup as error:
            error.add_note(SECRET)
            raise RuntimeError(SECRET) from error

    with pytest.raises(RuntimeError) as raised:
        fail()
    line = written(record("a job failed", error=raised.value))
    assert SECRET not in str(line)
    assert line["error"] == "builtins.RuntimeError"
    for part in ("builtins.ExceptionGroup", "TellingError", "builtins.OSError (errno=5)", "in fail"):
        assert part in line["traceback"]


def test_exceptions_that_bring_one_another_about_in_a_circle_are_shown_once() -> None:
    one, other = TellingError(), TellingError()
    one.__cause__, other.__cause__ = other, one
    assert written(record("odd", error=one))["traceback"].count("TellingError") == 2


def test_a_lone_surrogate_does_not_stop_a_line() -> None:
    assert written(record("odd \ud800"))["message"] == "odd ?"
