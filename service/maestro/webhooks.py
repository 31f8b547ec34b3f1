"""The routes of an account's webhooks, which the vendor's API lacks: endpoints, and the log of what was sent to them."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from service.maestro import webhook_models as models
from service.maestro.errors import credential
from service.maestro.requests import JSON, OVERSEEING, PAGE_SIZE, ContinuationToken, PageSize, metadata, paged
from service.operations import webhook_deliveries, webhooks
from service.operations.webhook_deliveries import Status
from service.operations.webhooks import Changes, Endpoint


class WebhookController(Controller):
    """Endpoints of the account's own that are told of its events."""

    path = "/v1/accounts/{accountId:str}/webhooks"
    tags = ("Webhooks",)
    opt = OVERSEEING

    @get("/", operation_id="getWebhooks")
    async def get_webhooks(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID]
    ) -> models.WebhooksList:
        """List the account's webhooks, the oldest first."""
        found = await webhooks.get_list(credential(request, accountId))
        return models.WebhooksList(
            data=[models.webhook(one) for one in found], response_metadata=metadata(request)
        )

    @post("/", operation_id="createWebhook", opt={"media_type": JSON}, status_code=201)
    async def create_webhook(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], data: JSONBody[models.NewWebhook]
    ) -> Response[models.Webhook]:
        """Add an endpoint that is told of what happens from now on.

        The answer alone shows the secret that signs what is sent. 409 when the account has ten, or the service has no key to
        keep the secret by.
        """
        shown = await webhooks.create(credential(request, accountId), msgspec.convert(given(data), Endpoint))
        location = f"/v1/accounts/{accountId}/webhooks/{shown.webhook.id}"
        content = models.webhook(shown.webhook, shown.secret, metadata(request))
        return Response(content, headers={"Location": location})

    @get("/{webhookId:str}", operation_id="getWebhook")
    async def get_webhook(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], webhookId: FromPath[UUID]
    ) -> models.Webhook:
        """Read one endpoint."""
        found = await webhooks.get(credential(request, accountId), webhookId)
        return models.webhook(found, told=metadata(request))

    @patch("/{webhookId:str}", operation_id="changeWebhook", opt={"media_type": JSON}, status_code=200)
    async def change_webhook(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        webhookId: FromPath[UUID],
        data: JSONBody[models.ChangeWebhook],
    ) -> models.Webhook:
        """Change where an endpoint is and what it is told of; what waits for it already goes where it is then."""
        changes = msgspec.convert(given(data), Changes)
        changed = await webhooks.change(credential(request, accountId), webhookId, changes)
        return models.webhook(changed, told=metadata(request))

    @delete("/{webhookId:str}", operation_id="deleteWebhook", status_code=204)
    async def delete_webhook(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], webhookId: FromPath[UUID]
    ) -> None:
        """Delete an endpoint; what waits for it is not sent any more, and its log is gone."""
        await webhooks.delete(credential(request, accountId), webhookId)

    @post("/{webhookId:str}/actions/disable", operation_id="disableWebhook", status_code=200)
    async def disable_webhook(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], webhookId: FromPath[UUID]
    ) -> models.Webhook:
        """Send nothing more to an endpoint until it is enabled."""
        found = await webhooks.disable(credential(request, accountId), webhookId)
        return models.webhook(found, told=metadata(request))

    @post("/{webhookId:str}/actions/enable", operation_id="enableWebhook", status_code=200)
    async def enable_webhook(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], webhookId: FromPath[UUID]
    ) -> models.Webhook:
        """Send to an endpoint again: what waited when it was disabled, and what happens from now on."""
        found = await webhooks.enable(credential(request, accountId), webhookId)
        return models.webhook(found, told=metadata(request))

    @post("/{webhookId:str}/actions/rotate-secret", operation_id="rotateWebhookSecret", status_code=200)
    async def rotate_webhook_secret(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], webhookId: FromPath[UUID]
    ) -> models.Webhook:
        """Make a new secret, which the answer alone shows; the one before signs beside it for 24 hours."""
        shown = await webhooks.rotate_secret(credential(request, accountId), webhookId)
        return models.webhook(shown.webhook, shown.secret, metadata(request))

    @post("/{webhookId:str}/actions/ping", operation_id="pingWebhook", status_code=202)
    async def ping_webhook(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], webhookId: FromPath[UUID]
    ) -> models.WebhookPinged:
        """Send an event `webhook.ping`, which means nothing, whatever the endpoint is told of; 409 when it is disabled."""
        delivery_id = await webhooks.ping(credential(request, accountId), webhookId)
        return models.WebhookPinged(delivery_id=str(delivery_id), response_metadata=metadata(request))

    @get(
        "/{webhookId:str}/deliveries",
        operation_id="getWebhookDeliveries",
        opt={"query": ("status", "page_size", "ctoken")},
    )
    async def get_webhook_deliveries(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        webhookId: FromPath[UUID],
        status: Annotated[Status | None, QueryParameter(description="only deliveries of this status")] = None,
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.WebhookDeliveriesList]:
        """List what was and is to be sent to an endpoint, newest first, 50 to a page; kept for 30 days."""
        access = credential(request, accountId)
        page = await webhook_deliveries.get_list(access, webhookId, status, page_size or PAGE_SIZE, ctoken)
        data = [models.delivery(one) for one in page.rows]
        content = models.WebhookDeliveriesList(data=data, response_metadata=metadata(request, page))
        return paged(request, content, page)

    @get("/{webhookId:str}/deliveries/{deliveryId:str}", operation_id="getWebhookDelivery")
    async def get_webhook_delivery(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        webhookId: FromPath[UUID],
        deliveryId: FromPath[UUID],
    ) -> models.WebhookDelivery:
        """Read one delivery with its attempts."""
        shown = await webhook_deliveries.get(credential(request, accountId), webhookId, deliveryId)
        return models.delivery(shown.delivery, shown.attempts, metadata(request))

    @post(
        "/{webhookId:str}/deliveries/{deliveryId:str}/actions/redeliver",
        operation_id="redeliverWebhookDelivery",
        status_code=202,
    )
    async def redeliver_webhook_delivery(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        webhookId: FromPath[UUID],
        deliveryId: FromPath[UUID],
    ) -> models.WebhookDelivery:
        """Send a delivery again, or now if it waits for its next attempt; 409 when the endpoint is disabled.

        It keeps its id, and is sent beside the others: no order holds for what is sent a second time.
        """
        again = await webhook_deliveries.redeliver(credential(request, accountId), webhookId, deliveryId)
        return models.delivery(again, told=metadata(request))


def given(body: models.NewWebhook | models.ChangeWebhook) -> dict[str, Any]:
    """The members of a body that were not left out."""
    return {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
