"""The three lists of instances: whose they are, in which order, a page by its number, and how many there are."""

import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auth.bearer import Operator
from service.keyfactor.errors import Code
from service.keyfactor.fields import INSTANCE_ORDERS, INSTANCES
from service.keyfactor.query import OPERATORS
from service.migrations.service_2026_11_26_steps_policies import FILL
from service.operations import instance_queries, step_instances
from service.operations.conditions import ALWAYS
from service.operations.instance_conditions import PHASES
from service.operations.instance_queries import (
    REMEMBERED_SECONDS,
    Listing,
    Narrowing,
    Wanted,
    get_page,
    total,
)
from service.operations.step_instances import SHOWN
from tenancy.rows import rows_of
from tests.keyfactor.conftest import Calling, calling_as
from tests.keyfactor.errors import assert_refused
from tests.keyfactor.started import (
    COMPLETE,
    SUSPENDED,
    approving,
    became,
    begun,
    plain,
    published,
    triggered,
)
from tests.maestro.people import colleague
from tests.maestro.rows import insert_instances
from tests.world import World

ALL, MINE, ASSIGNED = "/Workflow/Instances", "/Workflow/Instances/My", "/Workflow/Instances/AssignedToMe"
KEY = "Sign.Off.ApprovalStatus"
FORM = {"title": "Tell", "assignees": {"roles": ["admin", "sender"]}, "form": {"type": "object"}}
PREFIXES = {ALL: "pq.", MINE: "instanceQuery.", ASSIGNED: "pq."}


async def listed(who: Calling, path: str = ALL, **asked: Any) -> tuple[list[dict[str, Any]], int]:
    """Ask for a page of a list; return it, and how many there are in all."""
    query = {PREFIXES[path] + name: value for name, value in asked.items()}
    answer = await who.sent("GET", path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json(), int(answer.headers["x-total-count"])


async def titles(who: Calling, path: str = ALL, **asked: Any) -> list[str]:
    """Name what a page of a list holds."""
    return [one["Title"] for one in (await listed(who, path, **asked))[0]]


async def ids(who: Calling, path: str) -> set[str]:
    """Say which instances a list holds, all of them."""
    found, count = await listed(who, path)
    assert count == len(found)
    return {one["Id"] for one in found}


@pytest.fixture
async def member(client: httpx.AsyncClient, world: World) -> Calling:
    """Acme's member, a sender."""
    return await calling_as(client, world.acme, world.acme.member_id)


@pytest.fixture
async def many(world: World) -> World:
    """Sixty instances of Acme's, of its two people in turn: a tenth waits, a tenth has failed. As many of the other account's."""
    for of in (world.acme, world.globex):
        await insert_instances(of.id, of.workflows["waiting"], [of.admin_id, of.member_id], 60)
    return world


async def test_list_tells_of_each_what_a_single_one_tells(acme: Calling, world: World) -> None:
    definition = await published(world.acme, approving())
    instance_id = await begun(acme, world.acme, definition, cn="web.example")
    alone = await became(acme, instance_id, SUSPENDED)
    for name in ("Signals", "InitialData", "CurrentStateData"):
        del alone[name]
    assert await listed(acme) == ([alone], 1)
    assert alone["CurrentStepUniqueName"] == "Sign.Off"
    assert alone["Definition"]["WorkflowType"] == "Enrollment"
    for query in (
        "Status -eq 2",
        'WorkflowType -eq "enrollment" AND Title -ne ""',
        f"DefinitionId -eq {alone['Definition']['Id']}",
        f"ReferenceId -eq {alone['ReferenceId']}",
        'InitiatingUserName -eq "%ME%" AND StartDate -ge "%TODAY%"',
    ):
        assert (await listed(acme, queryString=query))[1] == 1, query
    assert await listed(acme, queryString="Status -ne 2") == ([], 0)


async def test_steps_of_many_versions_are_read_some_at_a_time(
    acme: Calling, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_instances, "READ_AT_ONCE", 1)
    for _ in range(3):
        await became(
            acme, await begun(acme, world.acme, await published(world.acme, approving()), cn="a"), SUSPENDED
        )
    for _ in range(2):
        rows, _ = await listed(acme)
        assert [one["CurrentStepDisplayName"] for one in rows] == ["The Sign.Off"] * 3


async def test_pages_of_a_list(acme: Calling, many: World) -> None:
    first, count = await listed(acme)
    assert (len(first), count) == (50, 60)
    second, count = await listed(acme, pageReturned=2)
    assert (len(second), count) == (10, 60)
    assert len({one["Id"] for one in first + second}) == 60
    assert await listed(acme, pageReturned=3) == ([], 60)
    assert await listed(acme, pageReturned=2**31 - 1, returnLimit=1000) == ([], 60)
    assert (await listed(acme, pageReturned=3, returnLimit=20))[0] == (first + second)[40:]


async def test_lists_are_ordered_by_step_unless_told_otherwise(acme: Calling, many: World) -> None:
    steps = ("Zeta", "alpha", None, "Zeta")
    async with rows_of(many.acme.id) as connection:
        found = await connection.fetch(
            "SELECT id FROM instance WHERE status <> 'completed' ORDER BY id LIMIT 4"
        )
        for row, step in zip(found, steps, strict=True):
            await connection.execute("UPDATE instance SET current_step = $2 WHERE id = $1", row["id"], step)
    told, _ = await listed(acme, returnLimit=1000)
    assert [one["Id"] for one in told[:3]] == [str(found[index]["id"]) for index in (0, 3, 1)]
    assert [one["CurrentStepDisplayName"] for one in told[:4]] == ["Zeta", "Zeta", "alpha", None]
    assert [one["Id"] for one in told[3:]] == sorted(one["Id"] for one in told[3:])
    backwards, _ = await listed(acme, returnLimit=1000, sortAscending=1)
    assert backwards == told[::-1]
    assert await titles(acme, sortField="title", returnLimit=2) == ["number 1", "number 10"]
    newest = await titles(acme, sortField="StartDate", sortAscending=1, returnLimit=1)
    assert newest[0] in ("number 0", "number 1", "number 2")


async def test_my_instances_are_those_that_the_caller_started(
    acme: Calling, member: Calling, machine: Calling, many: World
) -> None:
    asked = ((acme, ALL), (acme, MINE), (member, MINE))
    everyone, mine, theirs = [await listed(who, path, returnLimit=1000) for who, path in asked]
    assert (mine[1], theirs[1], everyone[1]) == (30, 30, 60)
    assert {one["Id"] for one in mine[0]} | {one["Id"] for one in theirs[0]} == {
        one["Id"] for one in everyone[0]
    }
    assert await listed(machine, MINE) == ([], 0)
    # A sender sees what they started, and the machine all.
    assert (await listed(member, returnLimit=1000))[0] == theirs[0]
    assert (await listed(machine))[1] == 60
    assert (await listed(member, queryString="InitiatingUserName -ne %ME%"))[1] == 0


async def test_what_is_assigned_to_the_caller_until_they_have_answered(
    client: httpx.AsyncClient, acme: Calling, member: Calling, machine: Calling, globex: Calling, world: World
) -> None:
    both = await published(world.acme, approving(2, 1, 3))
    admins = await published(world.acme, approving(1, 1))
    first, second, third = [await begun(acme, world.acme, one) for one in (both, both, admins)]
    for instance_id in (first, second, third):
        await became(acme, instance_id, SUSPENDED)
    assert await ids(acme, ASSIGNED) == {first, second, third}
    assert await ids(member, ASSIGNED) == {first, second}
    assert await ids(machine, ASSIGNED) == await ids(globex, ASSIGNED) == set()
    viewer = await calling_as(client, world.acme, (await colleague(world.acme, "vera", "viewer"))[0])
    assert await ids(viewer, ASSIGNED) == set()

    answer = {"SignalKey": KEY, "Data": {"Approved": "True"}}
    await acme("POST", f"{ALL}/{first}/Signals", 204, json=answer)
    assert await ids(acme, ASSIGNED) == {second, third}
    assert await ids(member, ASSIGNED) == {first, second}
    await member("POST", f"{ALL}/{first}/Signals", 204, json=answer)
    await became(acme, first, COMPLETE)
    await acme("POST", f"{ALL}/{third}/Stop", 204)
    assert await ids(acme, ASSIGNED) == await ids(member, ASSIGNED) == {second}
    assert (await listed(member, ASSIGNED, queryString="Status -eq Complete"))[1] == 0
    assert (await listed(member, ASSIGNED, queryString='Status -ne 2 OR Title -eq "nothing"'))[1] == 0


async def test_what_is_assigned_among_many_is_the_same(
    acme: Calling, member: Calling, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = await published(world.acme, approving(2, 1, 3))
    started = [await begun(acme, world.acme, definition) for _ in range(5)]
    await world.acme.publish(plain("form", {"ask": {"call": "form", "with": FORM}}))
    await became(acme, await triggered(acme, world.acme, "form"), SUSPENDED)
    for instance_id in started:
        await became(acme, instance_id, SUSPENDED)
    await member(
        "POST", f"{ALL}/{started[2]}/Signals", 204, json={"SignalKey": KEY, "Data": {"Approved": True}}
    )
    few = await listed(member, ASSIGNED, returnLimit=2)
    monkeypatch.setattr(instance_queries, "FEW", 2)
    assert await listed(member, ASSIGNED, returnLimit=2) == few
    assert few[1] == 4
    assert await ids(member, ASSIGNED) == set(started) - {started[2]}
    assert await ids(acme, ASSIGNED) == set(started)


async def test_nobody_sees_another_account_s(acme: Calling, globex: Calling, many: World) -> None:
    ours, theirs = (
        {one["Id"] for one in (await listed(acme))[0]},
        {one["Id"] for one in (await listed(globex))[0]},
    )
    assert not ours & theirs
    stranger = next(iter(theirs))
    assert await listed(acme, queryString=f"Id -eq {stranger}") == ([], 0)
    assert await listed(acme, queryString=f"DefinitionId -eq {many.globex.workflows['waiting']}") == ([], 0)
    assert await listed(acme, queryString='InitiatingUserName -eq "admin@globex.example"') == ([], 0)


async def test_totals_are_exact_up_to_ten_thousand_and_a_minute_old_beyond(
    many: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = many.acme

    async def count(whose: Any = "all") -> int:
        return (await get_page(Operator(acme.id), Wanted(whose=whose, size=1))).total

    async def more() -> None:
        await insert_instances(acme.id, acme.workflows["waiting"], [acme.admin_id], 1)

    assert await count() == 60
    await more()
    assert await count() == 61
    monkeypatch.setattr(instance_queries, "COUNTED", 20)
    assert await count() == 61
    await more()
    assert await count() == 61
    assert (await get_page(Operator(acme.id), Wanted(size=100))).total == 62  # all of them are on the page
    later = time.monotonic() + REMEMBERED_SECONDS
    monkeypatch.setattr(instance_queries, "time", SimpleNamespace(monotonic=lambda: later))
    assert await count() == 62


async def test_total_that_takes_too_long_to_count_is_an_estimate(world: World) -> None:
    class Slow(Listing, frozen=True):
        def every_one(self) -> tuple[str, list[Any]]:
            """A row at a time, and the last ones slowly."""
            slowly = "SELECT pg_sleep(CASE WHEN n > 12000 THEN 0.1 ELSE 0 END)"
            return f"SELECT 1 FROM generate_series(1, 15000) AS n, LATERAL ({slowly}) AS nap", []

    slow = Slow(world.acme.id, Narrowing(), ALWAYS, PHASES)
    began = time.monotonic()
    async with rows_of(world.acme.id) as connection:
        assert await total(slow, began + 1) == 15000
        assert await connection.fetchval("SELECT count(*) FROM workflow") == 2  # the transaction goes on
    assert time.monotonic() - began < 5


async def test_list_that_takes_too_long_is_refused(
    acme: Calling, many: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SHOWN + ", pg_sleep(1) AS nap"
    monkeypatch.setattr(instance_queries, "SHOWN", slow)
    monkeypatch.setattr(instance_queries, "SEARCH_SECONDS", 1)
    message = assert_refused(await acme.sent("GET", ALL), 400)
    assert "took longer than 1 seconds. Narrow it by Status" in message


WRONG: dict[str, tuple[dict[str, Any], Code, str]] = {
    "no query": ({"queryString": "Status"}, Code.QUERY, "The query cannot be read"),
    "unknown field": ({"queryString": 'CN -eq "a"'}, Code.QUERY, "there is no field CN here"),
    "unknown sort field": ({"sortField": "CN"}, Code.SORT_FIELD, "Invalid sort field: CN."),
    "no page": ({"pageReturned": 0}, Code.PAGE, "pageReturned"),
    "a large page": ({"returnLimit": 1001}, Code.PAGE, "returnLimit"),
}


@pytest.mark.parametrize("path", [ALL, MINE, ASSIGNED])
@pytest.mark.parametrize("shape", WRONG)
async def test_what_cannot_be_listed_is_refused(acme: Calling, shape: str, path: str) -> None:
    asked, code, message = WRONG[shape]
    query = {PREFIXES[path] + name: value for name, value in asked.items()}
    assert message in assert_refused(await acme.sent("GET", path, params=query), 400, code)


async def test_instance_tells_at_which_step_it_is(acme: Calling, world: World) -> None:
    await world.acme.publish(
        plain(
            "walk",
            {"prepare": {"set": {"ready": True}}},
            {"pause": {"do": [{"inner": {"listen": {"to": {"one": {"with": {"type": "go"}}}}}}]}},
            {"fail": {"raise": {"error": {"type": "https://x.example/a", "status": 500}}}},
        )
    )
    instance_id = await triggered(acme, world.acme, "walk")
    told = await became(acme, instance_id, SUSPENDED)
    assert told["CurrentStepUniqueName"] == "pause"
    await acme("POST", f"{ALL}/{instance_id}/Signals", 204, json={"SignalKey": "pause.go", "Data": {}})
    told = await became(acme, instance_id, 3)
    assert told["CurrentStepUniqueName"] == "fail"
    done = await became(acme, await triggered(acme, world.acme, "greeting", who="Ada"), COMPLETE)
    assert done["CurrentStepUniqueName"] is None
    assert {one["CurrentStepUniqueName"] for one in (await listed(acme))[0]} == {"fail", None}


async def test_what_was_under_way_before_steps_were_known_has_its_own(acme: Calling, world: World) -> None:
    definition = await published(world.acme, approving())
    instance_id = await begun(acme, world.acme, definition)
    await became(acme, instance_id, SUSPENDED)
    async with rows_of(world.acme.id) as connection:
        await connection.execute("UPDATE instance SET current_step = NULL")
        await connection.execute(FILL)
    await became(acme, instance_id, SUSPENDED, "Sign.Off")


PIECES = st.sampled_from(
    [
        *(
            '"',
            "\\",
            "(",
            ")",
            " ",
            "AND",
            "OR",
            "NULL",
            "1",
            "2",
            "%TODAY-1%",
            "%ME%",
            "2026-01-31",
            "a%_'",
            "\0",
            "漢",
        ),
        *(str(UUID(int=1)), "9" * 30, "-1", "true"),
        *(f"-{one}" for one in OPERATORS),
        *INSTANCES,
    ]
)
COMPARISON = st.tuples(st.sampled_from(sorted(INSTANCES)), st.sampled_from(OPERATORS), PIECES).map(
    lambda one: f"{one[0]} -{one[1]} {one[2]}"
)
QUERY = (
    st.text(max_size=60)
    | st.lists(PIECES, max_size=12).map(" ".join)
    | st.lists(COMPARISON, max_size=4).map(" OR ".join)
)


@pytest.mark.filterwarnings("ignore:.*:hypothesis.errors.HypothesisWarning")
@settings(
    max_examples=100,
    deadline=timedelta(seconds=10),
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    path=st.sampled_from([ALL, MINE, ASSIGNED]),
    query=QUERY,
    sort=st.sampled_from(["", *INSTANCE_ORDERS]) | st.text(max_size=10),
    page=st.sampled_from(["", "1", "2", "2147483647"]) | st.text(max_size=3),
)
async def test_any_list_is_told_or_refused_in_words(
    acme: Calling, many: World, path: str, query: str, sort: str, page: str
) -> None:
    asked = {"QueryString": query, "sortfield": sort, PREFIXES[path] + "pageReturned": page}
    answer = await acme.sent("GET", path, params=asked)
    if answer.status_code != 200:
        assert_refused(answer, 400)
        return
    own = str(many.acme.workflows["waiting"])
    assert {one["Definition"]["Id"] for one in answer.json()} <= {own}
