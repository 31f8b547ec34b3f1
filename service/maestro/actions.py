"""The routes of what is done with instances besides the vendor's cancel: suspend, resume, restart, delete, and in bulk."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from service.engine.restarting import Options
from service.maestro import action_models as models
from service.maestro.controllers import InstanceStatus, StartedBy, status_filters
from service.maestro.errors import credential
from service.maestro.requests import (
    JSON,
    OPERATING,
    PAGE_SIZE,
    ContinuationToken,
    PageSize,
    metadata,
    paged,
)
from service.operations import bulk, lifecycle
from service.operations.bulk import Wanted
from service.process import sandbox_of
from service.settings import settings
from service.wire import timestamp

FILTERS = ("status", "started_by_id", "workflow_definition_id")
OF_MANY = {
    "media_type": JSON,
    "optional_body": True,
    "query": FILTERS,
    "repeatable": ("workflow_definition_id",),
}
OfWorkflows = Annotated[
    list[UUID] | None,
    QueryParameter(max_items=100, description="only instances of these workflows; may be repeated"),
]


class InstanceActionController(Controller):
    """What is done with one instance."""

    path = "/v1/accounts/{accountId:str}/workflows/{workflowId:str}/instances/{instanceId:str}"
    tags = ("Workflow Instances",)
    opt = OPERATING

    @post("/actions/suspend", operation_id="suspendWorkflowInstance", status_code=200)
    async def suspend_workflow_instance(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        workflowId: FromPath[UUID],  # noqa: N803 - the vendor's name
        instanceId: FromPath[UUID],  # noqa: N803 - the vendor's name
    ) -> models.InstanceSuspended:
        """Hold an instance where it is; 409 when it has ended or is suspended already.

        It takes no step until it is resumed. Calls that are under way keep their answers; events, answers to work items and
        timers that are due wait.
        """
        at = await lifecycle.suspend(credential(request, accountId), workflowId, instanceId)
        return models.InstanceSuspended(
            instance_id=str(instanceId),
            suspended_at=timestamp(at),
            response_metadata=metadata(request),
        )

    @post("/actions/resume", operation_id="resumeWorkflowInstance", status_code=200)
    async def resume_workflow_instance(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        workflowId: FromPath[UUID],  # noqa: N803 - the vendor's name
        instanceId: FromPath[UUID],  # noqa: N803 - the vendor's name
    ) -> models.InstanceResumed:
        """Let a suspended instance go on with what has come meanwhile; 409 when it is not suspended."""
        await lifecycle.resume(credential(request, accountId), workflowId, instanceId)
        return models.InstanceResumed(instance_id=str(instanceId), response_metadata=metadata(request))

    @post(
        "/actions/restart",
        operation_id="restartWorkflowInstance",
        opt={"media_type": JSON, "optional_body": True},
        status_code=201,
    )
    async def restart_workflow_instance(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        workflowId: FromPath[UUID],  # noqa: N803 - the vendor's name
        instanceId: FromPath[UUID],  # noqa: N803 - the vendor's name
        data: JSONBody[models.RestartWorkflowInstance | None] = None,
    ) -> Response[models.InstanceRestarted]:
        """Begin a new instance that does what this one did: from the beginning or a task on, as this version or another.

        The old one has ended, or is suspended and canceled by this; 409 when it is under way or runs again already.
        """
        wanted = Options() if data is None else Options(given(data.version), given(data.from_task))
        access = credential(request, accountId)
        new = await lifecycle.restart(access, sandbox_of(request), workflowId, instanceId, wanted)
        page = f"{settings().public_url}/v1/accounts/{accountId}/instances/{new.id}/execution"
        content = models.InstanceRestarted(
            instance_id=str(new.id),
            instance_url=f"{page}?mtid={new.access_id}&mtsec={new.access_secret}",
            restarted_from=str(instanceId),
            canceled=new.cancelled,
            response_metadata=metadata(request),
        )
        location = f"/v1/accounts/{accountId}/workflows/{workflowId}/instances/{new.id}"
        return Response(content, headers={"Location": location})

    @delete("/", operation_id="deleteWorkflowInstance", status_code=204)
    async def delete_workflow_instance(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        workflowId: FromPath[UUID],  # noqa: N803 - the vendor's name
        instanceId: FromPath[UUID],  # noqa: N803 - the vendor's name
    ) -> None:
        """Delete an instance that has ended, with its history and work items; the audit of it stays.

        409 when it has not ended, or whoever awaits it has not taken its result.
        """
        await lifecycle.delete(credential(request, accountId), workflowId, instanceId)


class BulkController(Controller):
    """What is done with many instances at once."""

    path = "/v1/accounts/{accountId:str}"
    tags = ("Bulk Actions",)
    opt = OPERATING

    @post(
        "/workflow-instances/actions/cancel",
        operation_id="cancelWorkflowInstances",
        opt=OF_MANY,
        status_code=202,
    )
    async def cancel_workflow_instances(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        data: JSONBody[models.BulkCancel | None] = None,
        status: InstanceStatus = None,
        started_by_id: StartedBy = None,
        workflow_definition_id: OfWorkflows = None,
    ) -> Response[models.BulkActionAnswer]:
        """Cancel every instance that the filter finds and that has not ended, in the background.

        Without the right `confirm_count` nothing is done: the answer, 200, says how many they are.
        """
        data = data or models.BulkCancel()
        options = {} if data.reason is UNSET else {"reason": data.reason}
        filters = filters_of(status, started_by_id, workflow_definition_id)
        wanted = Wanted("cancel", options, filters, said(request), given(data.confirm_count))
        return answered(request, accountId, await bulk.begin(credential(request, accountId), wanted))

    @post(
        "/workflow-instances/actions/restart",
        operation_id="restartWorkflowInstances",
        opt=OF_MANY,
        status_code=202,
    )
    async def restart_workflow_instances(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        data: JSONBody[models.BulkRestart | None] = None,
        status: InstanceStatus = None,
        started_by_id: StartedBy = None,
        workflow_definition_id: OfWorkflows = None,
    ) -> Response[models.BulkActionAnswer]:
        """Restart every instance that the filter finds and that has ended or is suspended, in the background.

        Those that have been restarted before are left out. Without the right `confirm_count` nothing is done: the answer,
        200, says how many they are.
        """
        data = data or models.BulkRestart()
        options = msgspec.to_builtins(Options(given(data.version), given(data.from_task)))
        filters = filters_of(status, started_by_id, workflow_definition_id)
        wanted = Wanted("restart", options, filters, said(request), given(data.confirm_count))
        return answered(request, accountId, await bulk.begin(credential(request, accountId), wanted))

    @get("/bulk-actions", operation_id="getBulkActions", opt={"query": ("status", "page_size", "ctoken")})
    async def get_bulk_actions(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        status: Annotated[
            bulk.Status | None, QueryParameter(description="only bulk actions of this status")
        ] = None,
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.BulkActionsList]:
        """List the account's bulk actions, newest first, 50 to a page."""
        page = await bulk.get_list(credential(request, accountId), status, page_size or PAGE_SIZE, ctoken)
        data = [models.bulk_action(row) for row in page.rows]
        return paged(
            request, models.BulkActionsList(data=data, response_metadata=metadata(request, page)), page
        )

    @get("/bulk-actions/{bulkActionId:str}", operation_id="getBulkAction")
    async def get_bulk_action(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        bulkActionId: FromPath[UUID],  # noqa: N803 - as the others
    ) -> models.BulkActionRead:
        """Read a bulk action with how far it is."""
        row = await bulk.get(credential(request, accountId), bulkActionId)
        return models.bulk_action_read(row, metadata(request))

    @post("/bulk-actions/{bulkActionId:str}/actions/cancel", operation_id="cancelBulkAction", status_code=200)
    async def cancel_bulk_action(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        bulkActionId: FromPath[UUID],  # noqa: N803 - as the others
    ) -> models.BulkActionRead:
        """Stop a bulk action: what it has done stays done; 409 when it has ended."""
        row = await bulk.cancel(credential(request, accountId), bulkActionId)
        return models.bulk_action_read(row, metadata(request))


def given(value: Any) -> Any:
    """Return a member of a body, None where it was left out."""
    return None if value is UNSET else value


def filters_of(status: str | None, started_by: UUID | None, workflows: list[UUID] | None) -> Any:
    """Read the filter of the account-wide list."""
    return msgspec.structs.replace(
        status_filters(status), started_by=started_by, workflow_ids=tuple(workflows or ())
    )


def said(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Return the filter in the caller's own words: a value, or several of the one that may be repeated."""
    values = {name: request.query_params.getall(name) for name in request.query_params}
    return {name: some if name == "workflow_definition_id" else some[0] for name, some in values.items()}


def answered(
    request: Request[Any, Any, Any], account_id: UUID, answer: bulk.Answer
) -> Response[models.BulkActionAnswer]:
    """Word a bulk action that has begun (202), or how many instances there are to confirm (200)."""
    if answer.action is None:
        message = f"{answer.matched} instances match; nothing was done. Send confirm_count {answer.matched} to go on."
        content = models.BulkActionAnswer(
            matched_count=answer.matched, message=message, response_metadata=metadata(request)
        )
        return Response(content, status_code=200)
    action = models.bulk_action(answer.action)
    content = models.BulkActionAnswer(
        matched_count=answer.matched,
        message=f"{answer.matched} instances are being worked on; read the bulk action for its progress.",
        bulk_action=action,
        response_metadata=metadata(request),
    )
    return Response(content, headers={"Location": f"/v1/accounts/{account_id}/bulk-actions/{action.id}"})
