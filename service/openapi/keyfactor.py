"""The document of the Keyfactor dialect: the vendor's operations by the names that its first SDKs have for them."""

from typing import Any

from service.keyfactor import controllers, definition_models, errors, instance_models, types
from service.keyfactor.controllers import keyfactor_router
from service.keyfactor.errors import answer_of
from service.keyfactor.paths import PRODUCT_VERSION
from service.keyfactor.requests import API_VERSION, LARGEST_PAGE, PAGE_SIZE, REQUESTED_WITH, SCOPES
from service.keyfactor.steps import step
from service.openapi.keyfactor_examples import REQUESTS, RESPONSES
from service.openapi.parts import SCHEMAS, component_schemas
from service.openapi.vendors import HEADERS, Vendor

DESCRIPTION = """\
Workflow instances and definitions in the words of the Keyfactor Command API, so that the vendor's SDKs work unchanged. Paths are
compared without regard to case, names of parameters and fields too; the parameters of lists are taken with any of the vendor's
prefixes or with none.

The account is the one that the proof is good for: HTTP Basic with `ACCOUNT\\user:password` or `client_id:client_secret`, or a
bearer token. Every answer has `X-Keyfactor-Product-Version`. Errors have a code and a message, whatever their status is.
"""
TAGS = {
    "Status": "What there is.",
    "Security": "Who may decide.",
    "WorkflowDefinition": "Definitions: make, list, read, change, publish, delete, and what they can be made of.",
    "WorkflowInstance": "Instances: list, read, signal, stop, restart, delete.",
}
WHOLE_NUMBER = {"type": "integer", "format": "int32", "minimum": 1}
PATH_PARAMETERS = {
    "instanceId": {"description": "The instance's Id.", "schema": {"type": "string", "format": "uuid"}},
    "definitionId": {"description": "The definition's Id.", "schema": {"type": "string", "format": "uuid"}},
    "extensionName": {"description": "A kind of step.", "schema": {"type": "string"}},
    "version": {"description": "The version's number.", "schema": WHOLE_NUMBER},
}
QUERY_PARAMETERS = {
    "queryString": {
        "description": 'Comparisons such as `Status -eq 2 AND Title -contains "web"`; without it, everything.',
        "schema": {"type": "string", "maxLength": 4096},
    },
    "pageReturned": {
        "description": "Which page, from 1.",
        "schema": WHOLE_NUMBER | {"default": 1},
    },
    "returnLimit": {
        "description": f"Most entries of a page, {LARGEST_PAGE} at the most.",
        "schema": WHOLE_NUMBER | {"maximum": LARGEST_PAGE, "default": PAGE_SIZE},
    },
    "sortField": {"description": "The name of a field.", "schema": {"type": "string"}},
    "sortAscending": {
        "description": "0 is ascending, 1 descending, as with the vendor.",
        "schema": {"type": "integer", "format": "int32", "enum": [0, 1], "default": 0},
    },
    "version": {
        "description": "The version of the definition; the published one where none is named.",
        "schema": WHOLE_NUMBER,
    },
    "definitionVersion": {
        "description": "The version; the newest one where none is named.",
        "schema": WHOLE_NUMBER,
    },
    "exportable": {"description": "Leave RoleIds out.", "schema": {"type": "boolean", "default": False}},
    "force": {
        "description": "Nothing here: what is made or changed starts no workflow by itself.",
        "schema": {"type": "boolean", "default": False},
    },
}
ALWAYS = (
    {
        "name": REQUESTED_WITH,
        "in": "header",
        "required": True,
        "description": "Any text will do; the vendor's clients send `APIClient`, browsers `XMLHttpRequest`.",
        "schema": {"type": "string", "default": "APIClient"},
    },
    {
        "name": API_VERSION,
        "in": "header",
        "required": False,
        "description": "1 or 2; version 2 has `Keys` in the place of a definition's `Key`.",
        "schema": {"type": "string", "default": "1"},
    },
)
BODIES = {
    "DefinitionStepRequests": {
        "title": "DefinitionStepRequests",
        "description": "All steps of a definition, in any order: their outputs say which follows which.",
        "type": "array",
        "items": {"$ref": SCHEMAS + "Step"},
    },
    "DefinitionEnabled": {
        "title": "DefinitionEnabled",
        "description": "Whether a definition may start instances.",
        "type": "boolean",
    },
}
OWN_HEADERS = {
    "ProductVersion": f"`{PRODUCT_VERSION[1].decode()}`, whose API this is.",
    "TotalCount": "How many entries all pages have together.",
    "Location": "Where the new instance is.",
}
BASIC = {
    "type": "http",
    "scheme": "basic",
    "description": "`ACCOUNT\\user:password`, or `client_id:client_secret` of a machine client.",
}
KEYFACTOR = Vendor(
    routers=lambda: [keyfactor_router()],
    scopes=SCOPES,
    error=answer_of,
    path_parameters=PATH_PARAMETERS,
    query_parameters=QUERY_PARAMETERS,
    requests=REQUESTS,
    responses=RESPONSES,
    always=ALWAYS,
    proofs=("accessToken", "basic"),
    answered=(("X-Keyfactor-Product-Version", "ProductVersion"),),
    listed=(("x-total-count", "TotalCount"),),
)


def keyfactor_document() -> dict[str, Any]:
    """Make the document of the Keyfactor dialect."""
    models = component_schemas(controllers, definition_models, errors, instance_models, step, types)
    return KEYFACTOR.document(
        "Keyfactor", DESCRIPTION, TAGS, models | BODIES, HEADERS | OWN_HEADERS, basic=BASIC
    )
