"""The OpenAPI documents, read for tests: every operation, every object."""

from collections.abc import Iterator
from typing import Any

import msgspec

from service.openapi import FOLDER


def committed(name: str) -> dict[str, Any]:
    """A document as it is committed."""
    read: dict[str, Any] = msgspec.json.decode((FOLDER / name).read_bytes())
    return read


def operations_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A document's operations by their ids, which have to differ."""
    found = [operation for _, _, operation in walked(document)]
    by_id = {operation["operationId"]: operation for operation in found}
    assert len(by_id) == len(found), "two operations share an id"
    return by_id


def walked(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Walk over method, path and operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Walk over every object of a document."""
    if isinstance(node, dict):
        yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(one)
