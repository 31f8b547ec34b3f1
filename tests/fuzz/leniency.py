"""Where an answer may differ from what a document says, each place with the reason: changes of the copy that is gone through.

What stands here is a vendor's contract or an RFC, or a wait that would take the run's whole time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

EVENT_STREAM = "text/event-stream"
# The document describes the text of the stream; schemathesis reads one event of it after the other.
ONE_EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
}
# As the vendor's server reads them: `1` and `true` are yes, and whatever else is sent is no.
SWITCHES = {"running": {"type": "string"}}
# A run with `wait=true` answers after ten minutes where its workflow waits for an event that nobody sends.
LEFT_OUT = {("formance", "wait")}
# As the vendor's server, whose decoder of JSON takes null for what is left out.
NULLABLE = {"WorkflowConfig": "name"}
# A body that may be left out may be null, as generated clients write that there is none; tests/maestro/test_bad_input.py has them.
NOTHING = {"type": "null"}
# RFC 6749, 3.2: parameters that a grant does not know are ignored, and the document has one form for all grants. Any text is a
# form, be it of a field that nobody knows.
FORMS = ("/oauth/token", "/api/auth/oauth/token", "/oauth/userinfo")


def adapted(name: str, document: dict[str, Any], ids: Mapping[str, list[str]]) -> dict[str, Any]:
    """Change a document's copy where its service has a reason to differ; parameters that name ids name those that there are."""
    for _, operation in operations(document):
        operation["parameters"] = [
            parameter(name, one, ids)
            for one in (resolved(document, each) for each in operation.get("parameters", ()))
            if (name, one["name"]) not in LEFT_OUT
        ]
        body = operation.get("requestBody", {"required": True})
        for content in () if body.get("required") else body["content"].values():
            content["schema"] = {"anyOf": [content["schema"], NOTHING]}
        for response in operation["responses"].values():
            if EVENT_STREAM in response.get("content", {}):
                response["content"][EVENT_STREAM]["schema"] = ONE_EVENT
                del response["content"][EVENT_STREAM]["example"]
    for schema, field in NULLABLE.items() if name == "formance" else ():
        document["components"]["schemas"][schema]["properties"][field] = {"type": ["string", "null"]}
    return document


def parameter(document: str, one: dict[str, Any], ids: Mapping[str, list[str]]) -> dict[str, Any]:
    """Change one parameter."""
    if document == "formance" and one["name"] in SWITCHES:
        return one | {"schema": SWITCHES[one["name"]]}
    if one["in"] == "path" and ids.get(one["name"]):
        kept = {key: value for key, value in one.items() if key not in ("example", "examples")}
        return kept | {"schema": {"type": "string", "enum": ids[one["name"]]}}
    return one


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk over a document's operations, each with its path."""
    for path, item in document["paths"].items():
        for method in ("get", "post", "put", "patch", "delete"):
            if method in item:
                yield path, item[method]


def resolved(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference to a shared parameter."""
    found: dict[str, Any] = part
    if "$ref" in part:
        found = document["components"]["parameters"][part["$ref"].rpartition("/")[2]]
    return found
