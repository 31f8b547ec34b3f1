"""The routes that tell of what happens as it happens, which the vendor's API lacks: waiting, and server-sent events."""

import asyncio
import contextlib
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get
from litestar.params import FromPath, QueryParameter
from litestar.types import Receive, Scope, Send

from service.connections.state import TRANSPORT
from service.engine.followers import INFRASTRUCTURE
from service.exchange import header
from service.maestro import models
from service.maestro.errors import credential
from service.maestro.history_models import event_id, recorded_event
from service.maestro.requests import READING
from service.operations import following
from service.operations.following import Following, Subject
from service.operations.pages import Row
from service.process import followers_of
from tenancy.errors import Refusal

EVENT_STREAM = "text/event-stream"
WAIT_SECONDS = 30
LONGEST_WAIT = 60
SEND_SECONDS = 30.0  # that a reader may take for a batch before it is cut off
OPENED = "retry: 2000\nid: {}\nevent: stream.opened\ndata: {{}}\n\n"
HEARTBEAT = b":\n"  # a comment: it may stand by itself, and no reader makes an event of it
HEADERS = [
    (b"content-type", f"{EVENT_STREAM}; charset=utf-8".encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy that collects what it passes on would hold events back
]


class InstanceFollowingController(Controller):
    """What happens to one instance."""

    path = "/v1/accounts/{accountId:str}/workflows/{workflowId:str}/instances/{instanceId:str}"
    tags = ("Workflow Instances",)
    opt = READING

    @get(
        "/wait", operation_id="waitForWorkflowInstance", opt={"query": ("until", "timeout"), "lasting": True}
    )
    async def wait_for_workflow_instance(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        workflowId: FromPath[UUID],  # noqa: N803 - the vendor's name
        instanceId: FromPath[UUID],  # noqa: N803 - the vendor's name
        until: Annotated[
            Literal["terminal", "waiting"] | None,
            QueryParameter(
                description="`terminal`, the default: it has ended; `waiting`: it has, or waits for something outside, or is"
                " suspended"
            ),
        ] = None,
        timeout: Annotated[  # noqa: ASYNC109 - the client's word
            int | None,
            QueryParameter(ge=0, le=LONGEST_WAIT, description="most seconds to wait: 30 if nothing is said"),
        ] = None,
    ) -> models.WorkflowInstance:
        """Read an instance once it has ended or waits; as it is by then, when the time is over before."""
        seconds = WAIT_SECONDS if timeout is None else timeout
        row = await following.wait(
            credential(request, accountId),
            followers_of(request),
            workflowId,
            instanceId,
            until or "terminal",
            seconds,
        )
        return models.instance_now(row)

    @get("/events", operation_id="followWorkflowInstance", media_type=EVENT_STREAM, opt={"lasting": True})
    async def follow_workflow_instance(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        workflowId: FromPath[UUID],  # noqa: N803 - the vendor's name
        instanceId: FromPath[UUID],  # noqa: N803 - the vendor's name
    ) -> Response[str]:
        """Follow an instance's events from its first on, or from behind `Last-Event-ID`, until it has ended.

        Server-sent events: `event` is the type, `data` a `RecordedEvent` as JSON, `id` what to send as `Last-Event-ID` to go
        on without missing any. 204 says that it has ended and everything has been told.
        """
        return await stream(request, accountId, Subject(workflowId, instanceId))


class AccountFollowingController(Controller):
    """What happens in the account."""

    path = "/v1/accounts/{accountId:str}/events"
    tags = ("Events",)
    opt = READING

    @get("/", operation_id="followEvents", media_type=EVENT_STREAM, opt={"lasting": True})
    async def follow_events(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
    ) -> Response[str]:
        """Follow the account's events from now on, or from behind `Last-Event-ID`; `0-0` begins with the oldest.

        Server-sent events: `event` is the type, `data` a `RecordedEvent` as JSON, `id` what to send as `Last-Event-ID` to go
        on without missing any. Who may list their own instances alone is told of those alone.
        """
        return await stream(request, accountId, Subject())


async def stream(request: Request[Any, Any, Any], account_id: UUID, subject: Subject) -> Response[str]:
    """Begin to follow and answer by a stream; by 204, which lets readers rest, where there is nothing to follow."""
    last = header(request.scope, b"last-event-id") or None
    begun = await following.follow(credential(request, account_id), followers_of(request), subject, last)
    return Response("", status_code=204) if begun is None else EventStream(begun)


class EventStream(Response[str]):
    """An answer that goes on: events as they happen. A reader that does not read is cut off, and can come again."""

    def __init__(self, begun: Following) -> None:
        super().__init__("", media_type=EVENT_STREAM)
        self._following = begun

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """Answer by the stream."""
        return self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        watching = asyncio.create_task(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
            with contextlib.suppress(
                Refusal, *INFRASTRUCTURE
            ):  # the reader comes again, and is told then what is wrong
                await self._send_all(send)
            await sent(send, b"", more=False)
        except StalledError:
            transport: asyncio.Transport | None = scope["state"].get(TRANSPORT)
            if transport is not None:
                transport.abort()
        finally:
            watching.cancel()
            self._following.leave()

    async def _send_all(self, send: Send) -> None:
        await sent(send, OPENED.format(event_id(self._following.position)).encode())
        async for events in self._following.batches():
            await sent(send, b"".join(map(block, events)) or HEARTBEAT)

    async def _watch(self, receive: Receive) -> None:
        """Stop when the reader goes."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._following.close()


class StalledError(Exception):
    """A reader has not read for too long."""


async def sent(send: Send, body: bytes, *, more: bool = True) -> None:
    """Send a part of an answer.

    Raises:
        StalledError: the reader takes nothing.
    """
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": more})
    except TimeoutError:
        raise StalledError from None


def block(row: Row) -> bytes:
    """Write an event as a reader of server-sent events takes it."""
    event = recorded_event(row)
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        event.id.encode(),
        event.type.encode(),
        msgspec.json.encode(event),
    )
