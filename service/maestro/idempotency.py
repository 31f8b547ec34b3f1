"""How the dialect tells that a trigger came again, and answers one: the header `Idempotency-Key`, and SDKs that have none."""

import asyncio
import contextlib
from typing import Any
from uuid import UUID

from litestar import Litestar, Request, Response
from litestar.exceptions import ValidationException
from litestar.types import Receive, Scope, Send

from auth.bearer import token_text
from service.exchange import header
from service.maestro import models
from service.maestro.errors import dialect_of
from service.maestro.requests import metadata
from service.operations import idempotency
from service.operations.idempotency import LONGEST_KEY, Repeat
from service.operations.instances import Started
from service.settings import settings

KEY = "Idempotency-Key"
SDK = "docusign-sdk/"  # how the User-Agent of every SDK of the vendor begins (contract, 4.4)
REPLAYED = {"Idempotent-Replayed": "true"}


def repeat_of(request: Request[Any, Any, Any], data: models.TriggerWorkflow) -> Repeat | None:
    """Read what a trigger is recognised by if it comes again; None where it is not.

    Raises:
        ValidationException: the key is not one, or there are two.
    """
    keys = [value.decode("latin-1") for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if keys:
        return idempotency.by_key(only_key(keys), data.instance_name, data.trigger_inputs)
    if (header(request.scope, b"user-agent") or "").startswith(SDK):
        token = token_text(header(request.scope, b"authorization"))
        return idempotency.by_sdk(token, data.instance_name, data.trigger_inputs)
    return None


def only_key(keys: list[str]) -> str:
    """Return the one key of a request.

    Raises:
        ValidationException: it is not 1 to 255 printable characters of ASCII, or there are two.
    """
    key = keys[0].strip()
    if len(keys) == 1 and 1 <= len(key) <= LONGEST_KEY and key.isascii() and key.isprintable():
        return key
    rule = f"is one text of 1 to {LONGEST_KEY} printable ASCII characters, such as a UUID"
    raise ValidationException("Malformed key.", extra=[{"message": rule, "key": KEY}])


def triggered(
    request: Request[Any, Any, Any],
    ids: tuple[UUID, UUID],
    started: Started,
    repeat: Repeat | None,
) -> Response[models.TriggerWorkflowSuccess]:
    """Answer a trigger, `ids` being those of its account and workflow; one that came before as it was answered then.

    What the answer tells of itself (request id, time) is its own, and its status the one that the calling SDK knows.
    """
    account_id, workflow_id = ids
    told = metadata(request)
    page = f"{settings().public_url}/v1/accounts/{account_id}/instances/{started.id}/execution"
    content = models.TriggerWorkflowSuccess(
        instance_id=str(started.id),
        instance_url=f"{page}?mtid={started.access_id}&mtsec={started.access_secret}",
        request_id=told.request_id,
        response_timestamp=told.response_timestamp,
        response_duration_ms=told.response_duration_ms,
    )
    headers = {"Location": f"/v1/accounts/{account_id}/workflows/{workflow_id}/instances/{started.id}"}
    if started.replayed:
        headers |= REPLAYED
    status = dialect_of(request).trigger_status
    if repeat is None or repeat.kept:
        return Response(content, status_code=status, headers=headers)
    return HandedOver(content, repeat, started.key_id, status_code=status, headers=headers)


class HandedOver(Response[models.TriggerWorkflowSuccess]):
    """An answer that is noted when it has been handed over to a client who was still there to take it.

    It holds on to what its trigger is recognised by, which is under way until then.
    """

    def __init__(
        self, content: models.TriggerWorkflowSuccess, repeat: Repeat, key_id: int | None, **options: Any
    ) -> None:
        super().__init__(content, **options)
        self.repeat = repeat
        self.key_id = key_id

    def to_asgi_response(self, app: Litestar | None, request: Request[Any, Any, Any], **options: Any) -> Any:
        """Look for the client before the answer, and note it afterwards."""
        told = super().to_asgi_response(app, request, **options)

        async def handed_over(scope: Scope, receive: Receive, send: Send) -> None:
            there = not await is_gone(receive)
            await told(scope, receive, send)
            if there and self.key_id is not None:
                idempotency.answered(self.key_id)

        return handed_over


async def is_gone(receive: Receive) -> bool:
    """Whether the client of a request that was read has hung up."""
    hearing = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    if hearing.done():
        return hearing.result()["type"] == "http.disconnect"
    hearing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await hearing
    return False
