"""Hostile definitions, end to end: each ends its own instances with a clear error, and no other account notices."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import httpx
import pytest

from service.engine import worker
from service.errors import DefinitionRefused
from service.language.errors import STANDARD
from service.language.sandbox import process
from tenancy.rows import rows_of
from tests.world import Tenant, World, bearer, trigger

LIMIT = 60.0  # seconds; generous, for the machine may be busy
PATIENCE = 3.0  # seconds that another account's instance may take meanwhile: some 0.03 on an idle machine
ERROR = {"type": "https://tests.example/no", "status": 500, "title": "No"}
ONE = {"set": {"x": 1}}
MEGABYTE = {"set": {"x": '${ "a" * 1000000 }'}}

Tasks = list[dict[str, Any]]


def document(name: str, tasks: Tasks, **more: Any) -> dict[str, Any]:
    """Write a definition."""
    head = {"dsl": "1.0.3", "namespace": "hostile", "name": name, "version": "1.0.0"}
    return {"document": head, "do": tasks, **more}


def once(value: Any) -> Tasks:
    """The tasks that set a value."""
    return [{"task": {"set": {"x": value}}}]


@contextlib.asynccontextmanager
async def unharmed(client: httpx.AsyncClient, neighbour: Tenant) -> AsyncIterator[None]:
    """Trigger another account's instances all the while; each has to be there soon."""
    stopping, seconds = asyncio.Event(), [0.0]

    async def lives() -> None:
        while not stopping.is_set():
            began = time.monotonic()
            url = await trigger(client, neighbour, "greeting", {"who": "Ada"})
            assert (await ended(client, neighbour, url))["workflow_status"] == "Completed"
            seconds.append(time.monotonic() - began)
            await asyncio.sleep(0.05)

    living = asyncio.create_task(lives())
    try:
        yield
    finally:
        stopping.set()
        await living
    assert max(seconds) <= PATIENCE, f"the other account waited {max(seconds):.1f} s"


async def ended(client: httpx.AsyncClient, tenant: Tenant, url: str, limit: float = LIMIT) -> dict[str, Any]:
    """Read an instance once it has ended."""
    end = time.monotonic() + limit
    while True:
        instance: dict[str, Any] = (await client.get(url, headers=bearer(tenant.admin))).json()
        if instance["workflow_status"] != "In Progress":
            return instance
        assert time.monotonic() < end, f"still in progress after {limit} s"
        await asyncio.sleep(0.02)


async def endings(
    client: httpx.AsyncClient, world: World, definitions: Mapping[str, Tasks], **more: Any
) -> dict[str, Any]:
    """Run an account's definitions side by side while another account works; how each has ended.

    That is its output, or `(last word of the error's type, title)`.
    """
    urls = {}
    async with unharmed(client, world.globex):
        for name, tasks in definitions.items():
            await world.acme.publish(document(name, tasks, **more))
            urls[name] = await trigger(client, world.acme, name, {})
        found = {name: await ended(client, world.acme, url) for name, url in urls.items()}
    return {name: ending(instance) for name, instance in found.items()}


def ending(instance: Mapping[str, Any]) -> Any:
    """How an instance has ended."""
    error = instance.get("error")
    return (error["type"].removeprefix(STANDARD), error["title"]) if error else instance["output"]


async def refusals(world: World, tasks: Tasks, **more: Any) -> set[str]:
    """The codes of what keeps a definition from being stored."""
    with pytest.raises(DefinitionRefused) as refused:
        await world.acme.publish(document("refused", tasks, **more))
    return {problem.code for problem in refused.value.errors}


async def value(tenant: Tenant, statement: str) -> Any:
    """Ask for one value of the account's rows."""
    async with rows_of(tenant.id) as connection:
        return await connection.fetchval(statement)


# --- jq ---------------------------------------------------------------------------------------------------------------


async def test_programs_that_never_end_or_take_too_much_are_ended(
    client: httpx.AsyncClient, world: World
) -> None:
    hostile = {
        "forever": ("${ last(repeat(1)) }", "time limit"),
        "until": ("${ until(false; .) }", "time limit"),
        "recursion": ("${ def f: f; f }", "time limit"),
        "list": ("${ [range(1e12)] }", "time limit"),
        "doubling": ('${ reduce range(40) as $i ("a"; . + .) | length }', "memory limit"),
        "long": ('${ "a" * 2000000 }', "output size limit"),
        "deep": ("${ reduce range(100000) as $i (1; [.]) }", "depth limit"),
        "pattern": ('${ ("a" * 40 + "!") | test("^(a+)+$") }', "expression failed"),
        "number": ("${ 1e400 }", "expression failed"),
        "nothing": ("${ empty }", "no result"),
        "input": ("${ input }", "expression failed"),
        "halt": ("${ halt }", "no result"),
    }
    definitions = {name: once(program) for name, (program, _) in hostile.items()}
    definitions["condition"] = [{"task": {"if": "${ last(repeat(1)) }", **ONE}}]
    expected = {name: ("expression", title) for name, (_, title) in hostile.items()}
    expected["condition"] = ("expression", "time limit")
    definitions["stack"] = once("${ def f: 1 + f; f }")
    found = await endings(client, world, definitions)
    # Which of its limits a growing stack meets first is the machine's speed.
    assert found.pop("stack") in {("expression", "time limit"), ("expression", "memory limit")}
    assert found == expected


async def test_programs_see_nothing_of_the_process(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "a-value-of-the-process")
    seen: dict[str, tuple[str, Any]] = {
        "environment": ("${ $ENV }", {}),
        "variable": ("${ $ENV.PLANTED }", None),
        "function": ("${ env }", {}),
        "file": ("${ input_filename }", None),
        "line": ("${ input_line_number }", 0),
        "inputs": ("${ [inputs] }", []),
        "search": ("${ get_search_list }", []),
        "debug": ('${ "told" | debug | stderr }', "told"),
        "location": ("${ $__loc__.file }", "<top-level>"),
        "zone": ('${ 0 | strflocaltime("%Z") }', "UTC"),
    }
    found = await endings(client, world, {name: once(program) for name, (program, _) in seen.items()})
    assert found == {name: {"x": output} for name, (_, output) in seen.items()}
    assert await endings(client, world, {"module": once('${ "a" | modulemeta }')}) == {
        "module": ("expression", "expression failed")
    }


@pytest.mark.parametrize(
    "program",
    [
        'import "a" as a; .',
        'import "a" as $a; $a',
        'include "a"; .',
        'import "passwd" as $p {search: "/etc"}; $p',
        "1) , (2",
        "$__prog_args",
        "$secrets",
        "$secrets.token",
        '"\\ud800"',
        "(" * 4000,
        "." * 9000,
        "def f: " * 500,
    ],
    ids=lambda program: program[:20],
)
async def test_programs_that_cannot_be_are_refused_at_once(world: World, program: str) -> None:
    codes = await refusals(world, once(f"${{ {program} }}"))
    assert codes <= {"bad_expression", "too_large", "undeclared_secret"}


# --- Tasks that go on -------------------------------------------------------------------------------------------------


async def test_loops_end_at_the_limit_of_tasks(client: httpx.AsyncClient, world: World) -> None:
    thousand, most = "${ [range(1000)] }", "${ [range(9000)] }"
    hostile: dict[str, Tasks] = {
        "jump": [{"a": {**ONE, "then": "a"}}],
        "switch": [{"a": ONE}, {"b": {"switch": [{"always": {"then": "a"}}]}}],
        "skipped": [{"a": {"if": "${ false }", **ONE}}, {"b": {**ONE, "then": "a"}}],
        "wait": [{"a": {"wait": "PT0S", "then": "a"}}],
        "caught": [{"a": {"try": [{"b": {"raise": {"error": ERROR}}}], "catch": {"do": []}, "then": "a"}}],
        "nested": [loop(thousand, [{"inner": loop(thousand, [{"c": ONE}])["loop"]}])],
        "empty": [loop(thousand, [{"inner": loop(most, [])["loop"]}])],
        "forks": [loop(thousand, [fork({f"b{number}": ONE for number in range(50)})])],
    }
    assert await endings(client, world, hostile) == dict.fromkeys(hostile, ("runtime", "Task limit"))


async def test_a_loop_over_too_many_items_does_not_begin(client: httpx.AsyncClient, world: World) -> None:
    definitions = {"items": [loop("${ [range(100000)] }", [{"a": ONE}])]}
    assert await endings(client, world, definitions) == {"items": ("runtime", "Item limit")}


async def test_a_retry_for_ever_slows_down_and_can_be_cancelled(
    client: httpx.AsyncClient, world: World
) -> None:
    retry = {"delay": {"milliseconds": 0}}
    tasks: Tasks = [{"a": {"try": [{"b": {"raise": {"error": ERROR}}}], "catch": {"retry": retry}}}]
    await world.acme.publish(document("retry", tasks))
    async with unharmed(client, world.globex):
        url = await trigger(client, world.acme, "retry", {})
        await asyncio.sleep(2)
    assert 3 <= await value(world.acme, "SELECT count(*) FROM task_run WHERE name = 'b'") <= 6
    await client.post(f"{url}/actions/cancel", headers=bearer(world.acme.admin))
    assert (await ended(client, world.acme, url))["workflow_status"] == "Canceled"


def loop(items: str, tasks: Tasks) -> dict[str, Any]:
    """A task that runs others for each item."""
    return {"loop": {"for": {"each": "item", "in": items}, "do": tasks}}


def fork(branches: Mapping[str, Any]) -> dict[str, Any]:
    """A task with branches."""
    return {"fork": {"fork": {"branches": [{name: task} for name, task in branches.items()]}}}


def nested(depth: int, branches: int) -> dict[str, Any]:
    """Forks within forks."""
    if depth == 0:
        return ONE
    return fork({f"b{number}": nested(depth - 1, branches) for number in range(branches)})["fork"]  # type: ignore[no-any-return] # a task


async def test_forks_are_bounded_by_the_tasks_and_the_depth_of_a_definition(world: World) -> None:
    assert await refusals(world, [{"a": nested(9, 2)}]) == {"too_large"}
    assert await refusals(world, [{"a": nested(2, 50)}]) == {"too_large"}
    assert await refusals(world, [{"a": nested(20, 1)}]) == {"too_deep"}
    assert await refusals(world, [{f"a{number}": ONE} for number in range(501)]) == {"too_large"}


async def test_the_largest_forks_that_are_taken_complete(client: httpx.AsyncClient, world: World) -> None:
    deep = nested(19, 1)
    wide = {f"b{number}": {"do": [{f"c{task}": ONE} for task in range(8)]} for number in range(50)}
    found = await endings(client, world, {"deep": [{"a": deep}], "wide": [fork(wide)]})
    assert found["wide"] == 50 * [{"x": 1}]
    assert str(found["deep"]).count("[") == 19


# --- Data that grows --------------------------------------------------------------------------------------------------


async def test_data_that_grows_ends_at_the_limit_of_its_size(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After its second an advance stores what it has: on a busy machine branches that have yet to become one output.
    monkeypatch.setattr(worker, "ADVANCE_SECONDS", LIMIT)
    monkeypatch.setattr(process, "TIME_LIMIT_SECONDS", LIMIT)
    first = {"first": {"set": {"x": "0123456789"}}}
    hostile: dict[str, tuple[Tasks, str, str]] = {
        "text": (
            [first, {"a": {"set": {"x": "${ .x + .x }"}, "then": "a"}}],
            "expression",
            "output size limit",
        ),
        "template": (
            [first, {"a": {"set": {"x": "${ . }", "y": "${ . }"}, "then": "a"}}],
            "expression",
            "output size limit",
        ),
        "context": (
            [
                first,
                {"a": {"set": "${ . }", "export": {"as": "${ [$context, $context, .] }"}, "then": "a"}},
            ],
            "expression",
            "output size limit",
        ),
        "at-once": (once('${ "a" * 3000000 }'), "expression", "output size limit"),
        "deeper": (
            [{"a": {**fork({"b": {"set": "${ . }"}})["fork"], "then": "a"}}],
            "expression",
            "depth limit",
        ),
        "together": (
            [fork({f"b{number}": MEGABYTE for number in range(6)})],
            "expression",
            "output size limit",
        ),
        "state": (
            [fork({f"b{number}": {"do": [{"a": MEGABYTE}, {"w": {"wait": "PT1S"}}]} for number in range(6)})],
            "runtime",
            "Size limit",
        ),
    }
    found = await endings(client, world, {name: tasks for name, (tasks, _, _) in hostile.items()})
    wanted = {name: (kind, title) for name, (_, kind, title) in hostile.items()}
    assert found == wanted


async def test_forks_that_double_the_data_end_at_the_limit_of_its_size(
    client: httpx.AsyncClient, world: World
) -> None:
    branches = fork({"a": {"set": "${ . }"}, "b": {"set": "${ . }"}})["fork"]
    doubling: Tasks = [{f"f{number}": branches} for number in range(20)]  # 40 of them would end the process
    (found,) = (await endings(client, world, {"doubling": doubling})).values()
    assert isinstance(found, tuple)
    assert found[0] in {"runtime", "expression"}


async def test_an_output_of_10_mb_is_refused(client: httpx.AsyncClient, world: World) -> None:
    tasks = [{"a": MEGABYTE}, fork({f"b{number}": {"set": "${ . }"} for number in range(10)})]
    (found,) = (await endings(client, world, {"output": tasks})).values()
    assert isinstance(found, tuple)
    assert found[0] in {"runtime", "expression"}


# --- Workflows that start workflows -----------------------------------------------------------------------------------


def runs(name: str, **more: Any) -> Tasks:
    """The task that runs a workflow."""
    workflow = {"namespace": "hostile", "name": name, "version": "latest"}
    return [{"task": {"run": {"workflow": workflow, **more}}}]


async def test_workflows_that_run_one_another_end_at_the_limit_of_their_depth(
    client: httpx.AsyncClient, world: World
) -> None:
    await world.acme.publish(document("other", runs("one")))
    found = await endings(client, world, {"itself": runs("itself"), "one": runs("other")})
    assert found["itself"] == found["one"] == ("runtime", "Depth limit")
    assert await value(world.acme, "SELECT count(*) FROM instance WHERE ended_at IS NULL") == 0


async def test_workflows_that_nobody_awaits_end_at_the_limit_of_their_depth_too(
    client: httpx.AsyncClient, world: World
) -> None:
    assert await endings(client, world, {"spread": runs("spread", **{"await": False})}) == {"spread": {}}
    await eventually(
        world.acme, "SELECT count(*) = 11 AND every(ended_at IS NOT NULL) AND max(depth) = 10 FROM instance"
    )


async def eventually(tenant: Tenant, statement: str) -> None:
    """Wait until a statement says true of the account's rows."""
    async with asyncio.timeout(LIMIT):
        while not await value(tenant, statement):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.05)


# --- Schemas, patterns and events -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": r"(a)\1"},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
        {"$ref": "https://tests.example/schema"},
        {"$ref": "file:///etc/passwd"},
    ],
    ids=["back-reference", "look-ahead", "repetition", "remote", "file"],
)
async def test_schemas_that_could_do_harm_are_refused(world: World, schema: dict[str, Any]) -> None:
    shaped = {"task": {**ONE, "input": {"schema": {"document": schema}}}}
    assert await refusals(world, [shaped]) <= {"bad_schema", "remote_ref", "invalid_schema"}


async def test_schemas_that_take_long_or_never_end_are_ended(client: httpx.AsyncClient, world: World) -> None:
    levels = {f"l{level}": {"allOf": 2 * [{"$ref": f"#/$defs/l{level + 1}"}]} for level in range(40)}
    schemas: dict[str, dict[str, Any]] = {
        "slow": {"properties": {"x": {"pattern": "^(a+)+$"}}},
        "circle": {"$ref": "#"},
        "doubling": {"$defs": {**levels, "l40": True}, "$ref": "#/$defs/l0"},
    }
    hostile: dict[str, Tasks] = {
        name: [
            {"first": {"set": {"x": 40 * "a" + "!"}}},
            {"task": {**ONE, "input": {"schema": {"document": schema}}}},
        ]
        for name, schema in schemas.items()
    }
    found = await endings(client, world, hostile)
    assert found["slow"] == ("validation", "The input does not fit its schema")
    assert all(isinstance(one, tuple) or one == {"x": 1} for one in found.values())


async def test_filters_that_never_end_take_no_event_and_harm_nobody(
    client: httpx.AsyncClient, world: World
) -> None:
    filters = {
        "pattern": {"type": "^(a+)+$"},
        "computed": {"type": "${ last(repeat(1)) }"},
        "correlated": {"type": 40 * "a" + "!"},
    }
    urls = []
    async with unharmed(client, world.globex):
        for name, wanted in filters.items():
            one: dict[str, Any] = {"with": wanted}
            if name == "correlated":
                one["correlate"] = {"key": {"from": "${ last(repeat(1)) }"}}
            await world.acme.publish(document(name, [{"task": {"listen": {"to": {"one": one}}}}]))
            urls.append(await trigger(client, world.acme, name, {}))
        for url in urls:
            sent = await client.post(
                f"{url}/actions/signal", json={"type": 40 * "a" + "!"}, headers=bearer(world.acme.admin)
            )
            assert sent.status_code == 202
        await eventually(world.acme, "SELECT count(*) = 0 FROM job")
    for url in urls:
        instance = (await client.get(url, headers=bearer(world.acme.admin))).json()
        assert instance["workflow_status"] == "In Progress"


async def test_a_flood_of_events_ends_where_an_instance_has_enough(
    client: httpx.AsyncClient, world: World
) -> None:
    tasks: Tasks = [{"task": {"listen": {"to": {"one": {"with": {"type": "never"}}}}}}]
    await world.acme.publish(document("listening", tasks))
    async with unharmed(client, world.globex):
        url = await trigger(client, world.acme, "listening", {})
        statuses = [
            (
                await client.post(
                    f"{url}/actions/signal", json={"type": "other"}, headers=bearer(world.acme.admin)
                )
            ).status_code
            for _ in range(101)
        ]
    assert statuses == 100 * [202] + [409]


async def test_events_that_workflows_send_one_another_for_ever_harm_nobody(
    client: httpx.AsyncClient, world: World
) -> None:
    emit = {"emit": {"event": {"with": {"type": "ping", "source": "urn:tests", "data": {}}}}}
    on = {"schedule": {"on": {"one": {"with": {"type": "ping"}}}}}
    async with unharmed(client, world.globex):
        await world.acme.publish(document("again", [{"a": emit}, {"b": emit}], **on))
        await world.acme.publish(document("first", [{"a": emit}]))
        await ended(client, world.acme, await trigger(client, world.acme, "first", {}))
        await asyncio.sleep(3)
        workflow = f"{world.acme.workflow_url('again')}/actions/archive"
        assert (await client.post(workflow, headers=bearer(world.acme.admin))).status_code == 200
        await eventually(world.acme, "SELECT count(*) = 0 FROM job")


async def test_an_instance_waits_for_five_hundred_things_at_once(
    client: httpx.AsyncClient, world: World
) -> None:
    waits = fork({f"b{number}": {"wait": "PT1H"} for number in range(30)})
    calls = fork({f"b{number}": {"call": "waits"} for number in range(17)})
    await world.acme.publish(document("wide", [calls], use={"functions": {"waits": waits["fork"]}}))
    found = await ended(client, world.acme, await trigger(client, world.acme, "wide", {}))
    assert found["error"]["title"] == "Size limit"
    assert "500" in found["error"]["detail"]


async def test_a_thousand_timers_of_an_instant_harm_nobody(client: httpx.AsyncClient, world: World) -> None:
    waits = fork({f"b{number}": {"wait": "PT0.001S"} for number in range(50)})
    await world.acme.publish(document("timers", [waits]))
    await world.globex.publish(document("timer", [{"a": {"wait": "PT0.2S"}}]))
    async with unharmed(client, world.globex):
        urls = [await trigger(client, world.acme, "timers", {}) for _ in range(20)]
        began = time.monotonic()
        await ended(client, world.globex, await trigger(client, world.globex, "timer", {}))
        assert time.monotonic() - began <= PATIENCE
        for url in urls:
            assert (await ended(client, world.acme, url))["workflow_status"] == "Completed"


# --- Texts ------------------------------------------------------------------------------------------------------------

NUL = '${ "a\\u0000b" }'
EMITTED = {"type": "odd", "source": "urn:tests"}
ASSIGNED = {"assignees": {"roles": ["admin"]}}


@pytest.mark.parametrize("waits", [False, True], ids=["at-once", "after-a-wait"])
@pytest.mark.parametrize(
    "task",
    [
        pytest.param({"set": {"x": NUL}}, id="value"),
        pytest.param({"set": '${ {"a\\u0000b": 1} }'}, id="key"),
        pytest.param({"raise": {"error": {**ERROR, "title": NUL}}}, id="title"),
        pytest.param({"raise": {"error": {**ERROR, "type": NUL}}}, id="type"),
        pytest.param({"emit": {"event": {"with": {**EMITTED, "data": NUL}}}}, id="event"),
        pytest.param({"emit": {"event": {"with": {**EMITTED, "type": NUL}}}}, id="event-type"),
        pytest.param({"wait": NUL}, id="duration"),
        pytest.param({"call": "approval", "with": {"title": NUL, **ASSIGNED}}, id="work-item"),
    ],
)
async def test_nul_characters_stop_nothing(
    client: httpx.AsyncClient, world: World, task: dict[str, Any], *, waits: bool
) -> None:
    before: Tasks = [{"before": {"wait": "PT0.05S"}}] if waits else []
    await world.acme.publish(document("nul", [*before, {"task": task}]))
    url = await trigger(client, world.acme, "nul", {})
    after = await trigger(client, world.acme, "greeting", {"who": "Ada"})
    await ended(client, world.acme, after, 10)
    await ended(client, world.acme, url, 10)
    await eventually(world.acme, "SELECT count(*) = 0 FROM job")


async def test_odd_numbers_and_sizes_stop_nothing(client: httpx.AsyncClient, world: World) -> None:
    hostile: dict[str, Tasks] = {
        "number": once(f"${{ 1{300 * '0'} }}"),
        "infinite": once("${ infinite }"),
        "nan": once("${ nan }"),
        "years": [{"a": {"wait": '${ "P999999999999999Y" }'}}],
        "seconds": [{"a": {"wait": "${ {seconds: 1e300} }"}}],
        "title": [{"a": {"raise": {"error": {**ERROR, "title": '${ "a" * 900000 }'}}}}],
        "type": [{"a": {"raise": {"error": {**ERROR, "type": '${ "urn:" + "a" * 900000 }'}}}}],
        "event": [{"a": {"emit": {"event": {"with": {**EMITTED, "data": '${ "a" * 900000 }'}}}}}],
        "event-type": [{"a": {"emit": {"event": {"with": {**EMITTED, "type": '${ "a" * 60000 }'}}}}}],
        "levels": once("${ reduce range(500) as $i (1; [.]) }"),
    }
    found = await endings(client, world, hostile)
    assert found["nan"] == {"x": None}
    assert found["years"] == found["seconds"] == ("validation", "Not a duration")
    assert found["levels"] == ("runtime", "Output limit")
    await eventually(world.acme, "SELECT count(*) = 0 FROM job")


# --- The process that serves everybody ---------------------------------------------------------------------------------


async def test_large_data_that_needs_no_jq_leaves_time_for_others(
    client: httpx.AsyncClient, world: World
) -> None:
    walk: Tasks = [
        {"first": {"set": {"x": "${ [range(100000)] }"}}},
        {"walk": {"set": {"x": "${ .x }", "again": True}, "then": "walk"}},
    ]
    await world.acme.publish(document("walk", walk))
    urls = []
    try:
        async with unharmed(client, world.globex):
            urls = [await trigger(client, world.acme, "walk", {}) for _ in range(8)]
            await asyncio.sleep(2)
    finally:
        await cancel(client, world.acme, urls)


async def test_long_credentials_leave_time_for_others(client: httpx.AsyncClient, world: World) -> None:
    call = {
        "method": "get",
        "endpoint": {
            "uri": "http://127.0.0.1:1/",
            "authentication": {"bearer": {"token": '${ [range(20000) | "%<\\(.)>"] | join("") }'}},
        },
    }
    found = await endings(client, world, {"credentials": [{"a": {"call": "http", "with": call}}]})
    assert found["credentials"][0] in {"communication", "configuration", "validation"}


async def cancel(client: httpx.AsyncClient, tenant: Tenant, urls: Iterable[str]) -> None:
    """Cancel instances, all at once, as the service may be busy."""
    requests = (client.post(f"{url}/actions/cancel", headers=bearer(tenant.admin)) for url in urls)
    await asyncio.gather(*requests)
