"""The route of the account's events. Ours: the vendor's API has none."""

from typing import Any
from uuid import UUID

from litestar import Controller, Request, post
from litestar.params import FromPath, JSONBody

from service.maestro import models
from service.maestro.errors import credential
from service.maestro.requests import JSON, OPERATING, metadata
from service.operations import events


class EventController(Controller):
    """Events for whatever of the account listens."""

    path = "/v1/accounts/{accountId:str}/events"
    tags = ("Events",)
    opt = OPERATING

    @post("/", operation_id="publishEvent", opt={"media_type": JSON}, status_code=202)
    async def publish_event(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        data: JSONBody[dict[str, Any]],
    ) -> models.EventPublished:
        """Send an event to every instance of the account that listens for it now, and to schedules that wait for it."""
        published = await events.publish(credential(request, accountId), data)
        return models.EventPublished(
            event=published.event,
            delivered_to=published.listening,
            response_metadata=metadata(request),
        )
