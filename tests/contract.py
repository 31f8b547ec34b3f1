"""Holds every answer in every test against the committed OpenAPI documents."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import msgspec

FOLDER = Path(__file__).parent.parent / "openapi"


class Contract:
    """One document: which operation an exchange belongs to, and whether its answer is one of the documented ones."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.paths = [
            (re.compile("^" + re.sub(r"\{\w+\}", "[^/]+", path) + "/?$"), operations)
            for path, operations in document["paths"].items()
        ]
        self._validators: dict[tuple[str, int, str], jsonschema_rs.Validator] = {}

    @classmethod
    @cache
    def of(cls, name: str) -> "Contract":
        """Read a committed document."""
        return cls(msgspec.json.decode((FOLDER / name).read_bytes()))

    async def check(self, response: httpx.Response) -> None:
        """Fail unless the answer's status, media type and body are documented for its operation."""
        assert response.status_code < 500 or response.request.url.path == "/readyz", "the service failed"
        assert response.headers["x-request-id"]
        operation = self.operation(response.request.method, response.request.url.path)
        if operation is None:
            return
        answer = operation["responses"].get(str(response.status_code))
        assert answer is not None, f"{response.status_code} is not documented for {operation['operationId']}"
        answer = self.resolved(answer)
        for name, header in answer.get("headers", {}).items():
            assert name in response.headers or not self.resolved(header).get("required"), f"{name} is missing"
        await response.aread()
        self.check_body(response, answer.get("content"), operation["operationId"])

    def check_body(self, response: httpx.Response, contents: dict[str, Any] | None, operation: str) -> None:
        """Fail unless the body is one of the documented ones; an answer without any has an empty body."""
        if contents is None:
            assert response.content == b"", f"{operation} answered a body that is not documented"
            return
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in contents, f"{media_type} is not documented for {operation}"
        body = response.json() if media_type.endswith("json") else response.text
        about = operation, response.status_code, media_type
        if about not in self._validators:  # making one takes a thousand times as long as using it
            schema = contents[media_type]["schema"] | {"components": self.document["components"]}
            self._validators[about] = jsonschema_rs.validator_for(schema)
        self._validators[about].validate(body)

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """Find the operation of a request."""
        for pattern, operations in self.paths:
            if pattern.match(path):
                found: dict[str, Any] | None = operations.get(method.lower())
                return found
        return None

    def resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """Follow a reference to a shared answer."""
        found: Any = node
        if "$ref" in node:
            found = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
        resolved: dict[str, Any] = found
        return resolved
