"""The page behind an instance's URL over plain HTTP: what it shows to whom, what it takes, and all that it refuses."""

import asyncio
import html
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import httpx
import msgspec
import pytest

from auth.throttle import MOST_OF_URLS
from tenancy.accounts import remove_member
from tenancy.postgres import connected
from tenancy.rows import rows_of, transaction
from tests.compat.login import Forms
from tests.tenancy.databases import superuser
from tests.world import Tenant, World, bearer, until

PARTICIPANT = {"roles": ["participant"]}
PARTICULARS = {
    "type": "object",
    "required": ["number"],
    "properties": {
        "number": {
            "type": "integer",
            "minimum": 1,
            "title": "Cost centre",
            "description": "As on the invoice",
        },
        "note": {"type": "string", "maxLength": 500},
        "urgent": {"type": "boolean"},
        "kind": {"enum": ["goods", "work", 3]},
        "lines": {"type": "array", "items": {"type": "number"}},
    },
}
SECONDS = 15


class Visitor(msgspec.Struct):
    """Somebody who holds an instance's URL, and nothing else."""

    client: httpx.AsyncClient
    of: Tenant
    instance: str
    url: str

    async def looks(self, **changed: str) -> httpx.Response:
        """Open the page."""
        parts = urlsplit(self.url)
        query = dict(parse_qsl(parts.query)) | changed
        return await self.client.get(f"{parts.path}?{urlencode(query)}")

    async def sees(self, *wanted: str) -> str:
        """Look until the page says something; return its text."""
        text = ""
        async with asyncio.timeout(SECONDS):
            while True:
                answer = await self.looks()
                assert answer.status_code == 200, answer.text
                text = html.unescape(re.sub(r"<[^>]*>", " ", answer.text.partition("<body>")[2]))
                text = re.sub(r"\s+", " ", text)
                if all(one in text for one in wanted):
                    return text
                await asyncio.sleep(0.02)

    async def form(self, name: str = "question1") -> dict[str, str]:
        """Look until the page has a form; return what its fields hold."""
        async with asyncio.timeout(SECONDS):
            while True:
                forms = Forms((await self.looks()).text).found
                if name in forms:
                    return {key: value for key, value in forms[name].fields.items() if key}
                await asyncio.sleep(0.02)

    async def sends(self, form: dict[str, str], **typed: str) -> httpx.Response:
        """Send a form as a browser does."""
        parts = urlsplit(self.url)
        return await self.client.post(f"{parts.path}?{parts.query}", data=form | typed)

    async def answers(self, **typed: str) -> httpx.Response:
        """Fill in the page's form and send it; follow where it leads."""
        answer = await self.sends(await self.form(), **typed)
        assert answer.status_code == 303, answer.text
        shown = await self.client.get(answer.headers["location"])
        assert shown.status_code == 200
        assert 'id="answered"' in shown.text
        return shown

    async def ended(self, status: str = "Completed") -> dict[str, Any]:
        """Wait until the instance has ended."""
        return await until(self.client, self.of, self.instance, workflow_status=status)


Asking = Callable[..., Awaitable[Visitor]]


@pytest.fixture
async def ask(client: httpx.AsyncClient, world: World) -> Asking:
    """Start an instance of Acme that asks people, and hold its URL."""

    async def started(kind: str = "approval", by: str | None = None, **arguments: Any) -> Visitor:
        given = {"title": "Sign here", "assignees": PARTICIPANT} | arguments
        tasks = [
            {"prepare": {"set": {"ready": True}}},
            {"signOff": {"call": kind, "with": given}},
            {"finish": {"set": "${ . }"}},
        ]
        return await hold(client, world.acme, tasks, by)

    return started


async def hold(client: httpx.AsyncClient, of: Tenant, tasks: list[Any], by: str | None = None) -> Visitor:
    """Start an instance; return whoever holds its URL."""
    head = {"dsl": "1.0.3", "namespace": "tests", "name": "asking", "version": "1.0.0", "title": "Ask & sign"}
    await of.publish({"document": head, "do": tasks})
    body = {"instance_name": "Order <42>", "trigger_inputs": {}}
    url = f"{of.workflow_url('asking')}/actions/trigger"
    answer = await client.post(url, json=body, headers=bearer(by or of.machine))
    assert answer.status_code == 201, answer.text
    instance = f"{of.workflow_url('asking')}/instances/{answer.json()['instance_id']}"
    return Visitor(client, of, instance, answer.json()["instance_url"])


# --- What it shows ---------------------------------------------------------------------------------------------------


async def test_the_page_shows_where_the_instance_is_and_what_it_asks(ask: Asking) -> None:
    visitor = await ask(
        description="Read <b>it</b> first.", data={"vendor": "Globex", "lines": [1, 2]}, due="P1D"
    )
    text = await visitor.sees("Sign here")
    for wanted in ("Order <42>", "Ask & sign", "Read <b>it</b> first.", "vendor Globex", "Approve", "Reject"):
        assert wanted in text
    assert "prepare Done signOff Now finish To do" in text
    assert "Please answer by" in text


async def test_an_answer_is_the_participants_and_the_instance_goes_on(ask: Asking, world: World) -> None:
    visitor = await ask()
    await visitor.answers(outcome="approve", comment="fine\r\nby me")
    output = (await visitor.ended())["output"]
    (decision,) = output["decisions"]
    started_by = (await visitor.ended())["started_by"]
    assert decision["user"] == {"id": started_by, "name": "Participant", "email": None}
    assert (decision["outcome"], decision["comment"]) == ("approve", "fine\nby me")
    async with rows_of(world.acme.id) as connection:
        told = await connection.fetch(
            "SELECT type FROM event WHERE data ->> 'through' = 'instance_url' ORDER BY id"
        )
    assert [one["type"] for one in told] == ["work_item.answered", "work_item.decided"]


async def test_after_the_end_it_says_that_and_nothing_else(ask: Asking) -> None:
    visitor = await ask()
    form = await visitor.form()
    await visitor.answers(outcome="reject")
    await visitor.ended()
    text = await visitor.sees("This has ended.")
    for hidden in ("Order", "Ask", "Sign", "prepare", "Acme"):
        assert hidden not in text
    late = await visitor.sends(form, outcome="approve")
    assert late.status_code == 200
    assert 'id="ended"' in late.text


async def test_where_nothing_is_asked_it_says_so(client: httpx.AsyncClient, world: World) -> None:
    tasks = [{"goods": {"listen": {"to": {"one": {"with": {"type": "goods.arrived"}}}}}}]
    visitor = await hold(client, world.acme, tasks)
    assert "goods Now" in await visitor.sees("Nothing is asked of you right now.")


async def test_a_step_that_is_skipped_is_done(client: httpx.AsyncClient, world: World) -> None:
    skipped = {"if": "${ false }", "set": {"a": 1}}
    tasks = [
        {"maybe": skipped},
        {"signOff": {"call": "approval", "with": {"title": "Sign", "assignees": PARTICIPANT}}},
    ]
    visitor = await hold(client, world.acme, tasks)
    await visitor.sees("maybe Done", "signOff Now")


# --- Forms -----------------------------------------------------------------------------------------------------------


async def test_a_form_is_filled_in_by_its_schema(ask: Asking) -> None:
    visitor = await ask("form", form=PARTICULARS)
    page = (await visitor.looks()).text
    assert set(await visitor.form()) == {"work_item", "field0"}  # the others are no input elements
    page = (await visitor.looks()).text
    assert re.search(
        r'<input id="question1-field0" name="field0" type="number" value="" required min="1"', page
    )
    for label in ("Cost centre", "As on the invoice", "note", "urgent", "Yes", "goods"):
        assert label in page
    await visitor.answers(field0="7", field1="a\r\nb", field2="1", field3="2", field4="[1, 2.5]")
    fields = (await visitor.ended())["output"]["fields"]
    assert fields == {"number": 7, "note": "a\nb", "urgent": False, "kind": 3, "lines": [1, 2.5]}


async def test_what_is_left_blank_is_left_out(ask: Asking) -> None:
    visitor = await ask("form", form=PARTICULARS)
    await visitor.answers(field0=" 7 ", field1="  ", field2="", field3="")
    assert (await visitor.ended())["output"]["fields"] == {"number": 7}


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ({"field0": ""}, "This is needed."),
        ({"field0": "seven"}, "Write a number"),
        ({"field0": "0"}, "less than the minimum"),
        ({"field0": "7.5"}, "is not of type"),
        ({"field0": "9007199254740993"}, "9007199254740991"),
        ({"field0": "7", "field2": "9"}, "Choose one of the options."),
        ({"field0": "7", "field4": "[1,"}, "This is not JSON."),
        ({"field0": "7", "field4": "[" * 5000}, "This is not JSON."),
        ({"field0": "7", "field4": '["a"]'}, "is not of type"),
    ],
    ids=[
        "missing",
        "no number",
        "too small",
        "no integer",
        "too large",
        "no option",
        "no JSON",
        "too deep",
        "no fit",
    ],
)
async def test_what_is_wrong_is_told_beside_it_and_nothing_is_lost(
    ask: Asking, typed: dict[str, str], told: str
) -> None:
    visitor = await ask("form", form=PARTICULARS)
    answer = await visitor.sends(await visitor.form(), **({"field1": "kept & safe"} | typed))
    assert answer.status_code == 400
    text = html.unescape(answer.text)
    assert told in text
    assert "kept & safe" in text
    assert 'aria-invalid="true"' in text
    assert 'role="alert"' in text
    assert (await visitor.form())["work_item"]


async def test_a_schema_that_no_inputs_fit_is_answered_as_json(ask: Asking) -> None:
    visitor = await ask("form", form={"anyOf": [{"required": ["a"]}, {"required": ["b"]}]})
    form = await visitor.form()
    wrong = await visitor.sends(form, field="[]")
    assert (wrong.status_code, "Write a JSON object" in wrong.text) == (400, True)
    wrong = await visitor.sends(form, field='{"c": 1}')
    assert (wrong.status_code, 'id="question1-field-mistake"' in wrong.text) == (400, True)
    await visitor.answers(field='{"b": {"c": [true]}}')
    assert (await visitor.ended())["output"]["fields"] == {"b": {"c": [True]}}


async def test_defaults_are_filled_in(ask: Asking) -> None:
    properties = {"a": {"type": "string", "default": 'x"y'}, "b": {"type": "boolean", "default": False}}
    visitor = await ask("form", form={"properties": properties})
    assert (await visitor.form())["field0"] == 'x"y'
    assert '<option value="1" selected>No</option>' in (await visitor.looks()).text


async def test_a_comment_that_an_outcome_needs_is_asked_for(ask: Asking) -> None:
    visitor = await ask(outcomes=["yes", {"name": "no", "label": "Never", "comment": "required"}])
    assert "Needed for: Never" in await visitor.sees("Sign here")
    answer = await visitor.sends(await visitor.form(), outcome="no")
    assert (answer.status_code, 'id="question1-comment-mistake"' in answer.text) == (400, True)
    assert re.search(r'value="no" required checked', answer.text)
    answer = await visitor.sends(await visitor.form())
    assert (answer.status_code, 'id="question1-outcome-mistake"' in answer.text) == (400, True)


async def test_several_questions_have_a_form_each(client: httpx.AsyncClient, world: World) -> None:
    branches = [
        {name: {"call": "approval", "with": {"title": name, "assignees": PARTICIPANT}}}
        for name in ("one", "two")
    ]
    visitor = await hold(client, world.acme, [{"both": {"fork": {"branches": branches}}}])
    form = await visitor.form("question2")
    await visitor.sends(form, outcome="approve")
    assert (await visitor.form("question1"))["work_item"] != form["work_item"]
    await visitor.answers(outcome="approve")
    await visitor.ended()


# --- Who may ---------------------------------------------------------------------------------------------------------


async def test_what_is_for_others_is_not_shown(ask: Asking, world: World) -> None:
    """Not even where the starter has the role: whom an administrator hands a URL is no administrator."""
    visitor = await ask(by=world.acme.admin, assignees={"roles": ["admin", "member"]}, title="Secret")
    text = await visitor.sees("signOff Now", "Nothing is asked of you right now.")
    assert "Secret" not in text
    ((item,),) = await stored(world.acme, "SELECT id FROM work_item")
    answer = await visitor.sends({"work_item": str(item)}, outcome="approve")
    assert answer.status_code == 409
    assert (await stored(world.acme, "SELECT count(*) FROM decision"))[0][0] == 0


@pytest.mark.parametrize("by_id", [True, False], ids=["id", "address"])
async def test_the_starter_by_name_is_the_participant(ask: Asking, world: World, by_id: bool) -> None:  # noqa: FBT001
    name = str(world.acme.admin_id) if by_id else "Admin@Acme.example"
    visitor = await ask(by=world.acme.admin, assignees={"users": [name]})
    await visitor.answers(outcome="approve")
    (decision,) = (await visitor.ended())["output"]["decisions"]
    assert decision["user"]["id"] == str(world.acme.admin_id)


async def test_a_starter_who_has_left_is_named_no_more(ask: Asking, world: World) -> None:
    visitor = await ask(
        by=world.acme.member, assignees={"users": ["member@acme.example"], "roles": ["admin"]}
    )
    await visitor.form()
    await remove_member("member@acme.example", world.acme.id)
    await visitor.sees("Nothing is asked of you right now.")


async def test_four_eyes_are_not_the_participants(ask: Asking, world: World) -> None:
    visitor = await ask(
        by=world.acme.admin,
        assignees={"users": ["admin@acme.example", "member@acme.example"], "roles": ["participant"]},
        excludeStarter=True,
    )
    await visitor.sees("signOff Now", "Nothing is asked of you right now.")


async def test_the_starter_and_their_url_are_one_person(ask: Asking, world: World) -> None:
    acme = world.acme
    visitor = await ask(
        by=acme.admin,
        assignees={"users": ["admin@acme.example"], "roles": ["participant", "member"]},
        minimum=2,
    )
    await visitor.answers(outcome="approve", comment="first")
    assert "You have answered already" in await visitor.sees("Sign here")
    assert ">\nfirst</textarea>" in (await visitor.looks()).text
    ((item,),) = await stored(acme, "SELECT id FROM work_item")
    url = f"{acme.url}/work-items/{item}/actions/complete"
    body = {"outcome": "approve"}
    again = await visitor.client.post(url, json=body, headers=bearer(acme.admin))
    assert (again.json()["status"], len(again.json()["decisions"])) == ("open", 1)
    done = await visitor.client.post(url, json=body, headers=bearer(acme.member))
    assert done.json()["status"] == "completed"


@pytest.mark.parametrize(
    "assignees", [PARTICIPANT, {"roles": ["participant"], "users": ["nobody@acme.example"]}]
)
async def test_without_a_url_that_somebody_holds_a_participant_is_nobody(
    client: httpx.AsyncClient, world: World, assignees: dict[str, Any]
) -> None:
    """What another workflow starts has a URL that nobody was told."""
    asking = [{"signOff": {"call": "approval", "with": {"title": "Sign", "assignees": assignees}}}]
    await hold(client, world.acme, asking)
    head = {"dsl": "1.0.3", "namespace": "tests", "name": "outer", "version": "1.0.0"}
    run = {"workflow": {"namespace": "tests", "name": "asking", "version": "1.0.0"}}
    await world.acme.publish({"document": head, "do": [{"inner": {"run": run}}]})
    body = {"instance_name": "outer", "trigger_inputs": {}}
    answer = await client.post(
        f"{world.acme.workflow_url('outer')}/actions/trigger", json=body, headers=bearer(world.acme.admin)
    )
    url = f"{world.acme.workflow_url('outer')}/instances/{answer.json()['instance_id']}"
    error = (await until(client, world.acme, url, workflow_status="Failed"))["error"]
    assert error["type"].endswith("/configuration")


# --- Two at once -----------------------------------------------------------------------------------------------------


async def test_of_two_who_answer_at_once_the_second_is_told_kindly(ask: Asking) -> None:
    visitor = await ask()
    form = await visitor.form()
    answers = await asyncio.gather(*(visitor.sends(form, outcome="approve") for _ in range(4)))
    assert [one.status_code for one in answers].count(303) == 1
    for one in answers:
        if one.status_code == 409:
            assert "Somebody else has answered this in the meantime" in one.text
            assert 'id="back"' in one.text
            assert "Acme" not in one.text
        else:
            assert one.status_code in (200, 303)  # 200: it had ended by then
    await visitor.ended()


async def test_what_somebody_has_claimed_is_theirs(ask: Asking, world: World) -> None:
    visitor = await ask(assignees={"roles": ["participant", "member"]})
    form = await visitor.form()
    ((item,),) = await stored(world.acme, "SELECT id FROM work_item")
    url = f"{world.acme.url}/work-items/{item}/actions"
    assert (await visitor.client.post(f"{url}/claim", headers=bearer(world.acme.member))).status_code == 200
    text = await visitor.sees("Somebody is working on this right now.")
    assert "Acme Member" not in text
    late = await visitor.sends(form, outcome="approve")
    assert late.status_code == 409
    assert "Acme Member" not in late.text
    await visitor.client.post(f"{url}/release", headers=bearer(world.acme.member))
    await visitor.answers(outcome="approve")


# --- What it refuses -------------------------------------------------------------------------------------------------


async def test_every_wrong_address_looks_the_same(ask: Asking, world: World) -> None:
    visitor, other = await ask(), await ask()
    form = await visitor.form()
    parts, others = urlsplit(visitor.url), urlsplit(other.url)
    right, foreign = dict(parse_qsl(parts.query)), dict(parse_qsl(others.query))
    acme, globex = str(world.acme.id), str(world.globex.id)
    instance = visitor.instance.rpartition("/")[2]
    wrong = {
        "no secret": (parts.path, {"mtid": right["mtid"]}),
        "no id": (parts.path, {"mtsec": right["mtsec"]}),
        "nothing": (parts.path, {}),
        "an empty secret": (parts.path, right | {"mtsec": ""}),
        "another secret": (parts.path, right | {"mtsec": "a" * 43}),
        "half of the secret": (parts.path, right | {"mtsec": right["mtsec"][:20]}),
        "another instance's secret": (parts.path, right | {"mtsec": foreign["mtsec"]}),
        "another instance's id": (parts.path, right | {"mtid": foreign["mtid"]}),
        "another instance's proof": (parts.path, foreign),
        "another id": (parts.path, right | {"mtid": str(uuid4())}),
        "an id that is none": (parts.path, right | {"mtid": "1"}),
        "another account": (parts.path.replace(acme, globex), right),
        "no account": (parts.path.replace(acme, str(uuid4())), right),
        "an account that is none": (parts.path.replace(acme, "acme"), right),
        "no instance": (parts.path.replace(instance, str(uuid4())), right),
        "NUL": (parts.path, right | {"mtsec": "\0"}),
        "no text": (parts.path, right | {"mtsec": "\udcff"}),
        "very long": (parts.path, right | {"mtsec": "a" * 20_000}),
    }
    seen = set()
    for name, (path, query) in wrong.items():
        url = f"{path}?{urlencode(query, errors='surrogateescape')}"
        for answer in (
            await visitor.client.get(url),
            await visitor.client.post(url, data=form | {"outcome": "approve"}),
        ):
            assert (name, answer.status_code) == (name, 404)
            headers = {key: value for key, value in answer.headers.items() if key != "x-request-id"}
            seen.add((answer.content, tuple(sorted(headers.items()))))
    assert len(seen) == 1
    assert (await stored(world.acme, "SELECT count(*) FROM decision"))[0][0] == 0
    twice = f"{parts.path}?{parts.query}&mtsec=b"
    assert (await visitor.client.get(twice)).status_code == 404


async def test_a_suspended_accounts_pages_are_gone(ask: Asking, world: World) -> None:
    visitor = await ask()
    await visitor.form()
    async with connected(superuser()) as connection:
        await connection.execute("UPDATE account SET status = 'suspended' WHERE id = $1", world.acme.id)
    assert (await visitor.looks()).status_code == 404


async def test_wrong_addresses_are_limited_and_right_ones_are_not(ask: Asking) -> None:
    visitor = await ask()
    await visitor.form()
    async with transaction() as connection:
        await connection.execute("DELETE FROM throttle")
    statuses = [(await visitor.looks(mtsec="a")).status_code for _ in range(MOST_OF_URLS)]
    if statuses != [404] * MOST_OF_URLS:  # the minute was over in between
        statuses = [(await visitor.looks(mtsec="a")).status_code for _ in range(MOST_OF_URLS)]
    refused = await visitor.looks(mtsec="a")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "Wait" in refused.text
    assert (await visitor.looks()).status_code == 200


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{}", "application/json", 400),
        (b"", "text/plain", 400),
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        (b"a=1&a=2", "application/x-www-form-urlencoded", 400),
        (b"a=" + b"1" * 70_000, "application/x-www-form-urlencoded", 400),
        (b"a=" + b"1" * 1_100_000, "application/x-www-form-urlencoded", 413),
        (b"work_item=1", "application/x-www-form-urlencoded", 409),
    ],
    ids=["JSON", "text", "no UTF-8", "repeated", "large", "too large", "unknown"],
)
async def test_an_odd_form_is_refused_by_a_page(
    ask: Asking, content: bytes, media_type: str, status: int
) -> None:
    visitor = await ask()
    await visitor.form()
    parts = urlsplit(visitor.url)
    answer = await visitor.client.post(
        f"{parts.path}?{parts.query}", content=content, headers={"Content-Type": media_type}
    )
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert 'id="message"' in answer.text


async def test_nothing_keeps_or_passes_on_the_address(ask: Asking, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    visitor = await ask()
    form = await visitor.form()
    answers = [
        await visitor.looks(),
        await visitor.looks(mtsec="a"),
        await visitor.sends(form),
        await visitor.sends(form, outcome="approve"),
    ]
    for answer in answers:
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "set-cookie" not in answer.headers
    secret = dict(parse_qsl(urlsplit(visitor.url).query))["mtsec"]
    ours = [record for record in caplog.records if record.name.startswith(("tutti", "litestar", "uvicorn"))]
    assert not any(secret in record.getMessage() for record in ours)
    assert secret not in answers[0].text.replace(html.escape(urlsplit(visitor.url).query), "")


async def stored(of: Tenant, statement: str) -> list[Any]:
    """Ask behind the service's back."""
    async with rows_of(of.id) as connection:
        return list(await connection.fetch(statement))
