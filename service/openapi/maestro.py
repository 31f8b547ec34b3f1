"""The document of the Maestro dialect.

Litestar writes paths and parameters, msgspec the models. Here the document gets what neither can say: error answers in
both of the dialect's media types, scopes, headers, examples, bodies that are read raw.
"""

import http
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, get_args

from litestar import Litestar, Router
from litestar.openapi import OpenAPIConfig

from auth.roles import HOLDERS, Role, needed_role, scopes_for
from auth.scopes import ADMINISTRATION, MAESTRO, SCOPES
from service.app import maestro_router
from service.errors import InternalError, KeyReused, LimitReached
from service.maestro import (
    account_examples,
    account_models,
    action_examples,
    action_models,
    audit_models,
    errors,
    event_types,
    examples,
    history_models,
    integration_models,
    member_examples,
    member_models,
    models,
    webhook_examples,
    webhook_models,
    work_item_examples,
    work_item_models,
)
from service.maestro.errors import PROBLEM_JSON, TYPES
from service.openapi.parts import (
    COMPONENTS,
    CONTACT,
    REQUEST_ID,
    SCHEMAS,
    component_schemas,
    drop_unused,
    headers,
    operations,
    route_handlers,
    text,
    titled,
)
from service.settings import Settings
from tenancy.errors import BadRequest, Conflict, Forbidden, NotFound, TooLarge, Unauthenticated, Unavailable

# Which refusals an operation can answer with: every one, those that read a body, those that a state can forbid.
EVERYWHERE = (400, 401, 403, 404, 429, 500, 503)
WITH_BODY = (413, 415)
CONFLICT = 409
ANOTHER_BODY = 422
CONFLICTING = {
    "pauseNewWorkflowInstances",
    "resumePausedWorkflow",
    "cancelWorkflowInstance",
    "signalWorkflowInstance",
    "createWorkflow",
    "createWorkflowFromYaml",
    "replaceWorkflow",
    "replaceWorkflowFromYaml",
    "publishWorkflow",
    "archiveWorkflow",
    "suspendWorkflowInstance",
    "resumeWorkflowInstance",
    "restartWorkflowInstance",
    "deleteWorkflowInstance",
    "cancelWorkflowInstances",
    "restartWorkflowInstances",
    "cancelBulkAction",
    "completeWorkItem",
    "claimWorkItem",
    "releaseWorkItem",
    "reassignWorkItem",
    "createWebhook",
    "rotateWebhookSecret",
    "pingWebhook",
    "redeliverWebhookDelivery",
    "changeMember",
    "removeMember",
    "createInvitation",
    "createIntegration",
    "addIntegrationKey",
    "TriggerWorkflow",  # a setting makes 409 of a trigger on a paused workflow
}
# What may be asked again in some seconds.
PATIENT = (LimitReached.status, Unavailable.status)
# Whose answers are streams of events.
FOLLOWING = {"followWorkflowInstance", "followEvents"}
# What is done in the background, once the caller has confirmed how many things it is done to: until then the answer is 200.
CONFIRMED = {"cancelWorkflowInstances", "restartWorkflowInstances"}
REFUSALS = (
    BadRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    TooLarge,
    KeyReused,
    LimitReached,
    Unavailable,
    InternalError,
)
ANSWERS = {
    200: "Done.",
    201: "Created.",
    202: "Accepted; it takes effect soon after.",
    204: "Done; there is nothing to tell.",
}
REQUESTS = (
    examples.REQUESTS
    | account_examples.REQUESTS
    | action_examples.REQUESTS
    | member_examples.REQUESTS
    | webhook_examples.REQUESTS
    | work_item_examples.REQUESTS
)
RESPONSES = (
    examples.RESPONSES
    | account_examples.RESPONSES
    | action_examples.RESPONSES
    | member_examples.RESPONSES
    | webhook_examples.RESPONSES
    | work_item_examples.RESPONSES
)
# Bodies that handlers take as bytes or as any object, so that the service itself words what is wrong with them.
BODIES: dict[str, dict[str, Any]] = {
    "createWorkflow": {"$ref": SCHEMAS + "WorkflowDocument"},
    "replaceWorkflow": {"$ref": SCHEMAS + "WorkflowDocument"},
    "createWorkflowFromYaml": {"type": "string"},
    "replaceWorkflowFromYaml": {"type": "string"},
    "signalWorkflowInstance": {"$ref": SCHEMAS + "InstanceEvent"},
    "publishEvent": {"$ref": SCHEMAS + "InstanceEvent"},
}
DESCRIPTION = """\
Workflows and their instances, in the words of the Docusign Maestro API, so that the vendor's SDKs work unchanged, and
what that API lacks: authoring, paging, signals, events.

Errors carry the fields of both generations of the vendor's SDKs; the `User-Agent` decides between `application/json` and
`application/problem+json`, and between 200 and 201 for a trigger.
"""
TAGS = {
    "Workflows": "Workflows as the vendor's SDKs see them: list, trigger, pause, resume.",
    "Authoring": "Writing workflows as CNCF Serverless Workflow documents; the vendor's API has no such operations.",
    "Workflow Instances": "Runs of workflows: list, read, signal, suspend, resume, cancel, restart, delete.",
    "Bulk Actions": "Cancelling or restarting every instance that a filter finds, in the background.",
    "Work Items": "What instances ask of people (`call: approval`, `call: form`): list, read, claim, decide, hand on.",
    "Account": "What the account's administrators have set, and what the operator has limited it to.",
    "Members": "Who belongs to the account and as what, and who is invited to.",
    "Integrations": "The account's OAuth clients (integration keys), and what it allows them for all of its members.",
    "Audit": "Who changed what, when, on which request: list, export as JSON lines.",
    "Events": "Events of the account, for every instance that listens and every schedule that waits for them.",
    "Webhooks": "Endpoints of the account's own that are told of its events, and the log of what was sent to them.",
}
# Read by hand: Litestar would make a mapping of all headers for it.
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names this trigger for 24 hours, to its caller and workflow: the same request again starts nothing and is"
    " answered as the first was, with `Idempotent-Replayed: true`; with another body it is refused (422). A UUID is a good one.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x20-\x7e]+$"},
}
LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that was read: what comes behind it is told; empty: none was. Browsers send it by themselves.",
    "schema": {"type": "string", "pattern": r"^(\d{1,18}-\d{1,18})?$"},
}
EVENTS = {
    "type": "string",
    "contentMediaType": "text/event-stream",
    "contentSchema": {"$ref": SCHEMAS + "RecordedEvent"},
}
LIMITED = (
    ("RateLimit-Policy", "RateLimitPolicy"),
    ("RateLimit", "RateLimit"),
    ("X-RateLimit-Limit", "XRateLimitLimit"),
    ("X-RateLimit-Remaining", "XRateLimitRemaining"),
    ("X-RateLimit-Reset", "XRateLimitReset"),
)
PATH_PARAMETERS = {
    "accountId": "The account's id; another account's things answer as if they did not exist.",
    "workflowId": "The workflow's id.",
    "instanceId": "The instance's id.",
    "bulkActionId": "The bulk action's id.",
    "workItemId": "The work item's id.",
    "webhookId": "The webhook's id.",
    "deliveryId": "The delivery's id.",
    "userId": "The user's id.",
    "invitationId": "The invitation's id.",
    "clientId": "The integration's id, which is its `client_id`.",
    "keyId": "The public key's id: the first 32 digits of its fingerprint, as a UUID.",
}
HEADERS = {
    "RequestId": REQUEST_ID,
    "Location": "Path of what was made.",
    "Link": 'The next page, as `<address>; rel="next"` (RFC 8288); absent on the last one.',
    "Replayed": "`true` where an earlier request with the same key has started what is told; absent otherwise.",
    "RetryAfter": "After how many seconds to try again.",
    "RateLimit": "Of an account whose requests are limited: how many it may make at once (`r`), and after how many seconds it"
    " may make all of them (`t`), as draft-ietf-httpapi-ratelimit-headers has it.",
    "RateLimitPolicy": "How many requests it may make at once (`q`), and in how many seconds they come again (`w`).",
    "XRateLimitLimit": "As `q` of `RateLimit-Policy`, by the vendor's name.",
    "XRateLimitRemaining": "As `r` of `RateLimit`, by the vendor's name.",
    "XRateLimitReset": "When it may make all of them again, as a Unix time.",
    "Challenge": "Which proof is missing (RFC 6750, 3).",
}


def maestro_document() -> dict[str, Any]:
    """Make the document of the Maestro dialect."""
    written = generated(maestro_router())
    for operation in operations(written):
        complete(operation)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Tutti: the Maestro dialect",
            "version": "1.0.0",
            "description": DESCRIPTION,
            **CONTACT,
        },
        "servers": [{"url": Settings().public_url, "description": "What `make run` starts."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": dict(sorted(written["paths"].items())),
        "components": {
            "schemas": schemas(),
            "responses": {
                str(status): refusal(status)
                for status in sorted({*EVERYWHERE, *WITH_BODY, CONFLICT, ANOTHER_BODY})
            },
            "headers": {
                name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()
            },
            "securitySchemes": {"accessToken": access_token(Settings().public_url)},
        },
    }
    drop_unused(document)
    return document


def generated(router: Router) -> dict[str, Any]:
    """Let Litestar write what it knows of a dialect's routes; note the media type of bodies that are read raw."""
    app = Litestar([router], openapi_config=OpenAPIConfig(title="", version="", use_handler_docstrings=True))
    document: dict[str, Any] = deepcopy(app.openapi_schema.to_schema())
    handlers = {handler.operation_id: handler for handler in route_handlers(app)}
    for operation in operations(document):
        options = handlers[operation["operationId"]].opt
        operation["security"] = [{"accessToken": list(scopes_for(options["right"], MAESTRO))}]
        operation["x-right"] = options["right"]
        operation["x-media-type"] = options.get("media_type")
        operation["x-optional-body"] = options.get("optional_body", False)
    return document


def complete(operation: dict[str, Any]) -> None:
    """Turn what Litestar wrote of an operation into what a client needs to know."""
    name = operation["operationId"]
    operation.pop("deprecated", None)
    operation["summary"], operation["description"] = titled(operation["description"])
    right = operation.pop("x-right")
    if set(HOLDERS[right]) != {*get_args(Role)}:
        operation["description"] += f" This needs {needed_role(right)}."
    operation["parameters"] = [parameter(one) for one in operation["parameters"]]
    media_type, optional = operation.pop("x-media-type"), operation.pop("x-optional-body")
    if media_type is not None:
        operation["requestBody"] = request_body(operation, media_type) | {"required": not optional}
    operation["responses"] = successes(operation) | refusals(operation)
    if name in FOLLOWING:
        operation["parameters"].append(deepcopy(LAST_EVENT_ID))
        operation["responses"]["200"]["content"]["text/event-stream"]["schema"] = deepcopy(EVENTS)
        told = "The instance has ended, and all of it has been told."
        nothing = {"description": told, "headers": headers(("X-Request-Id", "RequestId"), *LIMITED)}
        types = event_types.ACCOUNT_TYPES
        if name == "followWorkflowInstance":
            operation["responses"]["204"] = nothing
            types = event_types.INSTANCE_TYPES
        operation["description"] += f" {types}"
    if name == "TriggerWorkflow":
        operation["parameters"].append(deepcopy(IDEMPOTENCY_KEY))
        also = deepcopy(operation["responses"]["201"])
        also["description"] = "Created, in the status that the SDK generations of beta 3 to 7 know."
        operation["responses"] = {"200": also} | operation["responses"]
    if name in CONFIRMED:
        operation["responses"] = {"200": unconfirmed(operation["responses"]["202"])} | operation["responses"]


def unconfirmed(accepted: dict[str, Any]) -> dict[str, Any]:
    """Describe the answer to a caller who has still to confirm how many things something is done to."""
    also = deepcopy(accepted)
    also["description"] = "Nothing was done: the count has still to be confirmed."
    also["headers"] = headers(("X-Request-Id", "RequestId"), *LIMITED)
    for content in also["content"].values():
        content["example"] = action_examples.UNCONFIRMED
    return also


def parameter(written: dict[str, Any]) -> dict[str, Any]:
    """Write a parameter without what is the default anyway; one that may be left out is never null on the wire."""
    schema = without_null(written["schema"])
    schema.pop("description", None)
    description = written.get("description") or PATH_PARAMETERS[written["name"]]
    kept = {key: written[key] for key in ("name", "in", "required")}
    return kept | {"description": description, "schema": schema}


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Take the null out of a schema that allows it besides one other type."""
    plain = {key: value for key, value in schema.items() if key != "oneOf"}
    for branch in schema.get("oneOf", ()):
        if branch != {"type": "null"}:
            plain = branch | plain
    if isinstance(plain.get("type"), list):
        (plain["type"],) = [kind for kind in plain["type"] if kind != "null"]
    if "enum" in plain:
        plain["enum"] = [value for value in plain["enum"] if value is not None]
    return plain


def request_body(operation: dict[str, Any], media_type: str) -> dict[str, Any]:
    """Describe the body that an operation reads."""
    name = operation["operationId"]
    schema = BODIES.get(name) or operation["requestBody"]["content"][media_type]["schema"]
    return {"content": {media_type: {"schema": without_null(schema), "example": REQUESTS[name]}}}


def successes(operation: dict[str, Any]) -> dict[str, Any]:
    """Describe the answers to what was done."""
    answers = {}
    for status, written in operation["responses"].items():
        if int(status) >= http.HTTPStatus.BAD_REQUEST:
            continue
        answers[status] = {
            "description": ANSWERS[int(status)],
            "headers": headers(*success_headers(operation, int(status))),
        }
        for media_type, content in written.get("content", {}).items():  # none of what answers nothing
            schema = content["schema"] or {"type": "string"}  # of a stream it knows nothing
            told = {"schema": schema, "example": RESPONSES[operation["operationId"]]}
            answers[status]["content"] = {media_type: told}
    return answers


def success_headers(operation: dict[str, Any], status: int) -> Iterator[tuple[str, str]]:
    """Name the headers of a success: where the new thing is, where the next page is."""
    yield "X-Request-Id", "RequestId"
    yield from LIMITED
    if status == http.HTTPStatus.CREATED or operation["operationId"] in CONFIRMED:
        yield "Location", "Location"
    if operation["operationId"] == "TriggerWorkflow":
        yield "Idempotent-Replayed", "Replayed"
    if any(one["name"] == "ctoken" for one in operation["parameters"]):
        yield "Link", "Link"


def refusals(operation: dict[str, Any]) -> dict[str, Any]:
    """Refer to every refusal that an operation can answer with."""
    statuses = {*EVERYWHERE}
    if "requestBody" in operation:
        statuses |= {*WITH_BODY}
    if operation["operationId"] in CONFLICTING:
        statuses.add(CONFLICT)
    if operation["operationId"] == "TriggerWorkflow":
        statuses.add(ANOTHER_BODY)
    return {str(status): {"$ref": f"{COMPONENTS}responses/{status}"} for status in sorted(statuses)}


def refusal(status: int) -> dict[str, Any]:
    """Describe one refusal, in both media types that SDK generations want."""
    known = {kind.status: kind for kind in REFUSALS}.get(status)
    phrase = http.HTTPStatus(status).phrase
    title, detail = (known.title, known().detail) if known else (phrase, f"{phrase}.")
    named = [("X-Request-Id", "RequestId")]
    if status in (Unauthenticated.status, Forbidden.status):
        named.append(("WWW-Authenticate", "Challenge"))
    if status in PATIENT:
        named.append(("Retry-After", "RetryAfter"))
    if status == LimitReached.status:
        named += LIMITED
    example = examples.error(status, TYPES.get(status, "about:blank"), title, detail)
    content = {"schema": {"$ref": SCHEMAS + "ErrorBody"}, "example": example}
    return {
        "description": detail,
        "headers": headers(*named),
        "content": {PROBLEM_JSON: content, "application/json": deepcopy(content)},
    }


def access_token(url: str) -> dict[str, Any]:
    """Describe how a client gets an access token, and what its scopes allow."""
    scopes = {name: SCOPES[name] for name in (*MAESTRO, ADMINISTRATION)}
    token = f"{url}/oauth/token"
    return {
        "type": "oauth2",
        "description": "An opaque access token of a user or a machine client, sent as `Authorization: Bearer`.",
        "flows": {
            "authorizationCode": {
                "authorizationUrl": f"{url}/oauth/auth",
                "tokenUrl": token,
                "refreshUrl": token,
                "scopes": scopes,
            },
            "clientCredentials": {"tokenUrl": token, "scopes": dict(scopes)},
        },
    }


def schemas() -> dict[str, Any]:
    """Write every model of the dialect, and what an author writes."""
    return dict(
        sorted(
            (
                component_schemas(
                    models,
                    account_models,
                    action_models,
                    history_models,
                    audit_models,
                    webhook_models,
                    member_models,
                    integration_models,
                    work_item_models,
                    errors,
                )
                | DOCUMENT_SCHEMAS
            ).items()
        )
    )


# What an author writes. The service reads these documents itself, so no model of ours describes them.
DOCUMENT_SCHEMAS: dict[str, Any] = {
    "WorkflowDocument": {
        "title": "WorkflowDocument",
        "description": "A document of the CNCF Serverless Workflow DSL 1.0.",
        "type": "object",
        "required": ["document", "do"],
        "properties": {
            "document": {"$ref": SCHEMAS + "WorkflowDocumentHead"},
            "do": {"type": "array", "items": {"$ref": SCHEMAS + "WorkflowDocumentTask"}},
        },
        "additionalProperties": True,
    },
    "WorkflowDocumentHead": {
        "title": "WorkflowDocumentHead",
        "description": "What the document says of itself.",
        "type": "object",
        "required": ["dsl", "namespace", "name", "version"],
        "properties": {
            "dsl": text("the DSL's version, as in 1.0.3"),
            "namespace": text(),
            "name": text("with the namespace, the workflow's name in the account; it cannot change"),
            "version": text("a published version cannot change: a new document needs a new one"),
            "title": text("what people see; the name where it is left out"),
            "summary": text(),
        },
        "additionalProperties": True,
    },
    "WorkflowDocumentTask": {
        "title": "WorkflowDocumentTask",
        "description": "One task: a single field whose name is the task's and whose value defines it.",
        "type": "object",
        "additionalProperties": True,
    },
}
