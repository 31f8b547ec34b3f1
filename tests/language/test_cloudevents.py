"""What an event must be, and how a short one is completed."""

from datetime import UTC, datetime
from typing import Any

import pytest

from service.language import cloudevents

NOW = datetime(2025, 1, 31, 12, tzinfo=UTC)


def completed(value: Any) -> cloudevents.Event:
    return cloudevents.complete(value, identifier="fresh", source="/users/1", at=NOW)


def test_a_short_event_is_completed() -> None:
    assert completed({"type": "shop.order", "data": None, "subject": None}) == {
        "specversion": "1.0",
        "id": "fresh",
        "source": "/users/1",
        "time": "2025-01-31T12:00:00.000Z",
        "type": "shop.order",
        "data": None,
    }


def test_a_complete_event_stays_as_it_is() -> None:
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:shop",
        "type": "shop.order",
        "time": "2025-01-31T12:00:00.5+01:00",
        "subject": "order 5",
        "datacontenttype": "text/plain",
        "dataschema": "https://example.com/order",
        "data_base64": "aGVsbG8=",
        "traceparent": "00-1",
        "attempt": 2,
        "urgent": False,
    }
    assert completed(event) == event


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ([], [("wrong_type", "")]),
        ({}, [("missing_field", "/type")]),
        ({"type": ""}, [("wrong_type", "/type")]),
        ({"type": 5}, [("wrong_type", "/type")]),
        ({"type": "x", "specversion": "0.3"}, [("bad_format", "/specversion")]),
        ({"type": "x", "time": "yesterday"}, [("bad_format", "/time")]),
        ({"type": "x", "time": "2025-01-31"}, [("bad_format", "/time")]),
        ({"type": "x", "source": "a b"}, [("bad_format", "/source")]),
        ({"type": "x", "source": "http://[x"}, [("bad_format", "/source")]),
        ({"type": "x", "dataschema": "relative"}, [("bad_format", "/dataschema")]),
        ({"type": "x", "data_base64": "%"}, [("bad_format", "/data_base64")]),
        ({"type": "x", "data_base64": "é"}, [("bad_format", "/data_base64")]),
        ({"type": "x", "data": 1, "data_base64": ""}, [("ambiguous_data", "/data_base64")]),
        ({"type": "x", "orderId": "5"}, [("bad_format", "/orderId")]),
        ({"type": "x", "list": [1]}, [("wrong_type", "/list")]),
        ({"type": "x", "number": 1.5}, [("wrong_type", "/number")]),
    ],
)
def test_what_is_no_event_is_refused(event: Any, expected: list[tuple[str, str]]) -> None:
    with pytest.raises(cloudevents.EventRefused) as refused:
        completed(event)
    assert [(problem.code, problem.pointer) for problem in refused.value.problems] == expected
