"""The document of the Formance dialect: the vendor's operations, each with and without the account in its path."""

from typing import Any

from service.formance import models, trigger_models
from service.formance.controllers import formance_routers
from service.formance.errors import answer_of
from service.formance.requests import SCOPES
from service.openapi.formance_examples import REQUESTS, RESPONSES
from service.openapi.parts import component_schemas
from service.openapi.vendors import Vendor

DESCRIPTION = """\
Workflows of stages and their instances, in the words of the Formance orchestration API (Flows), so that the vendor's SDKs
work unchanged: v1 below `/api/orchestration`, v2 below `/api/orchestration/v2`.

The account is the one that the token is good for; a token that is good for several names it in the path. Lists are ordered,
newest first. Errors have one of three codes, whatever their status is, and are always JSON.
"""
TAGS = {
    "Info": "What answers.",
    "Workflows": "Workflows: write, list, read, delete, run.",
    "Instances": "Runs of workflows: list, read, send events, abort, and their history.",
    "Triggers": "What starts workflows when events come: make, list, read, test, delete, what came of them; the events.",
}
PATH_PARAMETERS = {
    "accountId": {"description": "The account's id.", "schema": {"type": "string", "format": "uuid"}},
    "flowId": {"description": "The workflow's id.", "schema": {"type": "string"}},
    "workflowID": {"description": "The workflow's id.", "schema": {"type": "string"}},
    "instanceID": {"description": "The instance's id.", "schema": {"type": "string"}},
    "triggerID": {"description": "The trigger's id.", "schema": {"type": "string"}},
    "number": {"description": "The stage's place, from 0.", "schema": {"type": "integer", "minimum": 0}},
}
QUERY_PARAMETERS = {
    "wait": {
        "description": "Answer when the instance has ended, or after 10 minutes: as it is by then.",
        "schema": {"type": "boolean"},
    },
    "running": {
        "description": "Only instances that have not ended; `false` filters nothing.",
        "schema": {"type": "boolean"},
    },
    "workflowID": {
        "description": "Only instances of this workflow; none where it is unknown or deleted.",
        "schema": {"type": "string"},
    },
    "name": {
        "description": "Only triggers whose name contains this, in any case.",
        "schema": {"type": "string"},
    },
    "cursor": {
        "description": "Where to go on: `next` or `previous` of another page. It knows the page's size and the filters.",
        "schema": {"type": "string"},
    },
    "pageSize": {
        "description": "Most entries of a page: 15 where nothing is said; above 1,000 it is 1,000.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
VARIABLES = {
    "title": "Variables",
    "description": "What `${name}` stands for in the stages; a name that is not here stands for nothing.",
    "type": "object",
    "additionalProperties": {"type": "string"},
}
PAYLOAD = {
    "title": "EventPayload",
    "description": "An event's payload, at most 64 KiB: what expressions call `event`.",
    "type": "object",
    "additionalProperties": True,
}
FORMANCE = Vendor(
    routers=formance_routers,
    scopes=SCOPES,
    error=answer_of,
    path_parameters=PATH_PARAMETERS,
    query_parameters=QUERY_PARAMETERS,
    requests=REQUESTS,
    responses=RESPONSES,
)


def formance_document() -> dict[str, Any]:
    """Make the document of the Formance dialect."""
    schemas = component_schemas(models, trigger_models) | {"Variables": VARIABLES, "EventPayload": PAYLOAD}
    return FORMANCE.document("Formance", DESCRIPTION, TAGS, schemas)
