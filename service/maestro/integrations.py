"""The routes of an account's integrations (OAuth clients), which the vendor's API lacks; for its administrators."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from service.maestro import integration_models as models
from service.maestro.errors import credential
from service.maestro.requests import (
    ADMINISTERED,
    JSON,
    PAGE_SIZE,
    ContinuationToken,
    PageSize,
    metadata,
    paged,
)
from service.operations import integrations
from service.operations.integrations import Changes, Consent, New
from service.wire import timestamp


class IntegrationController(Controller):
    """OAuth clients of the account."""

    path = "/v1/accounts/{accountId:str}/integrations"
    tags = ("Integrations",)
    opt = ADMINISTERED

    @get("/", operation_id="getIntegrations", opt={"query": ("page_size", "ctoken")})
    async def get_integrations(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.IntegrationsList]:
        """List the account's integrations, the oldest first, 50 to a page; for administrators, as all of these are."""
        page = await integrations.get_list(credential(request, accountId), page_size or PAGE_SIZE, ctoken)
        data = [models.integration(one) for one in page.rows]
        content = models.IntegrationsList(data=data, response_metadata=metadata(request, page))
        return paged(request, content, page)

    @post("/", operation_id="createIntegration", opt={"media_type": JSON}, status_code=201)
    async def create_integration(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        data: JSONBody[models.NewIntegration],
    ) -> Response[models.Integration]:
        """Register an integration; the answer alone shows its secret, which a public one has not.

        409 where the account has a hundred.
        """
        shown = await integrations.create(credential(request, accountId), msgspec.convert(given(data), New))
        location = f"/v1/accounts/{accountId}/integrations/{shown.integration.id}"
        content = models.integration(shown.integration, shown.secret, metadata(request))
        return Response(content, headers={"Location": location})

    @get("/{clientId:str}", operation_id="getIntegration")
    async def get_integration(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], clientId: FromPath[UUID]
    ) -> models.Integration:
        """Read one integration."""
        found = await integrations.get(credential(request, accountId), clientId)
        return models.integration(found, told=metadata(request))

    @patch("/{clientId:str}", operation_id="changeIntegration", opt={"media_type": JSON}, status_code=200)
    async def change_integration(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        clientId: FromPath[UUID],
        data: JSONBody[models.ChangeIntegration],
    ) -> models.Integration:
        """Change an integration; tokens that it has live on with what they were given."""
        changes = msgspec.convert(given(data), Changes)
        changed = await integrations.change(credential(request, accountId), clientId, changes)
        return models.integration(changed, told=metadata(request))

    @delete("/{clientId:str}", operation_id="deleteIntegration", status_code=204)
    async def delete_integration(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], clientId: FromPath[UUID]
    ) -> None:
        """Delete an integration with all that it was allowed; its tokens end at once."""
        await integrations.delete(credential(request, accountId), clientId)

    @post("/{clientId:str}/actions/rotate-secret", operation_id="rotateIntegrationSecret", status_code=200)
    async def rotate_integration_secret(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], clientId: FromPath[UUID]
    ) -> models.Integration:
        """Make a new secret, which the answer alone shows; the one before is worth nothing from now on, tokens live on."""
        shown = await integrations.rotate_secret(credential(request, accountId), clientId)
        return models.integration(shown.integration, shown.secret, metadata(request))

    @post("/{clientId:str}/keys", operation_id="addIntegrationKey", opt={"media_type": JSON}, status_code=201)
    async def add_integration_key(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        clientId: FromPath[UUID],
        data: JSONBody[models.NewIntegrationKey],
    ) -> Response[models.Integration]:
        """Register one more public key, up to five; 409 for one that the integration has."""
        changed = await integrations.add_key(credential(request, accountId), clientId, data.public_key)
        key = integrations.key_id_of(data.public_key)
        location = f"/v1/accounts/{accountId}/integrations/{clientId}/keys/{key}"
        return Response(models.integration(changed, told=metadata(request)), headers={"Location": location})

    @delete("/{clientId:str}/keys/{keyId:str}", operation_id="removeIntegrationKey", status_code=204)
    async def remove_integration_key(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        clientId: FromPath[UUID],
        keyId: FromPath[UUID],
    ) -> None:
        """Forget a public key: what it signed proves nothing from now on, tokens live on."""
        await integrations.remove_key(credential(request, accountId), clientId, keyId)

    @get("/{clientId:str}/consent", operation_id="getIntegrationConsent")
    async def get_integration_consent(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], clientId: FromPath[UUID]
    ) -> models.IntegrationConsent:
        """Read what an integration is allowed for every member; 404 where that is nothing."""
        found = await integrations.get_consent(credential(request, accountId), clientId)
        return consent(request, clientId, found)

    @put(
        "/{clientId:str}/consent", operation_id="allowIntegration", opt={"media_type": JSON}, status_code=200
    )
    async def allow_integration(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        clientId: FromPath[UUID],
        data: JSONBody[models.AllowIntegration],
    ) -> models.IntegrationConsent:
        """Allow an integration these scopes, in place of those before, for every member of the account without asking them.

        `account_manage` cannot be among them. Where it may do less than before, `grants_ended` tells what ended by that.
        """
        allowed = await integrations.allow(credential(request, accountId), clientId, data.scopes)
        return consent(request, clientId, allowed)

    @delete("/{clientId:str}/consent", operation_id="takeBackIntegrationConsent", status_code=204)
    async def take_back_integration_consent(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], clientId: FromPath[UUID]
    ) -> None:
        """Take back what an integration is allowed for every member; 404 where that is nothing.

        Its tokens for members who have not allowed it themselves end at once.
        """
        await integrations.take_back(credential(request, accountId), clientId)


def given(body: models.NewIntegration | models.ChangeIntegration) -> dict[str, Any]:
    """The members of a body that were not left out."""
    return {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}


def consent(request: Request[Any, Any, Any], client_id: UUID, found: Consent) -> models.IntegrationConsent:
    """Word what an integration is allowed for every member."""
    return models.IntegrationConsent(
        client_id=str(client_id),
        scopes=found.scopes,
        granted_at=timestamp(found.granted_at),
        granted_by=UNSET if found.granted_by is None else str(found.granted_by),
        grants_ended=UNSET if found.grants_ended is None else found.grants_ended,
        response_metadata=metadata(request),
    )
