"""The routes of work items, which the vendor's API lacks: what instances ask of people, and how people answer."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from service.maestro import models
from service.maestro.errors import credential
from service.maestro.requests import (
    JSON,
    PAGE_SIZE,
    ContinuationToken,
    PageSize,
    metadata,
    paged,
    sandbox_of,
)
from service.operations import work_items
from service.operations.work_items import Answer, Filters, Status, Whose


class WorkItemController(Controller):
    """Work items of the account."""

    path = "/v1/accounts/{accountId:str}/work-items"
    tags = ["Work Items"]

    @get(
        "/",
        operation_id="getWorkItems",
        opt={"query": ("status", "assigned_to", "workflow_id", "instance_id", "page_size", "ctoken")},
    )
    async def get_work_items(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        status: Annotated[
            Status | None,
            QueryParameter(
                description="only work items of this status; `failed`: nobody could have decided them, `overdue`: open ones"
                " whose date has passed"
            ),
        ] = None,
        assigned_to: Annotated[
            Whose | None,
            QueryParameter(
                description="`me`: only what the caller may decide; `all`, for administrators and machine clients, who"
                " get that where nothing is said"
            ),
        ] = None,
        workflow_id: Annotated[
            UUID | None, QueryParameter(description="only work items of this workflow's instances")
        ] = None,
        instance_id: Annotated[
            UUID | None, QueryParameter(description="only work items of this instance")
        ] = None,
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.WorkItemsList]:
        """List work items, newest first, 50 to a page: a member's own, or all of the account's."""
        filters = Filters(status, assigned_to, workflow_id, instance_id)
        page = await work_items.get_list(
            credential(request, accountId), filters, page_size or PAGE_SIZE, ctoken
        )
        data = [models.work_item_summary(row) for row in page.rows]
        return paged(
            request, models.WorkItemsList(data=data, response_metadata=metadata(request, page)), page
        )

    @get("/{workItemId:str}", operation_id="getWorkItem")
    async def get_work_item(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workItemId: FromPath[UUID]
    ) -> models.WorkItem:
        """Read a work item with its decisions: what it asks, of whom, and how far it is."""
        shown = await work_items.get(credential(request, accountId), workItemId)
        return models.work_item(shown, metadata(request))

    @post(
        "/{workItemId:str}/actions/complete",
        operation_id="completeWorkItem",
        opt={"media_type": JSON},
        status_code=200,
    )
    async def complete_work_item(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workItemId: FromPath[UUID],
        data: JSONBody[models.CompleteWorkItem],
    ) -> models.WorkItem:
        """Decide a work item; until it is decided, another answer of the same person replaces the first.

        Only a user to whom it is assigned may, by id, e-mail address or role; 409 when it is decided or cancelled.
        """
        answer = Answer(given(data.outcome), given(data.comment), given(data.fields))
        access = credential(request, accountId)
        shown = await work_items.complete(access, sandbox_of(request), workItemId, answer)
        return models.work_item(shown, metadata(request))


def given(value: Any | UnsetType) -> Any:
    """Return a member of a body, None where it was left out."""
    return None if value is UNSET else value
