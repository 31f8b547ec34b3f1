"""How a delivery is written and signed, in both formats.

`standard` is the specification of Standard Webhooks 1.0.0. `connect` is Docusign Connect's JSON SIM message; the README says
which of its fields are documented and which are our reading.
"""

import base64
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.operations.webhook_deliveries import message_id
from service.operations.webhook_sending import Due
from service.operations.webhooks import CONNECT, PING

CONNECT_NAMES = {kind: name for name, kind in CONNECT.items()} | {PING: "webhook-ping"}
API_VERSION = "v1"
CONFIGURATION_BITS = 0x7FFF_FFFF


class Message(msgspec.Struct, frozen=True):
    """What is sent: headers by lower-case name, and the body that they sign."""

    headers: Mapping[str, str]
    body: bytes


def message(due: Due, now: datetime) -> Message:
    """Write a delivery in its endpoint's format, signed by each of its secrets."""
    return connect(due, now) if due.format == "connect" else standard(due, now)


def standard(due: Due, now: datetime) -> Message:
    """Write a delivery as Standard Webhooks has it; its id stays the same however often it is sent."""
    body = msgspec.json.encode(
        {"type": due.type, "timestamp": timestamp(due.at), "data": due.data | subject(due)}
    )
    identifier, moment = message_id(due.id), str(int(now.timestamp()))
    signed = f"{identifier}.{moment}.".encode() + body
    signatures = [f"v1,{signature(key_of(secret), signed)}" for secret in due.secrets]
    headers = {
        "content-type": "application/json",
        "webhook-id": identifier,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(signatures),
    }
    return Message(headers, body)


def subject(due: Due) -> dict[str, Any]:
    """What an event is about; what there is none of is left out."""
    ids = {"account_id": due.account_id, "workflow_id": due.workflow_id, "instance_id": due.instance_id}
    return {name: str(value) for name, value in ids.items() if value is not None}


def connect(due: Due, now: datetime) -> Message:
    """Write a delivery as Connect does: the secret's text is the key, and each secret has a header of its own."""
    about = {
        "accountId": due.account_id,
        "userId": due.started_by,
        "workflowId": due.workflow_id,
        "instanceId": due.instance_id,
        "instanceName": due.instance_name,
    }
    path = f"/v1/accounts/{due.account_id}"
    if due.instance_id is not None:
        path += f"/workflows/{due.workflow_id}/instances/{due.instance_id}"
    body = msgspec.json.encode(
        {
            "event": CONNECT_NAMES[due.type],
            "apiVersion": API_VERSION,
            "uri": path,
            "retryCount": due.attempts - 1,
            "configurationId": due.webhook_id.int & CONFIGURATION_BITS,
            "generatedDateTime": timestamp(now),
            "data": {name: str(value) for name, value in about.items() if value is not None},
        }
    )
    signatures = {
        f"x-docusign-signature-{number}": signature(secret.encode(), body)
        for number, secret in enumerate(due.secrets, 1)
    }
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id(due.id),
        "x-authorization-digest": "HMACSHA256",
    }
    return Message(headers | signatures, body)


def key_of(secret: str) -> bytes:
    """Read the key out of a secret of Standard Webhooks."""
    return base64.b64decode(secret.removeprefix("whsec_"))


def signature(key: bytes, signed: bytes) -> str:
    """Sign: HMAC with SHA-256, in base64."""
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def timestamp(at: datetime) -> str:
    """Write a time as RFC 3339 in UTC, with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
