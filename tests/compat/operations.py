"""The 35 operations of the vendor's SDKs: the status that each is answered with, and a good request for it."""

from typing import Any
from uuid import UUID

import msgspec

# By the names of the contract, with the statuses of success, which the SDKs hold answers to. Reading begins with a GET.
STATUSES = {
    "get_server_info": 200,
    "list_workflows": 200,
    "create_workflow": 201,
    "get_workflow": 200,
    "delete_workflow": 204,
    "run_workflow": 201,
    "list_instances": 200,
    "get_instance": 200,
    "send_event": 204,
    "cancel_event": 204,
    "get_instance_history": 200,
    "get_instance_stage_history": 200,
    "list_triggers": 200,
    "create_trigger": 201,
    "read_trigger": 200,
    "delete_trigger": 204,
    "list_triggers_occurrences": 200,
    "test_trigger": 200,
}
OPERATIONS = [
    (version, name)
    for version in ("v1", "v2")
    for name in STATUSES
    if (version, name) != ("v1", "test_trigger")
]
WRITING = [one for one in OPERATIONS if not one[1].startswith(("get", "list", "read"))]
# The SDKs' names of operations that are not those of the contract.
NAMES = {("v1", "get_server_info"): "get_server_info_orchestration"}
WAITING = {"wait_event": {"event": "go"}}


class Things(msgspec.Struct, frozen=True):
    """What there is to ask for: a workflow that waits, an instance and a trigger of it."""

    workflow_id: str
    instance_id: str
    trigger_id: str


UNKNOWN = Things(*[str(UUID(int=number)) for number in (1, 2, 3)])


def request_of(version: str, operation: str, of: Things) -> dict[str, Any] | None:
    """Word a request that is a good one, in Python's names; nothing, where the SDK wants nothing."""
    page = {} if version == "v1" else {"page_size": 2}
    requests: dict[str, dict[str, Any] | None] = {
        "get_server_info": None,
        "list_workflows": page or None,
        "create_workflow": {"name": "one of all", "stages": [WAITING]},
        "get_workflow": {"flow_id": of.workflow_id},
        "delete_workflow": {"flow_id": of.workflow_id},
        "run_workflow": {"workflow_id": of.workflow_id, "request_body": {"who": "Ada"}},
        "list_instances": page,
        "get_instance": {"instance_id": of.instance_id},
        "send_event": {"instance_id": of.instance_id, "request_body": {"name": "go"}},
        "cancel_event": {"instance_id": of.instance_id},
        "get_instance_history": {"instance_id": of.instance_id},
        "get_instance_stage_history": {"instance_id": of.instance_id, "number": 0},
        "list_triggers": page,
        "create_trigger": {"event": "SAVED_PAYMENT", "workflow_id": of.workflow_id},
        "read_trigger": {"trigger_id": of.trigger_id},
        "delete_trigger": {"trigger_id": of.trigger_id},
        "list_triggers_occurrences": {"trigger_id": of.trigger_id} | page,
        "test_trigger": {"trigger_id": of.trigger_id, "request_body": {"amount": 1}},
    }
    return requests[operation]
