"""The vendor's SDK, called from here: a Node.js process that makes the calls and tells what came of them."""

import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from tests.compat.node import node


class Refused(Exception):  # noqa: N818 - what the SDK raised, which is what the test asked for
    """An error of the SDK: its class, and what it holds."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(f"{told['kind']}: {told['message']}")
        self.kind: str = told["kind"]
        self.status: int | None = told.get("status")
        self.content_type: str | None = told.get("content_type")
        self.data: dict[str, Any] = told["data"]
        self._text: str = told.get("body") or ""

    @property
    def body(self) -> Any:
        """What the service sent, with the fields that the SDK's own error does not know."""
        return json.loads(self._text)


class Sdk:
    """The SDK's client in a Node.js process."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [node(), "maestro.mjs"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, **call: Any) -> Any:
        """Make one call; return what the SDK returned.

        Raises:
            Refused: the SDK raised an error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the Node.js process ended; its message is on standard error"
        answer = json.loads(line, object_hook=typed)
        if "refusal" in answer:
            raise Refused(answer["refusal"])
        return answer.get("value")

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=10)


def is_id(text: str) -> bool:
    """Whether a text is a UUID in the form that every SDK takes."""
    return str(UUID(text)) == text


def typed(node: dict[str, Any]) -> Any:
    """Read what stands for a JavaScript Date or BigInt."""
    if node.keys() == {"$bigint"}:
        return int(node["$bigint"])
    return datetime.fromisoformat(node["$date"]) if node.keys() == {"$date"} else node


class Session(msgspec.Struct, frozen=True):
    """The SDK as one person uses it: on one server, with one token, on one account."""

    sdk: Sdk
    url: str
    account_id: str
    token: str

    def workflows(self, operation: str, **request: Any) -> Any:
        """Call `client.maestro.workflows`."""
        return self._call("workflows", operation, request)

    def instances(self, operation: str, **request: Any) -> Any:
        """Call `client.maestro.workflowInstanceManagement`."""
        return self._call("workflowInstanceManagement", operation, request)

    def trigger(self, workflow_id: str, name: str, **inputs: Any) -> str:
        """Trigger a workflow; return the new instance's id."""
        body = {"instanceName": name, "triggerInputs": inputs}
        started = self.workflows("triggerWorkflow", workflowId=workflow_id, triggerWorkflow=body)
        instance_id: str = started["instanceId"]
        return instance_id

    def on(self, account_id: str) -> "Session":
        """Use the same token on another account."""
        return msgspec.structs.replace(self, account_id=account_id)

    def _call(self, group: str, operation: str, request: dict[str, Any]) -> Any:
        return self.sdk.call(
            serverURL=self.url,
            accessToken=self.token,
            group=group,
            operation=operation,
            request={"accountId": self.account_id} | request,
        )
