"""Formance's routes for workflows, instances and events. Each reads, calls one operation and words its result.

One handler serves both versions of the API, with the account in its path and without it; lists alone differ, as v2 has pages.
"""

import contextlib
from datetime import UTC, datetime
from importlib.metadata import version

import msgspec
from litestar import Controller, Router, delete, get, post, put

from auth.bearer import Credential
from auth.roles import Right
from service.claims import Request_, credential, decoded, id_of, proving
from service.engine.followers import Followers
from service.errors import InstanceConflict, WorkflowConflict
from service.formance import activity_history, cursors, history, models, requests
from service.formance.cursors import Asked, InstanceFilters
from service.formance.errors import EXCEPTION_HANDLERS
from service.formance.naming import named
from service.formance.requests import only_on_one_account
from service.formance.trigger_controllers import (
    BusEventController,
    FirstTriggerController,
    SecondTriggerController,
    TriggerController,
)
from service.operations import following, instances, outlines, workflows
from service.operations.instance_lists import MOST_BYTES
from service.operations.outlines import LONGEST_LIST
from service.operations.pages import Row, Window
from service.process import followers_of, sandbox_of
from service.wire import timestamp
from tenancy.errors import BadRequest, NotFound
from tenancy.faults import UNSERVED

LONGEST_WAIT = 600.0  # seconds
WAIT_SLICE = 30.0  # after which the caller's credential is looked at again


class InfoController(Controller):
    """What answers."""

    path = "/_info"
    tags = ["Info"]

    @get("/", operation_id=named("getServerInfo"))
    async def get_server_info(self, request: Request_) -> models.ServerInfo:
        """Tell which version of the service answers."""
        async with credential(request).rows(Right.READ):
            return models.ServerInfo(version=version("tutti"))


class WorkflowController(Controller):
    """Workflows: both versions of the API."""

    path = "/workflows"
    tags = ["Workflows"]

    @post("/", operation_id=named("createWorkflow"), opt={"body": "WorkflowConfig"}, status_code=201)
    async def create_workflow(self, request: Request_) -> models.WorkflowResponse:
        """Store a workflow, which can be run at once; YAML is read where the type of the body is `text/vnd.yaml`."""
        access = credential(request)
        async with proving(request):
            document = await requests.definition(request)
        new = await workflows.draft(access, sandbox_of(request), msgspec.json.encode(document), "json")
        stored = await workflows.put(access, new)
        return models.WorkflowResponse(models.workflow(stored.row))

    @get("/{flowId:str}", operation_id=named("getWorkflow"))
    async def get_workflow(self, request: Request_) -> models.WorkflowResponse:
        """Read a workflow, deleted or not."""
        row = await outlines.get_workflow(credential(request), await id_of(request, "flowId"))
        return models.WorkflowResponse(models.workflow(row))

    @delete("/{flowId:str}", operation_id=named("deleteWorkflow"), status_code=204)
    async def delete_workflow(self, request: Request_) -> None:
        """Delete a workflow: it is listed and run no more, its instances go on; again, it changes nothing."""
        workflow_id = await id_of(request, "flowId", BadRequest("The workflow's id is not a UUID."))
        with contextlib.suppress(WorkflowConflict):  # it has been deleted before
            await workflows.archive(credential(request), workflow_id)

    @post(
        "/{workflowID:str}/instances",
        operation_id=named("runWorkflow"),
        opt={"body": "Variables", "optional_body": True, "query": ("wait",)},
        status_code=201,
    )
    async def run_workflow(self, request: Request_) -> models.WorkflowInstanceResponse:
        """Run a workflow with variables; with `wait`, answer when it has ended, or after 10 minutes, as it is by then."""
        access = credential(request)
        async with proving(request):
            variables = await requests.variables(request)
        workflow_id = await id_of(request, "workflowID")
        name = f"Run of {timestamp(datetime.now(UTC))}"
        told = await outlines.run(access, sandbox_of(request), workflow_id, name, variables)
        if requests.flag(request, "wait"):
            ended = as_it_ended(access, followers_of(request), told)
            told = await requests.while_connected(request, ended) or told
        return models.WorkflowInstanceResponse(models.instance(told))


async def as_it_ended(access: Credential, followers: Followers, began: Row) -> Row:
    """Wait until an instance has ended and read it; as it began where the database is away or slow, for it has been started."""
    try:
        ids = began["workflow_id"], began["id"]
        await following.wait_out(access, followers, ids, LONGEST_WAIT, WAIT_SLICE)
        return await outlines.get(access, began["id"])
    except UNSERVED:
        return began


class InstanceController(Controller):
    """Instances and their events: both versions of the API."""

    path = "/instances/{instanceID:str}"
    tags = ["Instances"]

    @get("/", operation_id=named("getInstance"))
    async def get_instance(self, request: Request_) -> models.WorkflowInstanceResponse:
        """Read an instance with its stages and its workflow."""
        row = await outlines.get(credential(request), await id_of(request, "instanceID"))
        return models.WorkflowInstanceResponse(models.instance(row))

    @post("/events", operation_id=named("sendEvent"), opt={"body": "InstanceEvent"}, status_code=204)
    async def send_event(self, request: Request_) -> None:
        """Send an event to an instance by its name: for the stage that waits for it, now or later."""
        access = credential(request)
        async with proving(request):
            event = decoded(await request.body(), models.InstanceEvent)
        instance_id = await id_of(request, "instanceID")
        workflow_id = await outlines.workflow_of(access, instance_id)
        await instances.signal(access, workflow_id, instance_id, {"type": event.name})

    @put("/abort", operation_id=named("cancelEvent"), status_code=204)
    async def cancel_event(self, request: Request_) -> None:
        """End an instance now; one that has ended stays as it is."""
        access, instance_id = credential(request), await id_of(request, "instanceID")
        workflow_id = await outlines.workflow_of(access, instance_id)
        with contextlib.suppress(InstanceConflict):
            await instances.cancel(access, workflow_id, instance_id)

    @get("/history", operation_id=named("getInstanceHistory"))
    async def get_instance_history(self, request: Request_) -> models.WorkflowInstanceHistoryResponse:
        """Tell the stages that an instance has worked on, in their order."""
        access, instance_id = credential(request), await id_of(request, "instanceID")
        runs = await outlines.runs(access, instance_id, history.STAGES)
        return models.WorkflowInstanceHistoryResponse(history.stages(runs))

    @get("/stages/{number:str}/history", operation_id=named("getInstanceStageHistory"))
    async def get_instance_stage_history(
        self, request: Request_
    ) -> models.WorkflowInstanceHistoryStageResponse:
        """Tell the activities of a stage in their order: those of `send` and `update`, the others have none."""
        access, instance_id = credential(request), await id_of(request, "instanceID")
        async with proving(request):
            number = requests.stage_number(request)
        runs = await outlines.runs_of_stage(access, instance_id, number)
        if not runs:
            raise NotFound
        told = activity_history.activities(runs, second=requests.is_second(request))
        return models.WorkflowInstanceHistoryStageResponse(told)


class FirstController(Controller):
    """The lists of v1, which has no pages."""

    path = "/"

    @get("/workflows", operation_id=named("listWorkflows"), tags=["Workflows"])
    async def list_workflows(self, request: Request_) -> models.WorkflowListResponse:
        """List the workflows that are not deleted, newest first: the first 1,000, or 16 MB of them; v2 has pages."""
        found = await outlines.list_workflows(credential(request), LONGEST_LIST, None)
        return models.WorkflowListResponse([models.workflow(row) for row in found.rows])

    @get(
        "/instances",
        operation_id=named("listInstances"),
        opt={"query": ("workflowID", "running")},
        tags=["Instances"],
    )
    async def list_instances(self, request: Request_) -> models.WorkflowInstanceListResponse:
        """List the instances of workflows that are not deleted, newest first: the first 1,000, or 16 MB of them.

        v2 has pages.
        """
        asked = Asked(LONGEST_LIST, None, requests.instance_filters(request))
        found = await instances_listed(request, asked)
        return models.WorkflowInstanceListResponse(models.instances(found.rows, MOST_BYTES))


class SecondController(Controller):
    """The lists of v2."""

    path = "/"

    @get(
        "/workflows",
        operation_id=named("listWorkflows"),
        opt={"query": ("cursor", "pageSize")},
        tags=["Workflows"],
    )
    async def list_workflows(self, request: Request_) -> models.WorkflowCursorResponse:
        """List the workflows that are not deleted, newest first, 15 to a page where nothing is said and 1,000 at the most."""
        asked = await requests.page(request, None)
        found = await outlines.list_workflows(credential(request), asked.size, asked.edge)
        data = [models.workflow(row) for row in found.rows]
        return models.WorkflowCursorResponse(models.WorkflowCursor(data=data, **cursors.around(asked, found)))

    @get(
        "/instances",
        operation_id=named("listInstances"),
        opt={"query": ("workflowID", "running", "cursor", "pageSize")},
        tags=["Instances"],
    )
    async def list_instances(self, request: Request_) -> models.WorkflowInstanceCursorResponse:
        """List the instances of workflows that are not deleted, newest first, 15 to a page where nothing is said."""
        asked = await requests.page(request, requests.instance_filters(request))
        found = await instances_listed(request, asked)
        data = models.instances(found.rows, MOST_BYTES)
        return models.WorkflowInstanceCursorResponse(
            models.WorkflowInstanceCursor(data=data, **cursors.around(asked, found))
        )


async def instances_listed(request: Request_, asked: Asked) -> Window:
    """Read a page of instances."""
    filters = asked.filters or InstanceFilters()
    return await outlines.list_instances(
        credential(request),
        asked.size,
        asked.edge,
        of_workflow=filters.workflow_id,
        running=filters.running,
    )


SHARED = [InfoController, WorkflowController, InstanceController, TriggerController]
FIRST = [FirstController, FirstTriggerController]
SECOND = [SecondController, SecondTriggerController]


def formance_routers() -> list[Router]:
    """Put the dialect's routes together: v1 and v2, with the account in the path and without it, and the bus."""
    return [
        *(
            router(f"{account}/api/orchestration{part}", [*SHARED, *lists], "formance")
            for account in ("", "/accounts/{accountId:str}")
            for part, lists in (("", FIRST), ("/v2", SECOND))
        ),
        router("/v1/accounts/{accountId:str}", [BusEventController], "bus"),
    ]


def router(path: str, controllers: list[type[Controller]], dialect: str) -> Router:
    """Put routes together with the dialect's way of letting in and refusing."""
    return Router(
        path=path,
        route_handlers=controllers,
        before_request=only_on_one_account,
        exception_handlers=EXCEPTION_HANDLERS,
        opt={"dialect": dialect},
    )
