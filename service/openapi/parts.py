"""What the documents share: the application's handlers, schemas of models, references to what is described once."""

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

COMPONENTS = "#/components/"
SCHEMAS = COMPONENTS + "schemas/"
METHODS = ("get", "post", "put", "delete", "patch")
# What every document says of the project.
CONTACT = {
    "contact": {"name": "The maintainers of Tutti"},
    "license": {"name": "Proprietary", "identifier": "LicenseRef-Proprietary"},
}
REQUEST_ID = "The id of this request, in the service's log as well; a UUID sent as `X-Request-Id` is kept."


def route_handlers(app: Litestar) -> Iterator[HTTPRouteHandler]:
    """Walk over an application's HTTP handlers."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler, HTTPRouteHandler):
                yield handler


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Walk over a document's operations."""
    for path in document["paths"].values():
        for method in METHODS:
            if method in path:
                yield path[method]


def titled(docstring: str) -> tuple[str, str]:
    """Take the beginning of a docstring as summary, up to its first stop of any kind; all of it as description."""
    whole = " ".join(docstring.split())
    return re.split(r"[.;:](?: |$)", whole, maxsplit=1)[0], whole


def headers(*named: tuple[str, str]) -> dict[str, Any]:
    """Refer to described headers."""
    return {header: {"$ref": f"{COMPONENTS}headers/{name}"} for header, name in named}


def component_schemas(*modules: ModuleType) -> dict[str, Any]:
    """Write every model that a module defines; msgspec keeps the formats and descriptions that Litestar loses."""
    names = {module.__name__ for module in modules}
    every = [one for module in modules for one in vars(module).values()]
    own = [one for one in every if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    (_, written) = msgspec.json.schema_components(
        [one for one in own if one.__module__ in names], ref_template=SCHEMAS + "{name}"
    )
    for schema in written.values():
        for field in schema["properties"].values():
            plain(field)
    return written


def plain(field: dict[str, Any]) -> None:
    """Say of a field what generators do not guess: an object without known fields is open, our enums are of strings."""
    if field.get("type") == "object":
        field.setdefault("additionalProperties", True)
    if "enum" in field:
        field["type"] = "string"


def drop_unused(document: dict[str, Any]) -> None:
    """Leave out what is described once and that no operation leads to."""
    components = document["components"]
    starts = [document["paths"]]
    for kind in ("responses", "headers", "schemas"):
        every = components[kind]
        used = reachable(starts, COMPONENTS + f"{kind}/", every)
        components[kind] = {name: one for name, one in every.items() if name in used}
        starts.append(components[kind])


def reachable(node: Any, prefix: str, every: dict[str, Any]) -> set[str]:
    """Name the components of a kind that a part of the document refers to, and those that they refer to."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            name = str(one.get("$ref", "")).removeprefix(prefix)
            if name in every and name not in found:
                found.add(name)
                waiting.append(every[name])
            waiting += one.values()
    return found


def text(description: str | None = None) -> dict[str, Any]:
    """Describe a text field."""
    return {"type": "string"} | ({"description": description} if description else {})
