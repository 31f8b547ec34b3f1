"""The vendor's calls on workflow definitions. Each reads, calls one operation and words its result.

Version 2 of the API, which a header asks for, has `Keys` where version 1 has `Key`; either is taken from both.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from litestar import Controller, Response, delete, get, post, put

from auth.roles import Right
from service.exchange import header
from service.keyfactor import definition_models as models
from service.keyfactor import requests, types
from service.keyfactor.errors import Code, Refused
from service.keyfactor.fields import Field, boolean, guid, sorted_by, text, typed
from service.keyfactor.query import parse
from service.keyfactor.requests import (
    API_VERSION,
    Listing,
    Request_,
    credential,
    id_of,
    list_parameters,
    proving,
)
from service.keyfactor.roles import ROLES
from service.keyfactor.steps import Compiled, Header, Step, StepsRefused, compiled
from service.keyfactor.steps.kinds import KINDS
from service.operations import definitions
from service.operations.conditions import Condition, holds
from service.operations.definitions import Made, Sort, Wanted
from service.operations.pages import Row
from service.process import sandbox_of
from tenancy.errors import NotFound

FIELDS: Mapping[str, Field] = {
    "displayname": text("display_name"),
    "id": guid("id"),
    "ispublished": boolean("is_published"),
    "workflowtype": text("workflow_type"),
}
SORTS: Mapping[str, Sort] = {
    "displayname": "display_name",
    "id": "id",
    "ispublished": "is_published",
    "workflowtype": "workflow_type",
    "draftversion": "draft_version",
    "publishedversion": "published_version",
}
STEP_FIELDS = {name: text(name) for name in ("displayname", "extensionname", "supportedworkflowtypes")}
TYPE_FIELDS = {name: text(name) for name in ("name", "workflowtype", "keytype")}
NAMES = {number: name for number, (name, _) in ROLES.items()}
LISTING = list_parameters("query")

Told = TypeVar("Told")


class DefinitionsController(Controller):
    """Definitions, and what they can be made of."""

    path = "/Workflow/Definitions"
    tags = ("WorkflowDefinition",)

    @get("/", operation_id="WorkflowDefinitionQuery", opt={"query": LISTING})
    async def list_definitions(self, request: Request_) -> Response[list[models.DefinitionQueryResponse]]:
        """List definitions, by DisplayName unless another sortField is named.

        A query may use DisplayName, Id, IsPublished and WorkflowType.
        """
        asked = await requests.listing(request)
        async with proving(request):
            wanted = Wanted(
                condition=condition_of(asked, FIELDS),
                sort=sorted_by(asked.sort or "DisplayName", SORTS),
                descending=asked.descending,
                size=asked.limit,
                offset=(asked.page - 1) * asked.limit,
            )
        found = await definitions.get_list(credential(request), wanted)
        second = is_second(request)
        return requests.listed([models.outline(row, second=second) for row in found.rows], found.total)

    @post(
        "/",
        operation_id="WorkflowDefinitionCreateNewDefinition",
        opt={"body": "DefinitionCreateRequest", "query": ("force",)},
        status_code=200,
    )
    async def create_definition(self, request: Request_) -> models.DefinitionResponse:
        """Create a definition without steps; one alone is for a WorkflowType and a Key."""
        await requests.flag(request, "force")  # a new definition starts nothing, so nothing needs it
        sent: models.DefinitionCreateRequest = await requests.body(request, models.DefinitionCreateRequest)
        async with proving(request):
            new = models.new_definition(sent)
            title, description = models.named(sent.display_name, sent.description)

        def make(workflow_id: UUID) -> dict[str, Any]:
            told = Header(
                id=workflow_id,
                number=1,
                display_name=title,
                description=description,
                workflow_type=new.workflow_type,
            )
            return made(told, ()).document

        row = await definitions.create(credential(request), sandbox_of(request), new, make)
        return models.definition(row, second=is_second(request))

    @get("/Steps", operation_id="WorkflowDefinitionQueryAvailableSteps", opt={"query": LISTING})
    async def list_steps(self, request: Request_) -> Response[list[types.AvailableStepQueryResponse]]:
        """List the kinds of steps that this service does.

        A query may use DisplayName, ExtensionName and SupportedWorkflowTypes.
        """
        rows = [
            {
                "displayname": kind.title,
                "extensionname": name,
                "supportedworkflowtypes": ", ".join(types.WORKFLOW_TYPES),
            }
            for name, kind in KINDS.items()
        ]
        found, total = await listed_here(request, rows, STEP_FIELDS, "displayname")
        return requests.listed([types.outlined(row["extensionname"]) for row in found], total)

    @get("/Steps/{extensionName:str}", operation_id="WorkflowDefinitionGetStepSchema")
    async def get_step(self, request: Request_) -> types.AvailableStepResponse:
        """Read a kind of step: its parameters, its signals, and the names that its outputs may have."""
        async with credential(request).rows(Right.READ):
            name = types.step_named(request.path_params["extensionName"])
        if name is None:
            raise NotFound(f"There is no such step; the steps are {', '.join(KINDS)}.")
        return types.available(name)

    @get("/Types", operation_id="WorkflowDefinitionQueryWorkflowTypes", opt={"query": LISTING})
    async def list_types(self, request: Request_) -> Response[list[types.WorkflowTypeQueryResponse]]:
        """List the types of workflows. A query may use Name."""
        rows = [
            {"name": name, "workflowtype": name, "keytype": kind}
            for name, kind in types.WORKFLOW_TYPES.items()
        ]
        found, total = await listed_here(request, rows, TYPE_FIELDS, "workflowtype")
        return requests.listed([types.workflow_type(row["name"]) for row in found], total)

    @get(
        "/{definitionId:str}",
        operation_id="WorkflowDefinitionGet",
        opt={"query": ("definitionVersion", "exportable")},
    )
    async def get_definition(self, request: Request_) -> models.DefinitionResponse:
        """Read a definition with its newest version, or with the one of a number; `exportable` leaves RoleIds out."""
        workflow_id = await named(request)
        number = await requests.number(request, "definitionVersion")
        exportable = await requests.flag(request, "exportable")
        row = await definitions.get(credential(request), workflow_id, number)
        return models.definition(row, second=is_second(request), exportable=exportable)

    @put(
        "/{definitionId:str}",
        operation_id="WorkflowDefinitionUpdateExistingDefinition",
        opt={"body": "DefinitionUpdateRequest", "query": ("force",)},
    )
    async def update_definition(self, request: Request_) -> models.DefinitionResponse:
        """Name and describe a definition anew; what is left out is cleared.

        Where its newest version is published, this makes another one.
        """
        workflow_id = await named(request)
        await requests.flag(request, "force")  # as above
        sent: models.DefinitionUpdateRequest = await requests.body(request, models.DefinitionUpdateRequest)
        async with proving(request):
            title, description = models.named(sent.display_name, sent.description)
            keys = None if sent.keys is None else models.keys_of(sent.keys)

        def make(present: Row, number: int) -> Made:
            steps = models.editable(present).steps
            return made(models.header(present, number, title, description), steps)

        row = await definitions.edit(credential(request), sandbox_of(request), workflow_id, make, keys)
        return models.definition(row, second=is_second(request))

    @delete("/{definitionId:str}", operation_id="WorkflowDefinitionDelete", status_code=204)
    async def delete_definition(self, request: Request_) -> None:
        """Delete a definition: it starts nothing any more, its instances go on, and its key is free."""
        workflow_id = await named(request)
        await definitions.delete(credential(request), workflow_id)

    @put(
        "/{definitionId:str}/Steps",
        operation_id="WorkflowDefinitionConfigureDefinitionSteps",
        opt={"body": "DefinitionStepRequests"},
    )
    async def put_steps(self, request: Request_) -> models.DefinitionResponse:
        """Give a definition other steps, in the place of all that it has; their outputs say which follows which.

        Where its newest version is published, this makes another one. A secret that is null stays what it is.
        """
        workflow_id = await named(request)
        steps: list[Step] = await requests.body(request, list[Step])

        def make(present: Row, number: int) -> Made:
            before = models.editable(present)
            return made(models.header(present, number, present["display_name"], before.description), steps)

        row = await definitions.edit(credential(request), sandbox_of(request), workflow_id, make)
        return models.definition(row, second=is_second(request))

    @post("/{definitionId:str}/Publish", operation_id="WorkflowDefinitionPublishDefinition", status_code=200)
    async def publish(self, request: Request_) -> models.DefinitionResponse:
        """Publish the newest version: what is started from now on runs it."""
        row = await definitions.publish(credential(request), await named(request))
        return models.definition(row, second=is_second(request))

    @post(
        "/{definitionId:str}/Publish/{version:str}",
        operation_id="WorkflowDefinitionPublishDefinitionVersion",
        status_code=200,
    )
    async def publish_version(self, request: Request_) -> models.DefinitionResponse:
        """Publish a version by its number: what is started from now on runs it."""
        workflow_id = await named(request)
        async with proving(request):
            number = version_in(request.path_params["version"])
        row = await definitions.publish(credential(request), workflow_id, number)
        return models.definition(row, second=is_second(request))

    @put(
        "/{definitionId:str}/Status",
        operation_id="WorkflowDefinitionUpdateStatus",
        opt={"body": "DefinitionEnabled", "query": ("force",)},
        status_code=204,
    )
    async def update_status(self, request: Request_) -> None:
        """Let a definition start instances (`true`), or not."""
        workflow_id = await named(request)
        await requests.flag(request, "force")  # as above
        enabled: bool = await requests.body(request, bool)
        await definitions.enable(credential(request), workflow_id, enabled=enabled)


async def named(request: Request_) -> UUID:
    """Read the id of the definition.

    Raises:
        Refused: it is no GUID.
    """
    return await id_of(request, "definitionId", Refused(Code.WRONG, "The definition's Id is not a GUID."))


def version_in(written: str) -> int:
    """Read the number of a version in the path.

    Raises:
        NotFound: it is none.
    """
    if not (written.isascii() and written.isdigit() and len(written) <= 9):
        raise NotFound("The definition has no such version.")
    return int(written)


def is_second(request: Request_) -> bool:
    """Whether a request is made by version 2 of the API."""
    return (header(request.scope, API_VERSION.encode()) or "").strip().startswith("2")


def made(told: Header, steps: Sequence[Step]) -> Made:
    """Make the document of a definition.

    Raises:
        Refused: its steps cannot be run.
    """
    try:
        found: Compiled = compiled(told, steps, NAMES)
    except StepsRefused as error:
        raise Refused(Code.DEFINITION, str(error)) from None
    return Made(found.document, found.secrets)


def condition_of(asked: Listing, fields: Mapping[str, Field]) -> Condition:
    """Read the query of a list.

    Raises:
        Refused: it is none, or about another list's fields.
    """
    return typed(parse(asked.query), fields, datetime.now(UTC))


async def listed_here(
    request: Request_, rows: list[dict[str, str]], fields: Mapping[str, Field], otherwise: str
) -> tuple[list[dict[str, str]], int]:
    """Make a page of a list that is the same for everybody, and say how many entries there are."""
    asked = await requests.listing(request)
    async with proving(request):
        condition = condition_of(asked, fields)
        by = sorted_by(asked.sort or otherwise, {name: name for name in fields})
    async with credential(request).rows(Right.READ):
        found = [row for row in rows if holds(condition, row)]
    found.sort(key=lambda row: row[by].lower(), reverse=asked.descending)
    begin = (asked.page - 1) * asked.limit
    return found[begin : begin + asked.limit], len(found)
