"""Formance's routes for triggers, and ours for the events that they meet. Each reads, calls one operation and words its result."""

from typing import Any

from litestar import Controller, delete, get, post

from service.claims import Request_, credential, decoded, id_of, proving
from service.formance import cursors, requests
from service.formance import trigger_models as models
from service.formance.naming import named
from service.operations import event_triggers
from service.operations.event_triggers import NewTrigger
from service.operations.outlines import LONGEST_LIST
from service.process import sandbox_of
from service.wire import identifier
from tenancy.errors import BadRequest, FieldError, NotFound

NOT_A_UUID = BadRequest("The trigger's id is not a UUID.")


async def new_trigger(request: Request_) -> NewTrigger:
    """Read a trigger that is to be made.

    Raises:
        BadRequest: the body is none, or names no workflow.
        NotFound: what it names is the id of none.
    """
    async with proving(request):
        data = decoded(await request.body(), models.TriggerData)
        if not data.workflow_id:
            missing = FieldError("FIELD_REQUIRED", "missing workflow id", "workflowID")
            raise BadRequest("The trigger cannot be made.", errors=(missing,))
        workflow_id = identifier(data.workflow_id)
        if workflow_id is None:
            raise NotFound("The workflow does not exist.")
    return NewTrigger(
        event=data.event,
        workflow_id=workflow_id,
        name=data.name or "",
        version=data.version or "",
        filter=data.filter or "",
        vars=data.vars or {},
    )


class TriggerController(Controller):
    """Triggers: both versions of the API."""

    path = "/triggers"
    tags = ("Triggers",)

    @post("/", operation_id=named("createTrigger"), opt={"body": "TriggerData"}, status_code=201)
    async def create_trigger(self, request: Request_) -> models.TriggerResponse:
        """Have events start a workflow, in the caller's name; expressions are of expr-lang, over the event's payload."""
        access, new = credential(request), await new_trigger(request)
        return models.TriggerResponse(
            models.trigger(await event_triggers.create(access, sandbox_of(request), new))
        )

    @get("/{triggerID:str}", operation_id=named("readTrigger"))
    async def read_trigger(self, request: Request_) -> models.TriggerResponse:
        """Read a trigger."""
        row = await event_triggers.get(credential(request), await id_of(request, "triggerID"))
        return models.TriggerResponse(models.trigger(row))

    @delete("/{triggerID:str}", operation_id=named("deleteTrigger"), status_code=204)
    async def delete_trigger(self, request: Request_) -> None:
        """Delete a trigger: events start nothing by it any more."""
        await event_triggers.delete(credential(request), await id_of(request, "triggerID", NOT_A_UUID))

    @post(
        "/{triggerID:str}/test",
        operation_id=named("testTrigger"),
        opt={"body": "EventPayload"},
        status_code=200,
    )
    async def test_trigger(self, request: Request_) -> models.TriggerTestResponse:
        """Say what a trigger would make of an event with this payload; nothing is started."""
        access = credential(request)
        async with proving(request):
            payload = decoded(await request.body(), dict[str, Any])
        trigger_id = await id_of(request, "triggerID")
        found = await event_triggers.test(access, sandbox_of(request), trigger_id, payload)
        return models.TriggerTestResponse(models.tested(found))


class FirstTriggerController(Controller):
    """The lists of v1, which has no pages."""

    path = "/triggers"
    tags = ("Triggers",)

    @get("/", operation_id=named("listTriggers"), opt={"query": ("name",)})
    async def list_triggers(self, request: Request_) -> models.TriggerListResponse:
        """List the triggers, newest first: all of them, or the first 16 MB; v2 has pages."""
        async with proving(request):
            name = requests.name_filter(request)
        found = await event_triggers.get_list(credential(request), LONGEST_LIST, None, name=name)
        return models.TriggerListResponse([models.trigger(row) for row in found.rows])

    @get("/{triggerID:str}/occurrences", operation_id=named("listTriggersOccurrences"))
    async def list_triggers_occurrences(self, request: Request_) -> models.TriggerOccurrenceListResponse:
        """List what a trigger has met, newest first: the first 1,000, or 16 MB of them; v2 has pages."""
        trigger_id = await id_of(request, "triggerID")
        found = await event_triggers.occurrences(credential(request), trigger_id, LONGEST_LIST, None)
        return models.TriggerOccurrenceListResponse([models.occurrence(row) for row in found.rows])


class SecondTriggerController(Controller):
    """The lists of v2."""

    path = "/triggers"
    tags = ("Triggers",)

    @get("/", operation_id=named("listTriggers"), opt={"query": ("name", "cursor", "pageSize")})
    async def list_triggers(self, request: Request_) -> models.TriggerCursorResponse:
        """List the triggers, newest first, 15 to a page where nothing is said and 1,000 at the most."""
        asked = await requests.page(request, None, named=True)
        found = await event_triggers.get_list(credential(request), asked.size, asked.edge, name=asked.name)
        data = [models.trigger(row) for row in found.rows]
        return models.TriggerCursorResponse(models.TriggerCursor(data=data, **cursors.around(asked, found)))

    @get(
        "/{triggerID:str}/occurrences",
        operation_id=named("listTriggersOccurrences"),
        opt={"query": ("cursor", "pageSize")},
    )
    async def list_triggers_occurrences(self, request: Request_) -> models.TriggerOccurrenceCursorResponse:
        """List what a trigger has met, newest first, 15 to a page where nothing is said."""
        asked = await requests.page(request, None)
        trigger_id = await id_of(request, "triggerID")
        found = await event_triggers.occurrences(credential(request), trigger_id, asked.size, asked.edge)
        data = [models.occurrence(row) for row in found.rows]
        return models.TriggerOccurrenceCursorResponse(
            models.TriggerOccurrenceCursor(data=data, **cursors.around(asked, found))
        )


class BusEventController(Controller):
    """Events of the bus. Ours: the vendor's service reads them from a broker."""

    path = "/bus-events"
    tags = ("Triggers",)

    @post("/", operation_id=named("publishBusEvent"), opt={"body": "Envelope"}, status_code=202)
    async def publish_bus_event(self, request: Request_) -> models.BusEventResponse:
        """Send an event to the account's triggers, in the vendor's envelope: each meets it once, whenever it comes again."""
        access = credential(request)
        async with proving(request):
            sent = decoded(await request.body(), models.Envelope)
        received = await event_triggers.receive(access, models.bus_event(sent))
        return models.BusEventResponse(models.taken(received))
