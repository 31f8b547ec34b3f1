"""The routes of work items, which the vendor's API lacks: what instances ask of people, and how people answer."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from service.language.people import Assignees
from service.maestro import work_item_models as models
from service.maestro.errors import credential
from service.maestro.requests import (
    DECIDING,
    JSON,
    PAGE_SIZE,
    READING,
    ContinuationToken,
    PageSize,
    metadata,
    paged,
)
from service.operations import assignments, work_item_lists, work_items
from service.operations.work_item_lists import Filters, Sort, Status, Whose
from service.operations.work_items import Answer
from service.process import sandbox_of

FILTERS = ("status", "assigned_to", "workflow_id", "instance_id", "due_before", "sort")


class WorkItemController(Controller):
    """Work items of the account."""

    path = "/v1/accounts/{accountId:str}/work-items"
    tags = ["Work Items"]
    opt = READING

    @get(
        "/",
        operation_id="getWorkItems",
        opt={"query": (*FILTERS, "page_size", "ctoken")},
    )
    async def get_work_items(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        status: Annotated[
            Status | None,
            QueryParameter(
                description="only work items of this status; `failed`: too few could have decided them, `overdue`: open ones"
                " whose date has passed"
            ),
        ] = None,
        assigned_to: Annotated[
            Whose | None,
            QueryParameter(
                description="`me`: only what the caller may decide; `my_roles`: what is assigned to their role;"
                " `claimed_by_me`: what they hold; `all`: the account's, for every role but sender;"
                " where nothing is said a sender gets `me`, anyone else `all`"
            ),
        ] = None,
        workflow_id: Annotated[
            UUID | None, QueryParameter(description="only work items of this workflow's instances")
        ] = None,
        instance_id: Annotated[
            UUID | None, QueryParameter(description="only work items of this instance")
        ] = None,
        due_before: Annotated[
            datetime | None,
            QueryParameter(
                description="only open work items with a date before this moment, in the order of dates"
            ),
        ] = None,
        sort: Annotated[
            Sort | None,
            QueryParameter(
                description="`-opened_at`, where nothing is said: newest first; `opened_at`: oldest first; `due_at`: what"
                " is open, by its date, what has none last"
            ),
        ] = None,
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.WorkItemsList]:
        """List work items, newest first, 50 to a page: a sender's own, or all of the account's."""
        filters = Filters(status, assigned_to, workflow_id, instance_id, due_before, sort)
        page = await work_item_lists.get_list(
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
        opt=DECIDING | {"media_type": JSON},
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

    @post("/{workItemId:str}/actions/claim", operation_id="claimWorkItem", opt=DECIDING, status_code=200)
    async def claim_work_item(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workItemId: FromPath[UUID]
    ) -> models.WorkItem:
        """Hold a work item, as one of those who may decide it: until it is released nobody else may answer it.

        409 when somebody else holds it, when it is not open, and when it needs more than one person.
        """
        shown = await assignments.claim(credential(request, accountId), workItemId)
        return models.work_item(shown, metadata(request))

    @post("/{workItemId:str}/actions/release", operation_id="releaseWorkItem", opt=DECIDING, status_code=200)
    async def release_work_item(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workItemId: FromPath[UUID]
    ) -> models.WorkItem:
        """Let a claimed work item go, as its holder or who operates the account; 409 when nobody holds it."""
        shown = await assignments.release(credential(request, accountId), workItemId)
        return models.work_item(shown, metadata(request))

    @post(
        "/{workItemId:str}/actions/reassign",
        operation_id="reassignWorkItem",
        opt=DECIDING | {"media_type": JSON},
        status_code=200,
    )
    async def reassign_work_item(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workItemId: FromPath[UUID],
        data: JSONBody[models.ReassignWorkItem],
    ) -> models.WorkItem:
        """Ask others instead, as its holder or who operates the account; decisions so far stay and count.

        Nobody holds the work item afterwards.
        """
        wanted = Assignees(tuple(data.assignees.users), tuple(data.assignees.roles))
        shown = await assignments.reassign(credential(request, accountId), workItemId, wanted)
        return models.work_item(shown, metadata(request))

    @get(
        "/{workItemId:str}/history",
        operation_id="getWorkItemHistory",
        opt={"query": ("page_size", "ctoken")},
    )
    async def get_work_item_history(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workItemId: FromPath[UUID],
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.WorkItemHistory]:
        """List what happened to a work item, the first first, 50 to a page: who did what, and when."""
        page = await work_item_lists.history(
            credential(request, accountId), workItemId, page_size or PAGE_SIZE, ctoken
        )
        return paged(request, models.history(page.rows, metadata(request, page)), page)


def given(value: Any | UnsetType) -> Any:
    """Return a member of a body, None where it was left out."""
    return None if value is UNSET else value
