"""The vendor's eight calls on workflow instances. Each reads, calls an operation and words its result."""

import contextlib
from collections.abc import Iterator
from uuid import UUID

from litestar import Controller, Response, delete, get, post

from service.errors import StateRefused
from service.keyfactor import fields, requests
from service.keyfactor import instance_models as models
from service.keyfactor.errors import PREFIX, Code, Refused
from service.keyfactor.requests import Request_, credential, id_of, list_parameters, proving
from service.keyfactor.status import standing_of
from service.operations import instance_queries, instances, lifecycle, step_instances, work_items
from service.operations.instance_queries import Whose
from service.process import sandbox_of
from tenancy.errors import BadRequest


class InstancesController(Controller):
    """Lists of instances, a page of them by its number."""

    path = "/Workflow/Instances"
    tags = ("WorkflowInstance",)

    @get("/", operation_id="WorkflowInstanceQuery", opt={"query": list_parameters("pq")})
    async def list_instances(self, request: Request_) -> Response[list[models.InstanceQueryResponse]]:
        """List instances, by CurrentStepDisplayName unless another sortField is named.

        A query may use DefinitionId, Id, InitiatingUserName, LastModified, ReferenceId, StartDate, Status, Title and
        WorkflowType. A sender finds those that they started.
        """
        return await listed(request, "all")

    @get(
        "/AssignedToMe",
        operation_id="WorkflowInstanceQueryInstancesAssignedToMe",
        opt={"query": list_parameters("pq")},
    )
    async def list_assigned(self, request: Request_) -> Response[list[models.InstanceQueryResponse]]:
        """List the Suspended instances whose step the caller may answer, and has not yet."""
        return await listed(request, "assigned")

    @get(
        "/My",
        operation_id="WorkflowInstanceQueryInstancesStartedByMe",
        opt={"query": list_parameters("instanceQuery")},
    )
    async def list_mine(self, request: Request_) -> Response[list[models.InstanceQueryResponse]]:
        """List the instances that the caller started, whatever has become of them."""
        return await listed(request, "mine")


class InstanceController(Controller):
    """Instances, each by its id."""

    path = "/Workflow/Instances/{instanceId:str}"
    tags = ("WorkflowInstance",)

    @get("/", operation_id="WorkflowInstanceGet")
    async def get_instance(self, request: Request_) -> models.InstanceResponse:
        """Read an instance with its data, and what it waits for."""
        instance_id = await named(request)
        return models.instance(await step_instances.get(credential(request), instance_id))

    @delete("/", operation_id="WorkflowInstanceDeleteInstance", status_code=204)
    async def delete_instance(self, request: Request_) -> None:
        """Delete an instance that is not Running; a Suspended one ends by it."""
        instance_id = await named(request)
        with worded("Stop it when it is Suspended, or wait for its end."):
            await lifecycle.remove(credential(request), instance_id)

    @post(
        "/Restart",
        operation_id="WorkflowInstanceRestart",
        opt={
            "body": "RestartRequest",
            "optional_body": True,
            "query": ("version",),
            "headers": ("Location",),
        },
        status_code=204,
    )
    async def restart_instance(self, request: Request_) -> Response[None]:
        """Begin a new instance in the place of a Failed or Suspended one, at the first step; Location says where it is.

        It runs the version of the definition that is named, or the published one.
        """
        instance_id = await named(request)
        wanted = await version(request)
        with worded("Only a Failed or Suspended one can be restarted."):
            new = await lifecycle.supersede(credential(request), sandbox_of(request), instance_id, wanted)
        return Response(None, headers={"Location": f"{PREFIX}/Workflow/Instances/{new}"})

    @post("/Signals", operation_id="WorkflowInstanceSignal", opt={"body": "SignalRequest"}, status_code=204)
    async def signal_instance(self, request: Request_) -> None:
        """Answer the step at which an instance is Suspended: approve or deny it, once for each user, or send its event."""
        access = credential(request)
        instance_id = await named(request)
        sent: models.SignalRequest = await requests.body(request, models.SignalRequest)
        awaited = await step_instances.awaited(access, instance_id)
        found = models.target(awaited, sent.signal_key)
        if found.approval is not None:
            answer = models.answer(awaited, found.approval, sent.data or {})
            await work_items.complete(access, sandbox_of(request), found.approval, answer, once=True)
        else:
            event = {"type": found.event} | ({} if sent.data is None else {"data": sent.data})
            await instances.signal(access, awaited.workflow_id, instance_id, event)

    @post("/Stop", operation_id="WorkflowInstanceStop", status_code=204)
    async def stop_instance(self, request: Request_) -> None:
        """Reject a Suspended instance: it goes on no more."""
        instance_id = await named(request)
        with worded("Only a Suspended one can be stopped."):
            await lifecycle.stop(credential(request), instance_id)


async def listed(request: Request_, whose: Whose) -> Response[list[models.InstanceQueryResponse]]:
    """Read a page of a list.

    Raises:
        Refused: the query, the sort field, or the page is none.
    """
    asked = await requests.listing(request)
    async with proving(request):
        wanted = fields.instances(asked, whose)
    found = await instance_queries.get_page(credential(request), wanted)
    told = [models.listed(row, found.steps.get(row["version_id"])) for row in found.rows]
    return requests.listed(told, found.total)


async def named(request: Request_) -> UUID:
    """Read the id of the instance.

    Raises:
        BadRequest: it is none.
    """
    message = "The instance's id is not a GUID; a ReferenceId cannot stand in its place."
    return await id_of(request, "instanceId", BadRequest(message))


async def version(request: Request_) -> int | None:
    """Read which version a restart asks for, in the query or in the body.

    Raises:
        Refused, BadRequest: it is no number.
    """
    named = await requests.number(request, "version")
    async with requests.proving(request):
        sends = bool((await request.body()).strip())
    if named is not None or not sends:
        return named
    sent: models.RestartRequest = await requests.body(request, models.RestartRequest)
    return sent.version


@contextlib.contextmanager
def worded(advice: str) -> Iterator[None]:
    """Say in the dialect's words which status an instance has that does not allow what was asked.

    Raises:
        Refused: so it is.
    """
    try:
        yield
    except StateRefused as refused:
        name = standing_of(refused.present, superseded=refused.restarted_as is not None).name
        again = f" as {refused.restarted_as}" if refused.restarted_as is not None else ""
        raise Refused(Code.STATE, f"The instance is {name}{again}. {advice}") from None
