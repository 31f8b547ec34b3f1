"""Keyfactor's Go SDK, version 1.0.2, drives definitions and instances on a live service, with names and passwords.

It writes https into every URL; its HTTP client is replaced by one that writes http back, as its configuration allows. Members
of free objects that it cannot type go through its additional properties.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from service.openapi.keyfactor_examples import STEPS
from tests.compat.apps import PASSWORD, register, with_password
from tests.compat.golang import Caller, Program, built
from tests.compat.live import Live

pytestmark = [pytest.mark.compat, pytest.mark.timeout(600)]

EMAIL = "grace@pki.example"
SCOPES = ("keyfactor:read", "keyfactor:write")
KEY = "RequireApproval1.ApprovalStatus"


class Office(msgspec.Struct, frozen=True):
    """An account, a person in it by the SDK, and what starts instances there: the vendor has no call for that."""

    live: Live
    account: str
    grace: Caller
    robot: Caller
    token: str

    def defined(self, name: str, *, published: bool = True) -> str:
        """Make a definition with one approval by the SDK; return its id."""
        key = str(uuid4().int % 10**9)
        body = {"DisplayName": name, "Description": "Of a test.", "Key": key, "WorkflowType": "Enrollment"}
        made = self.grace("Create", Body=body)
        self.grace("ConfigureSteps", ID=made["Id"], Body=STEPS)
        if published:
            self.grace("Publish", ID=made["Id"])
        found: str = made["Id"]
        return found

    def started(self, definition: str, **inputs: Any) -> str:
        """Start an instance and wait until it is Suspended; return its id."""
        url = f"{self.live.url}/v1/accounts/{self.account}/workflows/{definition}/actions/trigger"
        body = {"instance_name": "Certificate & name", "trigger_inputs": inputs}
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = self.live.http.post(url, json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["instance_id"]
        assert self.until(found, 2)["Id"] == found
        return found

    def until(self, instance: str, status: int) -> Any:
        """Read an instance from a list until it has a status; the SDK types those of single ones wrongly."""
        deadline, found = time.monotonic() + 20, []
        while time.monotonic() < deadline:
            found = self.grace("Query", Query=f'Id -eq "{instance}"')
            if [one["Status"] for one in found] == [status]:
                return found[0]
            time.sleep(0.05)
        pytest.fail(f"never {status}: {found}")


@pytest.fixture(scope="module")
def office(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """An account with people and a client, made by the command line while the SDK is built."""
    with ThreadPoolExecutor() as threads:
        program = threads.submit(built, tmp_path_factory.mktemp("go"))
        account = live.tutti("account", "create", "PKI")["account_id"]
        on = ("--account", account)
        grace = with_password(live, "create", EMAIL, "--name", "Grace", "--role", "admin", *on)
        robot = register(live, account, "machine", scopes=SCOPES)
        issue = ("token", "issue", "--user", grace, *on, "--scope", "aow_manage signature")
        token = live.tutti(*issue)["access_token"]
        live.wait()
        driven = Program(program.result())
    host = f"127.0.0.1:{live.port}"
    caller = Caller(driven, host, f"PKI\\{EMAIL}", PASSWORD)
    yield Office(live, account, caller, Caller(driven, host, robot.id, robot.secret or ""), token)
    driven.close()


def test_definition_is_made_changed_published_listed_and_deleted(office: Office) -> None:
    grace = office.grace
    definition = office.defined("Approve web servers", published=False)
    (listed,) = grace("Definitions", Query=f'Id -eq "{definition}"')
    assert (listed["DraftVersion"], listed.get("PublishedVersion")) == (1, None)
    assert grace("Publish", ID=definition)["PublishedVersion"] == 1
    changed = grace("Update", ID=definition, Body={"DisplayName": "Approve all", "Description": "All."})
    assert (changed["DraftVersion"], changed["PublishedVersion"]) == (2, 1)
    assert grace("Definition", ID=definition, Version=1)["DisplayName"] == "Approve web servers"
    assert grace("Definition", ID=definition, Exportable=True)["DisplayName"] == "Approve all"
    assert grace("DeleteDefinition", ID=definition) is None
    refused = grace.sent("Definition", ID=definition)
    assert (refused.status, refused.error) == (404, "404 Not Found")
    assert refused.message


def test_kinds_of_steps_and_types_are_told(office: Office) -> None:
    names = {one["ExtensionName"] for one in office.grace("Steps")}
    assert names >= {"NOOPStep", "RequireApproval", "Email", "UpdateMetadata"}
    assert office.grace("Step", Name="RequireApproval")["Outputs"] == ["continue"]
    assert "Enrollment" in [one["WorkflowType"] for one in office.grace("Types")]


def test_instance_is_found_in_every_list_and_approved(office: Office) -> None:
    grace, definition = office.grace, office.defined("Approve")
    instance = office.started(definition, cn="www.example.com", count=1)
    query = f'DefinitionId -eq "{definition}" AND (Title -contains "& n" OR Status -eq "Failed")'
    for operation in ("Query", "AssignedToMe", "My"):
        answer = grace.sent(operation, Query=query)
        assert [one["Id"] for one in answer.value] == [instance]
        assert answer.total == 1
    (told,) = grace("Query", Query=query, Page=1, Limit=1, Sort="StartDate", Direction=1)
    assert told["Definition"] == {
        "Id": definition,
        "DisplayName": "Approve",
        "Version": 1,
        "WorkflowType": "Enrollment",
    }
    assert told["CurrentStepUniqueName"] == "RequireApproval1"
    assert told["ReferenceId"] > 2**31
    assert told["StartDate"].endswith("Z")
    assert grace("Query", Query=query, Page=2, Limit=1) == []
    approval = {"SignalKey": KEY, "Data": {"Approved": "True", "Comment": "Ours."}}
    assert grace.sent("Signal", ID=instance, Body=approval).status == 204
    office.until(instance, 5)
    assert grace("AssignedToMe", Query=query) == []


def test_denied_instance_is_rejected(office: Office) -> None:
    instance = office.started(office.defined("Deny"))
    office.grace(
        "Signal", ID=instance, Body={"SignalKey": KEY, "Data": {"Approved": "False", "Comment": "No."}}
    )
    assert "No." in office.until(instance, 4)["StatusMessage"]


def test_instance_without_data_is_read_by_itself(office: Office) -> None:
    instance = office.started(office.defined("Read"))
    told = office.grace.sent("Get", ID=instance)
    assert told.value["Id"] == instance
    assert told.value["Status"] == 2
    assert [one["SignalName"] for one in told.value["Signals"]] == ["ApprovalStatus"]
    with_data = office.started(office.defined("Read data"), cn="www.example.com")
    assert json.loads(office.grace.sent("Get", ID=with_data).body)["InitialData"] == {"cn": "www.example.com"}


def test_instance_is_stopped_restarted_and_deleted(office: Office) -> None:
    grace, definition = office.grace, office.defined("Stop")
    stopped, restarted = office.started(definition), office.started(definition)
    assert grace.sent("Stop", ID=stopped).status == 204
    office.until(stopped, 4)
    again = grace.sent("Stop", ID=stopped)
    assert (again.status, again.error) == (400, "400 Bad Request")
    assert "Rejected" in again.message
    answer = grace.sent("Restart", ID=restarted, Version=1)
    assert answer.status == 204
    assert answer.headers is not None
    new = answer.headers["Location"][0].rpartition("/")[2]
    office.until(restarted, 6)
    office.until(new, 2)
    for instance in (stopped, restarted, new):
        assert grace.sent("Delete", ID=instance).status == 204
        assert grace.sent("Get", ID=instance).status == 404


def test_errors_are_the_vendors(office: Office) -> None:
    refused = office.grace.sent("Query", Sort="CertId")
    assert refused.error == "400 Bad Request"
    assert json.loads(refused.body) == {"ErrorCode": "0xA011004A", "Message": "Invalid sort field: CertId."}
    assert office.grace.sent("Get", ID=str(uuid4())).status == 404
    assert office.grace.sent("Query", Query="Status -eq").status == 400


@pytest.mark.parametrize(
    ("username", "domain"), [(EMAIL, ""), (EMAIL, "PKI"), (f"pki\\{EMAIL}", ""), ("pki.example\\grace", "")]
)
def test_person_is_known_in_every_form_that_the_sdks_send(office: Office, username: str, domain: str) -> None:
    person = msgspec.structs.replace(office.grace, username=username, domain=domain)
    assert person.sent("Steps").status == 200


def test_machine_is_known_by_its_secret(office: Office) -> None:
    definition = office.defined("Robot")
    assert [one["Id"] for one in office.robot("Definitions", Query=f'Id -eq "{definition}"')] == [definition]
    instance = office.started(definition)
    refused = office.robot.sent("Signal", ID=instance, Body={"SignalKey": KEY, "Data": {"Approved": "True"}})
    assert refused.status == 403


def test_wrong_password_is_401_with_a_body(office: Office) -> None:
    stranger = msgspec.structs.replace(office.grace, password="wrong password")
    refused = stranger.sent("Query")
    assert (refused.status, refused.error) == (401, "401 Unauthorized")
    assert json.loads(refused.body)["ErrorCode"] == "0xA0110401"
