"""Reading `try`: what its `catch` takes, whether it tries again, and what it does then (contract 2.11)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, cast

from service.language.document import Retry, Try, Work
from service.language.durations import Duration, until
from service.language.errors import below, canonical
from service.language.expressions import Expression, is_expression
from service.language.fields import BODY, NO_TIME
from service.language.tasks import TaskReader

RETRY_LIMIT = 100
RETRIES = 10  # of a policy that sets no limit

_CATCH = ("errors", "as", "when", "exceptWhen", "retry", "do", "then")
_FILTER = ("type", "status", "instance", "title", "details", "detail")
_POLICY = ("when", "exceptWhen", "delay", "backoff", "limit", "jitter")
_BACKOFF = ("constant", "linear", "exponential")
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)  # lengths of months and days are compared from here


def attempt(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    """`try`, with the `catch` beside it."""
    tasks = reader.tasks(fields["try"], pointer + "/try")
    place = pointer + "/catch"
    if "catch" not in fields:
        reader.refuse("missing_field", "The field `catch` is missing; it may be `{}`.", place)
        return None
    shape = reader.closed(fields["catch"], place, _CATCH)
    variable = reader.variable(shape, "as", "error", place)
    handler = None
    with reader.binding(variable):
        conditions = _conditions(reader, shape, place, reader.visible(BODY))
        if "do" in shape:
            handler = reader.tasks(shape["do"], place + "/do")
    return Try(
        tasks=tasks,
        errors=_filter(reader, shape["errors"], place + "/errors") if "errors" in shape else {},
        variable=variable,
        **conditions,
        retry=_retry(reader, shape["retry"], place + "/retry", variable) if "retry" in shape else None,
        handler=handler,
        then=reader.directive(shape, place),
    )


def _conditions(
    reader: TaskReader, shape: Mapping[str, Any], pointer: str, names: tuple[str, ...]
) -> dict[str, Expression | None]:
    """`when` and `exceptWhen`, by their names in the tree."""
    return {
        own: reader.expression(shape[name], below(pointer, name), names) if name in shape else None
        for own, name in (("when", "when"), ("except_when", "exceptWhen"))
    }


def _filter(reader: TaskReader, value: Any, pointer: str) -> Mapping[str, Any]:
    """What a caught error must equal, as members of an error; the type by its canonical name."""
    place = pointer + "/with"
    shape = reader.closed(value, pointer, ("with",), ("with",))
    given = reader.closed(shape.get("with", {}), place, _FILTER)
    if shape.get("with") == {}:
        reader.refuse(
            "missing_field", "A filter has at least one field; without `errors` all are caught.", place
        )
    wanted: dict[str, Any] = {}
    for name in filter(given.__contains__, _FILTER):
        one = given[name]
        whole = isinstance(one, int) and not isinstance(one, bool)
        if not (whole if name == "status" else isinstance(one, str)):
            kind = "an integer" if name == "status" else "a string"
            reader.refuse("wrong_type", f"`{name}` is {kind}.", below(place, name))
        elif is_expression(one):
            message = f"`{name}` is compared as it stands; write conditions under `when`."
            reader.refuse("bad_format", message, below(place, name))
        else:
            wanted["detail" if name == "details" else name] = canonical(one) if name == "type" else one
    if given.get("detail", given.get("details")) != given.get("details", given.get("detail")):
        reader.refuse("bad_format", "`details` and `detail` mean the same; write one of them.", place)
    return wanted


def _retry(reader: TaskReader, value: Any, pointer: str, variable: str) -> Retry | None:
    """A retry policy, or the name of one that `use` declares."""
    if isinstance(value, str):
        return reader.declaration(
            "retries", value, pointer, partial(retry, reader, variable=variable), variable
        )
    return retry(reader, value, pointer, variable)


def retry(reader: TaskReader, value: Any, pointer: str, variable: str) -> Retry:
    """A retry policy, whose conditions see the caught error as `variable` too."""
    shape = reader.closed(value, pointer, _POLICY)
    with reader.binding(variable):
        conditions = _conditions(reader, shape, pointer, reader.visible(BODY))
    limit = reader.closed(shape.get("limit", {}), pointer + "/limit", ("attempt", "duration"))
    each = reader.closed(limit.get("attempt", {}), pointer + "/limit/attempt", ("count", "duration"))
    return Retry(
        **conditions,
        delay=_length(reader, shape, "delay", pointer) or NO_TIME,
        backoff=_backoff(reader, shape, pointer + "/backoff"),
        count=_count(
            reader, each, RETRY_LIMIT if "duration" in limit else RETRIES, pointer + "/limit/attempt"
        ),
        attempt_limit=_length(reader, each, "duration", pointer + "/limit/attempt"),
        window=_length(reader, limit, "duration", pointer + "/limit"),
        jitter=_jitter(reader, shape["jitter"], pointer + "/jitter") if "jitter" in shape else None,
    )


def _length(
    reader: TaskReader, shape: Mapping[str, Any], name: str, pointer: str
) -> Duration | Expression | None:
    """An optional length of time."""
    if name not in shape:
        return None
    return reader.length(shape[name], below(pointer, name), reader.visible(BODY))


def _backoff(
    reader: TaskReader, shape: Mapping[str, Any], pointer: str
) -> Literal["constant", "linear", "exponential"]:
    """How the delay grows: the one key of an object; what is below it has no meaning yet."""
    if "backoff" not in shape:
        return "constant"
    kind = reader.one_of(shape["backoff"], pointer, _BACKOFF)
    if isinstance(shape["backoff"], dict):
        for name in reader.closed(shape["backoff"], pointer, _BACKOFF):
            reader.object(shape["backoff"], name, pointer)
    return cast(Literal["constant", "linear", "exponential"], kind or "constant")


def _count(reader: TaskReader, shape: Mapping[str, Any], default: int, pointer: str) -> int:
    """How often it is tried again."""
    count = shape.get("count", default)
    if not isinstance(count, int) or isinstance(count, bool):
        reader.refuse("wrong_type", "`count` is an integer.", pointer + "/count")
        return default
    if not 0 <= count <= RETRY_LIMIT:
        code = "bad_format" if count < 0 else "too_large"
        reader.refuse(code, f"`count` is the number of retries, 0 to {RETRY_LIMIT}.", pointer + "/count")
    return count


def _jitter(
    reader: TaskReader, value: Any, pointer: str
) -> tuple[Duration | Expression, Duration | Expression]:
    """The least and the most that is added to a delay."""
    shape = reader.closed(value, pointer, ("from", "to"), ("from", "to"))
    least, most = (_length(reader, shape, name, pointer) or NO_TIME for name in ("from", "to"))
    ordered = isinstance(least, Expression) or isinstance(most, Expression) or "to" not in shape
    if not ordered and until(least, _SOME_DAY) > until(most, _SOME_DAY):  # type: ignore[arg-type]  # both are durations then
        reader.refuse("bad_format", "`from` is at most `to`.", pointer)
    return least, most
