"""Formance's TypeScript SDK, the strictest of all: a null or a time without its zone is an answer that it refuses to read."""

import re
from typing import Any

import msgspec

from tests.compat.apps import App, Script
from tests.compat.operations import NAMES


class Strict(msgspec.Struct, frozen=True):
    """One version of the orchestration API, in the hands of a machine client or of whoever has a token."""

    script: Script
    app: App
    version: str
    token: str | None = None

    def call(self, operation: str, request: Any = None) -> Any:
        """Call an operation by Python's name; return the content of its answer, or the status where it has none.

        Raises:
            Refused: the SDK raised an error, which is its typed one or says that an answer cannot be read.
        """
        told = self.script.call(
            serverURL=self.app.live.url,
            clientID=self.app.id,
            clientSecret=self.app.secret,
            version=self.version,
            operation=camel(NAMES.get((self.version, operation), operation)),
            **({} if self.token is None else {"token": self.token}),
            **({} if request is None else {"request": {field(name): one for name, one in request.items()}}),
        )
        return told.get("content", told["status"])

    def made(self, *stages: dict[str, Any]) -> str:
        """Store a workflow; return its id."""
        found: str = self.call("create_workflow", {"name": "made by node", "stages": list(stages)})["data"][
            "id"
        ]
        return found

    def run(self, workflow_id: str, *, wait: bool = False, **variables: str) -> Any:
        """Run a workflow."""
        request = {"workflow_id": workflow_id, "wait": wait, "request_body": variables}
        return self.call("run_workflow", request)["data"]

    def pages(self, operation: str, **request: Any) -> list[list[Any]]:
        """Turn the pages of a list of v2's to its end."""
        page = self.call(operation, {"page_size": 2} | request)["cursor"]
        found = [page["data"]]
        while page["hasMore"]:
            page = self.call(operation, request | {"cursor": page["next"]})["cursor"]
            found.append(page["data"])
        assert "next" not in page
        return found


def camel(name: str) -> str:
    """Write a name of Python's as JavaScript does."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(word.title() for word in rest)


def field(name: str) -> str:
    """Name a field of a request as this SDK does; the id of a flow is the one that is not written ID."""
    return camel(name) if name == "flow_id" else re.sub("Id$", "ID", camel(name))
