"""Secrets in use: whatever a definition or the called service does with one, no row, log line, error or answer has it."""

import base64
import json
import logging
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from aiohttp import web

from auth.bearer import Operator
from service.errors import DefinitionRefused
from service.language.errors import STANDARD
from service.operations import secrets
from service.settings import settings
from tenancy.postgres import connected
from tests.engine.outside import Site, site
from tests.engine.test_hostile import ended
from tests.tenancy.databases import superuser
from tests.world import World, trigger

VALUE = "Planted/Value+7f3a&nobody=reads"
LOGIN = {"username": "ada", "password": VALUE}
TOKEN = "${ $secrets.token }"
BEARER = {"authentication": {"bearer": {"token": TOKEN}}}

TABLES = """
SELECT format('%I', table_name) FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY table_name
"""


def disguises() -> dict[str, bytes]:
    """The forms in which the value may turn up."""
    raw = VALUE.encode()
    found = {"plain": raw, "lower case": raw.lower(), "hexadecimal": raw.hex().encode()}
    found |= {"URL": quote(VALUE, safe="").encode(), "codes": b", ".join(b"%d" % byte for byte in raw[:12])}
    found |= {"packed codes": b",".join(b"%d" % byte for byte in raw[:12]), "backwards": raw[::-1]}
    for shift in range(3):
        found[f"Base64, {shift}"] = base64.b64encode(shift * b"x" + raw)[4:-4]
    return found


def shown_in(text: bytes) -> list[str]:
    """How the value is shown in a text."""
    return [name for name, form in disguises().items() if form in text or form in text.replace(b"\\/", b"/")]


async def everything_stored() -> bytes:
    """Every row of every table of every account."""
    found = []
    async with connected(superuser()) as connection:
        for (table,) in await connection.fetch(TABLES):
            for row in await connection.fetch(f"SELECT * FROM {table}"):
                found += [
                    value if isinstance(value, bytes) else str(value).encode() for value in row.values()
                ]
    return b"\n".join(found)


async def mirrored(request: web.Request) -> web.Response:
    """Send back all of what came, wherever the path says: in the body, the headers, the status line or the address."""
    shown = request.headers.get("authorization", "") + request.query_string + await request.text()
    safe, encoded = quote(shown, safe=""), base64.b64encode(shown.encode()).decode()
    answers: dict[str, dict[str, Any]] = {
        "failing": {"status": 500, "text": f"You sent {shown} and {encoded}"},
        "json": {"status": 422, "text": json.dumps({"sent": shown}), "content_type": "application/json"},
        "headers": {"headers": {"X-Sent": safe, "Set-Cookie": f"sent={safe}", "X-Plain": shown}},
        "reason": {"status": 400, "reason": f"No {shown}"},
        "redirect": {"status": 302, "headers": {"Location": f"/?{safe}"}},
        "fine": {"text": "fine"},
    }
    return web.Response(**answers.get(request.path.strip("/"), {"text": shown}))


def call(site: Site, path: str, **arguments: Any) -> dict[str, Any]:
    """A task that calls the mirror; `endpoint` adds to where it is."""
    endpoint = {"uri": f"{site.url}/{path}", **arguments.pop("endpoint", {})}
    return {"call": "http", "with": {"method": "post", "endpoint": endpoint, **arguments}}


def attempts(mirror: Site) -> dict[str, dict[str, Any]]:
    """Tasks that show, or try to show, a secret to whoever can read the account's instances."""
    raising = {"try": [], "catch": {"as": "caught", "do": [{"keep": {"set": {"kept": "${ $caught }"}}}]}}
    return {
        "bearer": call(mirror, "failing", endpoint=BEARER),
        "json": call(mirror, "json", endpoint=BEARER),
        "reason": call(mirror, "reason", endpoint=BEARER),
        "redirect": call(mirror, "redirect", endpoint=BEARER, output="response", redirect=True),
        "headers": call(mirror, "headers", endpoint=BEARER, output="response"),
        "basic": call(mirror, "failing", endpoint={"authentication": {"basic": {"use": "login"}}}),
        "digest": call(mirror, "failing", endpoint={"authentication": {"digest": {"use": "login"}}}),
        "query": call(mirror, "failing", query={"token": TOKEN}),
        "query-shown": call(mirror, "fine", query={"token": TOKEN}, output="response"),
        "body": call(mirror, "failing", body={"token": TOKEN}),
        "encoded": call(mirror, "failing", body="${ $secrets.token | @base64 }"),
        "header": call(mirror, "fine", headers={"x-token": TOKEN}, output="response"),
        "caught": raising | {"try": [{"a": call(mirror, "failing", endpoint=BEARER)}]},
        "error": call(mirror, "fine", body="${ error($secrets.token) }"),
        "error-in-url": call(mirror, "fine", body="${ error($secrets.token | @uri) }"),
        "index": call(mirror, "fine", body="${ 1 | .[$secrets.token] }"),
        "address": call(mirror, "fine", endpoint={"uri": '${ "http://" + $secrets.token }'}),
        "no-address": call(mirror, "fine", endpoint={"uri": TOKEN}),
        "path": call(mirror, "fine", endpoint={"uri": '${ "http://127.0.0.1:1/" + $secrets.token }'}),
        "header-name": call(mirror, "fine", headers='${ {($secrets.token): "x"} }'),
        "input": {**call(mirror, "failing", body="${ . }"), "input": {"from": "${ {t: $secrets.token} }"}},
        "template": {
            **call(mirror, "failing", endpoint={"uri": mirror.url + "/{t}"}),
            "input": {"from": "${ {t: $secrets.token} }"},
            "output": {"as": "${ {was: $input, now: .} }"},
        },
        "oauth": call(
            mirror,
            "fine",
            endpoint={
                "authentication": {
                    "oauth2": {
                        "authority": mirror.url,
                        "grant": "client_credentials",
                        "client": {"id": "ada", "secret": TOKEN},
                        "endpoints": {"token": "/failing"},
                    }
                }
            },
        ),
    }


async def run(client: httpx.AsyncClient, world: World, name: str, task: dict[str, Any]) -> Any:
    """Run one task that may read the secrets; how its instance has ended, as the API tells it."""
    head = {"dsl": "1.0.3", "namespace": "hostile", "name": name, "version": "1.0.0"}
    use = {"secrets": ["token", "login"]}
    await world.acme.publish({"document": head, "use": use, "do": [{"task": task}]})
    url = await trigger(client, world.acme, name, {})
    return await ended(client, world.acme, url)


@pytest.fixture
async def planted(world: World, secret_keys: None) -> World:
    """An account has the secret."""
    acme = Operator(world.acme.id)
    await secrets.set_secret(acme, "token", VALUE)
    await secrets.set_secret(acme, "login", LOGIN)
    return world


async def test_no_attempt_shows_a_secret(
    client: httpx.AsyncClient, planted: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = {}
    async with site(mirrored) as mirror:
        for name, task in attempts(mirror).items():
            told[name] = await run(client, planted, name, task)
        received = " ".join(str(one.headers) + one.query_string for one in mirror.requests) + str(
            mirror.bodies
        )
    assert VALUE in received  # the mirror was told
    assert {
        name: found for name, instance in told.items() if (found := shown_in(str(instance).encode()))
    } == {}
    assert shown_in(await everything_stored()) == []
    logged = "".join(str(line.__dict__) for line in caplog.records if line.name != "aiohttp.access")
    assert shown_in(logged.encode()) == []  # aiohttp.access is the mirror's own log
    assert told["bearer"]["error"]["status"] == 500
    assert "[redacted]" in told["bearer"]["error"]["detail"]
    assert told["query-shown"]["workflow_status"] == "Completed"


@pytest.mark.parametrize("output", ["content", "response", "raw"])
async def test_a_service_that_sends_a_secret_back_does_not_show_it(
    client: httpx.AsyncClient, planted: World, output: str
) -> None:
    async with site(mirrored) as mirror:
        told = await run(client, planted, "echo", call(mirror, "echo", endpoint=BEARER, output=output))
    assert shown_in(str(told).encode()) == []
    assert shown_in(await everything_stored()) == []


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("error($secrets.token | explode)", id="codes"),
        pytest.param("error($secrets.token | explode | reverse | implode)", id="backwards"),
        pytest.param("error($secrets.token | ascii_downcase)", id="lower-case"),
        pytest.param('error($secrets.token / "/")', id="in-parts"),
    ],
)
async def test_an_error_of_an_expression_that_reads_a_secret_tells_nothing_of_it(
    client: httpx.AsyncClient, planted: World, program: str
) -> None:
    async with site(mirrored) as mirror:
        told = await run(client, planted, "changed", call(mirror, "fine", body=f"${{ {program} }}"))
    assert told["error"]["type"] == STANDARD + "expression"
    assert shown_in(str(told).encode()) == []
    assert VALUE[:7] not in str(told)


@pytest.mark.parametrize(
    "task",
    [
        {"set": {"x": TOKEN}},
        {"set": {"x": "${ $secrets }"}},
        {"raise": {"error": {"type": "urn:x", "status": 500, "title": TOKEN}}},
        {"emit": {"event": {"with": {"type": "x", "source": "urn:x", "data": TOKEN}}}},
        {"if": '${ $secrets.token == "x" }', "set": {"x": 1}},
        {"set": {"x": 1}, "output": {"as": TOKEN}},
        {"set": {"x": 1}, "export": {"as": TOKEN}},
        {"set": {"x": 1}, "input": {"from": TOKEN}},
        {"wait": TOKEN},
        {"switch": [{"a": {"when": '$secrets.token == "x"', "then": "end"}}]},
        {"call": "approval", "with": {"title": TOKEN, "assignees": {"roles": ["admin"]}}},
        {"run": {"workflow": {"namespace": "x", "name": "y", "version": "latest", "input": {"a": TOKEN}}}},
    ],
    ids="-".join,
)
async def test_secrets_are_read_by_calls_alone(planted: World, task: dict[str, Any]) -> None:
    head = {"dsl": "1.0.3", "namespace": "hostile", "name": "reads", "version": "1.0.0"}
    with pytest.raises(DefinitionRefused):
        await planted.acme.publish({"document": head, "use": {"secrets": ["token"]}, "do": [{"task": task}]})


async def test_a_secret_of_another_account_is_not_there(client: httpx.AsyncClient, planted: World) -> None:
    head = {"dsl": "1.0.3", "namespace": "hostile", "name": "theirs", "version": "1.0.0"}
    async with site(mirrored) as mirror:
        task = call(mirror, "failing", endpoint=BEARER)
        document = {"document": head, "use": {"secrets": ["token"]}, "do": [{"task": task}]}
        await planted.globex.publish(document)
        url = await trigger(client, planted.globex, "theirs", {})
        told = await ended(client, planted.globex, url)
        assert mirror.requests == []
    assert (told["error"]["type"], told["error"]["status"]) == (STANDARD + "authorization", 403)


async def test_without_the_operators_key_a_call_fails_and_only_the_operator_hears_why(
    client: httpx.AsyncClient,
    planted: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("TUTTI_SECRET_KEYS")
    settings.cache_clear()
    async with site(mirrored) as mirror:
        told = await run(client, planted, "locked", call(mirror, "failing", endpoint=BEARER))
        assert mirror.requests == []
    assert (told["error"]["type"], told["error"]["status"]) == (STANDARD + "authorization", 403)
    assert "TUTTI_SECRET_KEYS" not in str(told)
    assert "TUTTI_SECRET_KEYS is not set" in caplog.text
