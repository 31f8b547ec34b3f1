"""What is sent, to the byte: against the standard's published example and against what Connect's listeners compute."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from service.operations.webhook_secrets import new_secret
from service.operations.webhook_sending import Due
from service.webhooks.formats import key_of, message, signature

ACCOUNT, WORKFLOW, INSTANCE, WEBHOOK, DELIVERY, STARTER = (UUID(int=number) for number in range(1, 7))
AT = datetime(2026, 5, 4, 9, 30, 0, 123456, tzinfo=UTC)
NOW = datetime(2026, 5, 4, 9, 31, 7, 900000, tzinfo=UTC)
DUE = Due(
    account_id=ACCOUNT,
    webhook_id=WEBHOOK,
    id=DELIVERY,
    attempts=3,
    tries=2,
    url="https://hooks.example/",
    format="standard",
    secrets=("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",),
    type="instance.faulted",
    at=AT,
    data={"error": {"status": 500}, "account_id": "forged"},
    workflow_id=WORKFLOW,
    instance_id=INSTANCE,
    instance_name="Größe",
    started_by=STARTER,
)


def connect(**changed: Any) -> Due:
    """The delivery to an endpoint of format `connect`."""
    return msgspec.structs.replace(DUE, **{"format": "connect", "secrets": ("c2VjcmV0",), **changed})


def test_the_signature_is_the_one_that_the_standard_publishes() -> None:
    signed = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    assert signature(key_of(DUE.secrets[0]), signed) == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_standard_message_has_the_events_type_time_and_data() -> None:
    written = message(DUE, NOW)
    assert json.loads(written.body) == {
        "type": "instance.faulted",
        "timestamp": "2026-05-04T09:30:00.123Z",
        "data": {
            "error": {"status": 500},
            "account_id": str(ACCOUNT),
            "workflow_id": str(WORKFLOW),
            "instance_id": str(INSTANCE),
        },
    }
    assert written.headers["webhook-id"] == f"msg_{DELIVERY.hex}"
    assert written.headers["webhook-timestamp"] == "1777887067"
    assert written.headers["content-type"] == "application/json"


def test_an_event_of_an_account_names_neither_workflow_nor_instance() -> None:
    written = message(msgspec.structs.replace(DUE, workflow_id=None, instance_id=None), NOW)
    assert json.loads(written.body)["data"].keys() == {"error", "account_id"}


@pytest.mark.parametrize("which", [0, 1])
def test_each_of_two_secrets_verifies_a_message_by_the_standards_own_package(which: int) -> None:
    secrets = (new_secret("standard"), new_secret("standard"))
    written = message(msgspec.structs.replace(DUE, secrets=secrets), datetime.now(UTC))
    told = Verifier(secrets[which]).verify(written.body, dict(written.headers))
    assert told["type"] == "instance.faulted"


def test_a_connect_message_is_a_json_sim_message() -> None:
    written = message(connect(), NOW)
    assert json.loads(written.body) == {
        "event": "workflow-failed",
        "apiVersion": "v1",
        "uri": f"/v1/accounts/{ACCOUNT}/workflows/{WORKFLOW}/instances/{INSTANCE}",
        "retryCount": 2,
        "configurationId": 4,
        "generatedDateTime": "2026-05-04T09:31:07.900Z",
        "data": {
            "accountId": str(ACCOUNT),
            "userId": str(STARTER),
            "workflowId": str(WORKFLOW),
            "instanceId": str(INSTANCE),
            "instanceName": "Größe",
        },
    }


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("instance.triggered", "workflow-started"),
        ("instance.faulted", "workflow-failed"),
        ("instance.completed", "workflow-completed"),
        ("webhook.ping", "webhook-ping"),
    ],
)
def test_connect_has_names_of_its_own_for_events(kind: str, name: str) -> None:
    assert json.loads(message(connect(type=kind), NOW).body)["event"] == name


def test_a_connect_message_is_signed_as_its_listeners_compute_it_once_for_each_secret() -> None:
    secrets = (new_secret("connect"), new_secret("connect"))
    written = message(connect(secrets=secrets), NOW)
    for number, secret in enumerate(secrets, 1):
        digest = hmac.new(secret.encode("utf-8"), written.body, hashlib.sha256).digest()
        assert written.headers[f"x-docusign-signature-{number}"] == base64.b64encode(digest).decode()
    assert written.headers["x-authorization-digest"] == "HMACSHA256"
    assert not any(name.startswith("webhook-sig") for name in written.headers)


def test_secrets_are_of_256_random_bits_in_the_form_of_their_format() -> None:
    made = [new_secret("standard") for _ in range(100)]
    assert len(set(made)) == 100
    assert {len(key_of(one)) for one in made} == {32}
    assert all(one.startswith("whsec_") for one in made)
    assert len(base64.b64decode(new_secret("connect"), validate=True)) == 32
