"""What is said of a value that is not one of those allowed, wherever in a request it stands."""

from typing import Annotated, Any, Literal

import httpx
import msgspec
import pytest
from litestar import Litestar, Request, Response, post
from litestar.exceptions import ValidationException
from litestar.params import JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from service.maestro.errors import field_errors

Size = Literal["small", "large"]


class Parcel(msgspec.Struct):
    """One of several, with a choice of its own."""

    size: Size | UnsetType = UNSET
    stamps: list[Literal["red", "blue"]] | UnsetType = UNSET


class Order(msgspec.Struct):
    """A body with choices at every depth."""

    way: Literal["air", "sea"] | None = None
    parcel: Parcel | None = None
    parcels: list[Parcel] | UnsetType = UNSET
    by_name: dict[str, Parcel] | UnsetType = UNSET


@post("/")
async def order(
    data: JSONBody[Order], speed: Annotated[Literal["slow", "fast"] | None, QueryParameter()] = None
) -> None:
    """Take an order."""


def told(request: Request[Any, Any, Any], error: ValidationException) -> Response[list[Any]]:
    """Answer with the errors alone."""
    return Response(msgspec.to_builtins(field_errors(request, error)), status_code=400)


@pytest.mark.parametrize(
    ("query", "body", "allowed", "target"),
    [
        ("?speed=none", {}, "fast, slow", "speed"),
        ("", {"way": "rail"}, "air, sea", "way"),
        ("", {"parcel": {"size": "huge"}}, "large, small", "parcel.size"),
        ("", {"parcels": [{}, {"size": "huge"}]}, "large, small", "parcels[1].size"),
        ("", {"parcels": [{"stamps": ["red", "green"]}]}, "blue, red", "parcels[0].stamps[1]"),
        ("", {"by_name": {"a": {"size": "huge"}}}, "large, small", "by_name[...].size"),
    ],
)
async def test_allowed_values_are_listed(query: str, body: dict[str, Any], allowed: str, target: str) -> None:
    application: Any = Litestar([order], exception_handlers={ValidationException: told}, logging_config=None)
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://tutti.test") as client:
        answer = await client.post(f"/{query}", json=body)
    assert answer.status_code == 400
    (error,) = answer.json()
    assert error["message"] == f"must be one of: {allowed}"
    assert error["target"] == target
