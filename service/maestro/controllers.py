"""Maestro's routes. Each parses, calls one operation and words its result; what a request may do is decided there.

Handlers carry the vendor's operation ids. Native ones (authoring, signals) stand under the same prefix, in the same
conventions.
"""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get, post, put
from litestar.exceptions import ValidationException
from litestar.params import FromPath, JSONBody, QueryParameter, RawBody
from msgspec import UNSET

from service.engine.states import Status
from service.maestro import models
from service.maestro.account import SettingsController
from service.maestro.action_models import CancelWorkflowInstance
from service.maestro.audit import AuditController
from service.maestro.consents import ConsentController
from service.maestro.errors import credential
from service.maestro.following import AccountFollowingController, InstanceFollowingController
from service.maestro.history import HistoryController
from service.maestro.idempotency import repeat_of, triggered
from service.maestro.integrations import IntegrationController
from service.maestro.members import InvitationController, MemberController
from service.maestro.requests import (
    JSON,
    LARGEST_PAGE,
    OPERATING,
    PAGE_SIZE,
    READING,
    STARTING,
    YAML,
    ContinuationToken,
    PageSize,
    metadata,
    paged,
)
from service.maestro.search import SearchController
from service.maestro.webhooks import WebhookController
from service.maestro.work_items import WorkItemController
from service.operations import instance_lists, instances, workflows
from service.operations.instance_lists import Filters
from service.operations.versions import Draft, Stored
from service.process import sandbox_of
from service.settings import settings

# A list's words for an instance's status, as the filter understands them.
STATUS_FILTERS = {
    "In Progress": Filters(in_progress=True),
    "Completed": Filters(status=Status.COMPLETED),
    "Failed": Filters(status=Status.FAULTED),
    "Canceled": Filters(status=Status.CANCELLED),
}

InstanceStatus = Annotated[
    str | None,
    QueryParameter(
        description="In Progress, Completed, Failed or Canceled", schema_extra={"enum": list(STATUS_FILTERS)}
    ),
]
StartedBy = Annotated[
    UUID | None, QueryParameter(description="id of the user or client that started the instances")
]


def status_filters(status: str | None) -> Filters:
    """Read a status filter, in the vendor's words and any case.

    Raises:
        ValidationException: none of the known statuses.
    """
    if status is None:
        return Filters()
    for word, filters in STATUS_FILTERS.items():
        if word.lower() == status.lower():
            return filters
    known = ", ".join(STATUS_FILTERS)
    raise ValidationException(
        "Unknown status.", extra=[{"message": f"must be one of: {known}", "key": "status"}]
    )


class WorkflowController(Controller):
    """Workflows as the vendor's SDKs see them."""

    path = "/v1/accounts/{accountId:str}/workflows"
    tags = ["Workflows"]
    opt = READING

    @get("/", operation_id="GetWorkflowsList", opt={"query": ("status", "page_size", "ctoken")})
    async def get_workflows_list(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        status: Annotated[
            models.WorkflowState | None, QueryParameter(description="only workflows of this status")
        ] = None,
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.WorkflowsListSuccess]:
        """List the account's workflows, newest first: up to 1,000 where no page_size is given."""
        page = await workflows.get_list(credential(request, accountId), status, page_size, ctoken)
        data = [models.workflow(row) for row in page.rows]
        return paged(
            request, models.WorkflowsListSuccess(data=data, response_metadata=metadata(request, page)), page
        )

    @get("/{workflowId:str}/trigger-requirements", operation_id="GetWorkflowTriggerRequirements")
    async def get_workflow_trigger_requirements(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workflowId: FromPath[UUID]
    ) -> models.WorkflowTriggerRequirementsSuccess:
        """Tell how to trigger a workflow: where, and with which inputs."""
        row, fields = await workflows.trigger_requirements(credential(request, accountId), workflowId)
        told = metadata(request)
        url = f"{settings().public_url}/v1/accounts/{accountId}/workflows/{workflowId}/actions/trigger"
        return models.WorkflowTriggerRequirementsSuccess(
            trigger_id=str(row["trigger_id"]),
            trigger_event_type="HTTP",
            trigger_http_config=models.TriggerHttpConfig(method="POST", url=url),
            trigger_input_schema=[models.trigger_input(field) for field in fields],
            metadata=models.resource_metadata(row),
            request_id=told.request_id,
            response_timestamp=told.response_timestamp,
            response_duration_ms=told.response_duration_ms,
        )

    @post(
        "/{workflowId:str}/actions/trigger",
        operation_id="TriggerWorkflow",
        opt=STARTING | {"media_type": JSON},
        status_code=201,
    )
    async def trigger_workflow(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workflowId: FromPath[UUID],
        data: JSONBody[models.TriggerWorkflow],
    ) -> Response[models.TriggerWorkflowSuccess]:
        """Start a new instance of the workflow's published version.

        The status of success is the one that the calling SDK's generation knows: 200 or 201. With an `Idempotency-Key` the
        same request again, within 24 hours, starts nothing and is answered as the first was.
        """
        access, repeat = credential(request, accountId), repeat_of(request, data)
        started = await instances.trigger(
            access, sandbox_of(request), workflowId, data.instance_name, data.trigger_inputs, repeat
        )
        return triggered(request, (accountId, workflowId), started, repeat)

    @post(
        "/{workflowId:str}/actions/pause",
        operation_id="pauseNewWorkflowInstances",
        opt=OPERATING,
        status_code=200,
    )
    async def pause_new_workflow_instances(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workflowId: FromPath[UUID]
    ) -> models.WorkflowStatusSuccess:
        """Stop the creation of new instances; running ones go on."""
        await workflows.pause(credential(request, accountId), workflowId)
        return models.WorkflowStatusSuccess(status="paused")

    @post(
        "/{workflowId:str}/actions/resume",
        operation_id="resumePausedWorkflow",
        opt=OPERATING,
        status_code=200,
    )
    async def resume_paused_workflow(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workflowId: FromPath[UUID]
    ) -> models.WorkflowStatusSuccess:
        """Allow new instances again."""
        await workflows.resume(credential(request, accountId), workflowId)
        return models.WorkflowStatusSuccess(status="active")


class AuthoringController(Controller):
    """What the vendor's API lacks: writing workflows as Serverless Workflow definitions."""

    path = "/v1/accounts/{accountId:str}"
    tags = ["Authoring"]
    opt = OPERATING

    @post(
        "/workflows",
        operation_id="createWorkflow",
        opt={"media_type": JSON, "document": JSON},
        status_code=201,
    )
    async def create_workflow(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        body: RawBody,
    ) -> Response[models.WorkflowDefinition]:
        """Store a new workflow, not yet published; the body is a Serverless Workflow DSL document."""
        return await self._created(request, accountId, body, "json")

    @post(
        "/yaml-workflows",
        operation_id="createWorkflowFromYaml",
        opt={"media_type": YAML, "document": YAML},
        status_code=201,
    )
    async def create_workflow_from_yaml(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        body: RawBody,
    ) -> Response[models.WorkflowDefinition]:
        """Store a new workflow from YAML 1.2, not yet published."""
        return await self._created(request, accountId, body, "yaml")

    @put(
        "/workflows/{workflowId:str}",
        operation_id="replaceWorkflow",
        opt={"media_type": JSON, "document": JSON},
    )
    async def replace_workflow(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workflowId: FromPath[UUID],
        body: RawBody,
    ) -> models.WorkflowDefinition:
        """Store a new version of a workflow, not yet published; running instances keep theirs."""
        return await self._replaced(request, accountId, workflowId, body, "json")

    @put(
        "/yaml-workflows/{workflowId:str}",
        operation_id="replaceWorkflowFromYaml",
        opt={"media_type": YAML, "document": YAML},
    )
    async def replace_workflow_from_yaml(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workflowId: FromPath[UUID],
        body: RawBody,
    ) -> models.WorkflowDefinition:
        """Store a new version of a workflow from YAML 1.2, not yet published."""
        return await self._replaced(request, accountId, workflowId, body, "yaml")

    @get("/workflows/{workflowId:str}", operation_id="getWorkflow", opt=READING)
    async def get_workflow(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workflowId: FromPath[UUID]
    ) -> models.WorkflowDefinition:
        """Read a workflow with its newest version."""
        stored = await workflows.get(credential(request, accountId), workflowId)
        return models.workflow_definition(stored, metadata(request))

    @get("/workflows/{workflowId:str}/versions", operation_id="getWorkflowVersions", opt=READING)
    async def get_workflow_versions(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workflowId: FromPath[UUID]
    ) -> models.WorkflowVersionsList:
        """List a workflow's versions, newest first, at most 1,000."""
        row, found = await workflows.versions(credential(request, accountId), workflowId)
        data = [models.workflow_version(version, row["active_version_id"]) for version in found]
        return models.WorkflowVersionsList(data=data, response_metadata=metadata(request))

    @post("/workflows/{workflowId:str}/actions/publish", operation_id="publishWorkflow", status_code=200)
    async def publish_workflow(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workflowId: FromPath[UUID]
    ) -> models.WorkflowDefinition:
        """Make the newest version the one that triggers start."""
        stored = await workflows.publish(credential(request, accountId), workflowId)
        return models.workflow_definition(stored, metadata(request))

    @post("/workflows/{workflowId:str}/actions/archive", operation_id="archiveWorkflow", status_code=200)
    async def archive_workflow(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], workflowId: FromPath[UUID]
    ) -> models.WorkflowStatusSuccess:
        """Retire a workflow for good; its instances go on and stay readable."""
        await workflows.archive(credential(request, accountId), workflowId)
        return models.WorkflowStatusSuccess(status="archived")

    async def _created(
        self,
        request: Request[Any, Any, Any],
        account_id: UUID,
        body: bytes,
        text_format: str,
    ) -> Response[models.WorkflowDefinition]:
        access = credential(request, account_id)
        new: Draft = await workflows.draft(access, sandbox_of(request), body, text_format)
        stored: Stored = await workflows.create(access, new)
        location = f"/v1/accounts/{account_id}/workflows/{stored.row['id']}"
        return Response(models.workflow_definition(stored, metadata(request)), headers={"Location": location})

    async def _replaced(
        self,
        request: Request[Any, Any, Any],
        account_id: UUID,
        workflow_id: UUID,
        body: bytes,
        text_format: str,
    ) -> models.WorkflowDefinition:
        access = credential(request, account_id)
        new = await workflows.draft(access, sandbox_of(request), body, text_format)
        stored = await workflows.replace(access, workflow_id, new)
        return models.workflow_definition(stored, metadata(request))


class InstanceController(Controller):
    """Instances of one workflow."""

    path = "/v1/accounts/{accountId:str}/workflows/{workflowId:str}/instances"
    tags = ["Workflow Instances"]
    opt = READING

    @get(
        "/",
        operation_id="getWorkflowInstancesList",
        opt={"query": ("status", "started_by_id", "page_size", "ctoken")},
    )
    async def get_workflow_instances_list(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workflowId: FromPath[UUID],
        status: InstanceStatus = None,
        started_by_id: StartedBy = None,
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.WorkflowInstanceCollection]:
        """List a workflow's instances, newest first.

        SDKs cannot page, so without page_size the newest 1,000 come at once, fewer where that would be more than 16 MB;
        `page_token_next` tells that there are more.
        """
        filters = msgspec.structs.replace(status_filters(status), started_by=started_by_id)
        access = credential(request, accountId)
        page = await instance_lists.get_list(
            access, filters, page_size or LARGEST_PAGE, ctoken, of_workflow=workflowId
        )
        data = [models.instance(row) for row in page.rows]
        content = models.WorkflowInstanceCollection(data=data, response_metadata=metadata(request, page))
        return paged(request, content, page)

    @get("/{instanceId:str}", operation_id="getWorkflowInstance")
    async def get_workflow_instance(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workflowId: FromPath[UUID],
        instanceId: FromPath[UUID],
    ) -> models.WorkflowInstance:
        """Read one instance; `current_position` tells where it is."""
        return models.instance_now(
            await instances.get(credential(request, accountId), workflowId, instanceId)
        )

    @post(
        "/{instanceId:str}/actions/cancel",
        operation_id="cancelWorkflowInstance",
        opt=OPERATING | {"media_type": JSON, "optional_body": True},
        status_code=200,
    )
    async def cancel_workflow_instance(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workflowId: FromPath[UUID],
        instanceId: FromPath[UUID],
        data: JSONBody[CancelWorkflowInstance | None] = None,
    ) -> models.CancelWorkflowInstanceResponse:
        """End an instance now; 409 when it has ended already. The vendor's SDKs send no body, others may give a reason."""
        reason = None if data is None or data.reason is UNSET else data.reason
        await instances.cancel(credential(request, accountId), workflowId, instanceId, reason)
        message = f"Successfully canceled the workflow instance {instanceId} in {workflowId}"
        return models.CancelWorkflowInstanceResponse(message=message)

    @post(
        "/{instanceId:str}/actions/signal",
        operation_id="signalWorkflowInstance",
        opt=OPERATING | {"media_type": JSON},
        status_code=202,
    )
    async def signal_workflow_instance(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        workflowId: FromPath[UUID],
        instanceId: FromPath[UUID],
        data: JSONBody[dict[str, Any]],
    ) -> models.InstanceEventAccepted:
        """Send an event to one instance; a `listen` task takes it now or later."""
        event = await instances.signal(credential(request, accountId), workflowId, instanceId, data)
        return models.InstanceEventAccepted(event_id=event["id"], response_metadata=metadata(request))


class AccountController(Controller):
    """Instances of the whole account."""

    path = "/v1/accounts/{accountId:str}/workflow-instances"
    tags = ["Workflow Instances"]
    opt = READING

    @get(
        "/",
        operation_id="getWorkflowInstancesForAccount",
        opt={
            "query": ("status", "started_by_id", "workflow_definition_id", "page_size", "ctoken"),
            "repeatable": ("workflow_definition_id",),
        },
    )
    async def get_workflow_instances_for_account(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        status: InstanceStatus = None,
        started_by_id: StartedBy = None,
        workflow_definition_id: Annotated[
            list[UUID] | None,
            QueryParameter(max_items=100, description="only instances of these workflows; may be repeated"),
        ] = None,
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.AccountWorkflowInstances]:
        """List the account's instances, newest first, 50 to a page; a sender sees their own."""
        filters = msgspec.structs.replace(
            status_filters(status), started_by=started_by_id, workflow_ids=tuple(workflow_definition_id or ())
        )
        page = await instance_lists.get_list(
            credential(request, accountId), filters, page_size or PAGE_SIZE, ctoken, counted=True
        )
        content = models.AccountWorkflowInstances(
            instances=[models.instance(row) for row in page.rows],
            total_set_size=page.total or 0,
            result_set_size=len(page.rows),
            ctoken=page.next or UNSET,
            response_metadata=metadata(request, page),
        )
        return paged(request, content, page)


CONTROLLERS = [
    WorkflowController,
    AuthoringController,
    InstanceController,
    AccountController,
    SearchController,
    WorkItemController,
    AuditController,
    WebhookController,
    HistoryController,
    InstanceFollowingController,
    AccountFollowingController,
    SettingsController,
    MemberController,
    InvitationController,
    IntegrationController,
    ConsentController,
]
