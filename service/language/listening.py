"""Reading which events a `listen` or a schedule waits for, and what is done with each (contracts 2.9, 8.2 and 8.3)."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from service.language import cloudevents
from service.language.cloudevents import Correlation, Filter
from service.language.document import Foreach, Listen, Strategy, Work
from service.language.errors import below
from service.language.expressions import Expression, is_expression, template
from service.language.fields import BODY, EXPRESSION_LIMIT, NOTHING
from service.language.steps import pair
from service.language.tasks import TaskReader

FILTER_LIMIT = 50  # of one strategy: every event of the account is held against each of them
CORRELATION_LIMIT = 20  # of one filter

_KINDS = ("one", "any", "all")


def listen(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> Work | None:
    """`listen`, with the `foreach` beside it."""
    place = pointer + "/listen"
    shape = reader.closed(fields["listen"], place, ("to", "read"), ("to",))
    read = cast(cloudevents.Read, reader.choice(shape, "read", place, ("data", "envelope", "raw")))
    names = reader.visible(BODY)
    to = strategy(reader, shape["to"], place + "/to", names) if "to" in shape else None
    foreach = _foreach(reader, fields["foreach"], pointer + "/foreach") if "foreach" in fields else None
    return Listen(to, read, foreach) if to else None


def strategy(
    reader: TaskReader, value: Any, pointer: str, names: tuple[str, ...], *, ends: bool = False
) -> Strategy | None:
    """Which events are taken; `ends` says that they are those of an `until`, which has none itself."""
    kind = reader.one_of(value, pointer, _KINDS)
    if not isinstance(value, dict):
        return None
    allowed = (*_KINDS, "until") if kind == "any" and not ends else _KINDS
    shape = reader.closed(value, pointer, allowed)
    if kind is None:
        return None
    place = below(pointer, kind)
    if kind == "one":
        filters = [_filter(reader, shape[kind], place, names)]
    else:
        given = reader.list_of(shape[kind], place, "filters", FILTER_LIMIT, 1 if kind == "all" else 0)
        filters = [_filter(reader, *each, names) for each in given]
    until = (
        _until(reader, shape["until"], pointer + "/until", names)
        if "until" in allowed and "until" in shape
        else None
    )
    return Strategy(cast(Literal["one", "any", "all"], kind), tuple(filters), until)


def _until(
    reader: TaskReader, value: Any, pointer: str, names: tuple[str, ...]
) -> Expression | Strategy | None:
    """What ends an `any`: jq over what was collected, or the events of another strategy."""
    if isinstance(value, str):
        return reader.expression(value, pointer, names)
    return strategy(reader, value, pointer, names, ends=True)


def _filter(reader: TaskReader, value: Any, pointer: str, names: tuple[str, ...]) -> Filter:
    """What an event must hold to be taken."""
    shape = reader.closed(value, pointer, ("with", "correlate"), ("with",))
    wanted = reader.object(shape, "with", pointer)
    if "with" in shape and wanted == {} == shape["with"]:
        reader.refuse("missing_field", "A filter names at least one attribute.", pointer + "/with")
    conditions = [
        _condition(reader, name, inner, below(pointer, "with", name), names) for name, inner in wanted.items()
    ]
    keys = reader.object(shape, "correlate", pointer)
    if len(keys) > CORRELATION_LIMIT:
        message = f"A filter correlates by at most {CORRELATION_LIMIT} keys."
        reader.refuse("too_large", message, pointer + "/correlate")
        keys = {}
    correlations = [
        _correlation(reader, key, inner, below(pointer, "correlate", key), names)
        for key, inner in keys.items()
    ]
    return Filter(tuple(conditions), tuple(correlations))


def _condition(
    reader: TaskReader, attribute: str, value: Any, pointer: str, names: tuple[str, ...]
) -> cloudevents.Condition:
    known = (
        attribute == "data" or attribute in cloudevents.TEXTS or cloudevents.ATTRIBUTE.fullmatch(attribute)
    )
    if not known:
        reader.refuse("bad_format", "An event's attributes have lower-case letters and digits.", pointer)
    if attribute in cloudevents.TEXTS and not isinstance(value, str):
        reader.refuse("wrong_type", f"`{attribute}` of an event is a string.", pointer)
    elif attribute != "data" and not isinstance(value, str | bool | int):
        reader.refuse("wrong_type", "This attribute is a string, an integer or a boolean.", pointer)
    elif isinstance(value, str) and len(value.encode()) > EXPRESSION_LIMIT:
        reader.refuse("too_large", f"A pattern has at most {EXPRESSION_LIMIT // 1024} KiB.", pointer)
    reader.template(value, pointer, names)
    return cloudevents.condition(attribute, value, names)


def _correlation(
    reader: TaskReader, key: str, value: Any, pointer: str, names: tuple[str, ...]
) -> Correlation:
    """One key of `correlate`: what is taken from each event, and what that must equal."""
    shape = reader.closed(value, pointer, ("from", "expect"), ("from",))
    source = reader.expression(shape["from"], pointer + "/from", names) if "from" in shape else NOTHING
    if "expect" not in shape:
        return Correlation(key, source, None)
    expected, place = shape["expect"], pointer + "/expect"
    if is_expression(expected):
        return Correlation(key, source, reader.expression(expected, place, names))
    if expected is None or isinstance(expected, dict | list):
        reader.refuse("wrong_type", "This is a string, a number, a boolean or `${ … }`.", place)
    elif isinstance(expected, str):
        reader.literal(expected, place)
    return Correlation(key, source, template(expected, ()))


def _foreach(reader: TaskReader, value: Any, pointer: str) -> Foreach:
    """What is done with each event. Its `export.as` sees no `$output`: `.` is the element already."""
    shape = reader.closed(value, pointer, ("item", "at", "do", "output", "export"))
    item, at = pair(reader, shape, pointer, "item", "item")
    with reader.binding(item, at):
        return Foreach(
            item=item,
            at=at,
            tasks=reader.tasks(shape["do"], pointer + "/do") if "do" in shape else None,
            **reader.result(shape, "output", pointer, reader.visible(BODY)),
            **reader.result(shape, "export", pointer, reader.visible(BODY)),
        )
