"""The routes of what clients are allowed for all members of an account, which the vendor's API lacks; for its administrators."""

from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get
from litestar.params import FromPath

from service.maestro import integration_models as models
from service.maestro.errors import credential
from service.maestro.requests import (
    ADMINISTERED,
    PAGE_SIZE,
    ContinuationToken,
    PageSize,
    metadata,
    paged,
)
from service.operations import consents


class ConsentController(Controller):
    """What clients are allowed for all members of the account."""

    path = "/v1/accounts/{accountId:str}/consents"
    tags = ("Integrations",)
    opt = ADMINISTERED

    @get("/", operation_id="getConsents", opt={"query": ("page_size", "ctoken")})
    async def get_consents(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.AccountConsentsList]:
        """List which clients may act for all members of the account, other accounts' clients too; 50 to a page."""
        page = await consents.get_list(credential(request, accountId), page_size or PAGE_SIZE, ctoken)
        data = [models.account_consent(one) for one in page.rows]
        content = models.AccountConsentsList(data=data, response_metadata=metadata(request, page))
        return paged(request, content, page)

    @delete("/{clientId:str}", operation_id="deleteConsent", status_code=204)
    async def delete_consent(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], clientId: FromPath[UUID]
    ) -> None:
        """Take back what a client is allowed for every member; 404 where that is nothing.

        Its tokens for members whose own consent does not cover them end at once.
        """
        await consents.take_back(credential(request, accountId), clientId)
