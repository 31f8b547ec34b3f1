"""The route of an instance's history, which the vendor's API lacks."""

from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, get
from litestar.params import FromPath

from service.maestro import history_models
from service.maestro.errors import credential
from service.maestro.requests import PAGE_SIZE, READING, ContinuationToken, PageSize, metadata, paged
from service.operations import history


class HistoryController(Controller):
    """What an instance has done."""

    path = "/v1/accounts/{accountId:str}/workflows/{workflowId:str}/instances/{instanceId:str}/history"
    tags = ("Workflow Instances",)
    opt = READING

    @get("/", operation_id="getWorkflowInstanceHistory", opt={"query": ("page_size", "ctoken")})
    async def get_workflow_instance_history(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        workflowId: FromPath[UUID],  # noqa: N803 - the vendor's name
        instanceId: FromPath[UUID],  # noqa: N803 - the vendor's name
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[history_models.InstanceHistory]:
        """List an instance's task runs in the order in which they began, 50 to a page.

        A page is shorter where its values would be more than 16 MB; `page_token_next` tells that there are more.
        """
        page = await history.get_page(
            credential(request, accountId), workflowId, instanceId, page_size or PAGE_SIZE, ctoken
        )
        return paged(request, history_models.history(page.rows, metadata(request, page)), page)
