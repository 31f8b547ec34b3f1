"""Requests for authorization: whom they may send where, what is wrong with them, and what comes back."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from auth.authorization import (
    PROMPTS,
    Approval,
    Authorization,
    RequestRefused,
    Returned,
    declined,
    examined,
    granted,
)
from auth.scopes import SCOPES
from tenancy.accounts import suspend_account
from tenancy.postgres import connected
from tenancy.rows import transaction
from tests.auth.oauth import (
    CALLBACK,
    CHALLENGE,
    LOOPBACK,
    VERIFIER,
    App,
    issuer,
    query_of,
    registered,
    unknown_id,
)
from tests.tenancy.databases import superuser
from tests.world import World

HOSTILE = [
    '"',
    "\\",
    "bücher",
    "a\nb",
    "\x7f",
    "<script>alert(1)</script>",
    "%0d%0aSet-Cookie: a=b",
    "'--",
    "{{7*7}}",
]


async def refusal_of(app: App, **changed: str | None) -> str:
    """The reason on the page of a request for which nobody is sent anywhere."""
    with pytest.raises(RequestRefused) as caught:
        await app.examined(**changed)
    return caught.value.reason


async def test_a_request_says_who_asks_for_what(world: World) -> None:
    app = await registered(world.acme.id)
    found = await app.examined(scope="openid  signature openid", prompt="login consent", max_age="10000")
    assert found.client.id == app.id
    assert found.redirect_uri == CALLBACK
    assert found.scopes == ("openid", "signature")
    assert found.prompts == {"login", "consent"}
    assert found.max_age == 10_000


async def test_what_nobody_knows_is_ignored(world: World) -> None:
    app = await registered(world.acme.id)
    hints = {"login_hint": "ada@example.com", "ui_locales": "de", "claims_locales": "de", "acr_values": "1"}
    found = await app.examined(display="popup", no_such_parameter="1", **hints)
    assert found.client.id == app.id


async def test_the_answer_holds_code_state_and_issuer(world: World) -> None:
    app = await registered(world.acme.id)
    location = await app.approved(world.acme.admin_id)
    assert location.startswith(f"{CALLBACK}?")
    answer = query_of(location)
    assert set(answer) == {"code", "state", "iss"}
    assert (answer["state"], answer["iss"]) == ("s-1", issuer().url)
    assert "state" not in query_of(await app.approved(world.acme.admin_id, state=None))


@pytest.mark.parametrize(
    "state", ["a b+c&d=e%20f#g?", "ü ✓ 日本", '"><script>', "\\", "x" * 4000, " ", "\t\r\n"]
)
async def test_the_state_comes_back_exactly(world: World, state: str) -> None:
    app = await registered(world.acme.id)
    assert query_of(await app.approved(world.acme.admin_id, state=state))["state"] == state
    assert (await app.sent_back(state=state, scope="nonsense"))["state"] == state
    async with transaction():
        authorization = await examined(issuer(), app.parameters(state=state))
    assert query_of(declined(issuer(), authorization, "access_denied"))["state"] == state


async def test_a_decline_is_told_with_the_issuer(world: World) -> None:
    app = await registered(world.acme.id)
    location = declined(issuer(), await app.examined(), "access_denied")
    assert location.startswith(f"{CALLBACK}?")
    told = query_of(location)
    assert told.pop("error_description").isascii()
    assert told == {"error": "access_denied", "state": "s-1", "iss": issuer().url}


async def test_a_redirect_uris_own_query_is_kept(world: World) -> None:
    redirect_uri = "https://app.example/callback?tenant=1&empty=&q=a+b%26c&tenant=2"
    app = await registered(world.acme.id, redirect_uris=(redirect_uri,))
    kept = {"tenant": ["1", "2"], "empty": [""], "q": ["a b&c"]}
    location = await app.approved(world.acme.admin_id)
    found = parse_qs(urlsplit(location).query, keep_blank_values=True)
    assert set(found) == {*kept, "code", "state", "iss"}
    assert {name: found[name] for name in kept} == kept
    with pytest.raises(Returned) as caught:
        await app.examined(response_type="token")
    found = parse_qs(urlsplit(caught.value.location).query, keep_blank_values=True)
    assert {name: found[name] for name in kept} == kept
    assert found["error"] == ["unsupported_response_type"]


@pytest.mark.parametrize(
    "redirect_uri",
    ["com.example.app:/callback", "com.example.app://callback/here", "com.example.app:callback"],
)  # fmt: skip
async def test_an_applications_own_scheme_is_answered(world: World, redirect_uri: str) -> None:
    app = await registered(world.acme.id, "public", redirect_uris=(redirect_uri,))
    location = await app.approved(world.acme.admin_id)
    assert location.startswith(f"{redirect_uri}?code=")


@pytest.mark.parametrize(
    ("registered_uri", "asked"),
    [
        (LOOPBACK, "http://127.0.0.1:51004/callback"),
        (LOOPBACK, "http://127.0.0.1:1/callback"),
        (LOOPBACK, LOOPBACK),
        ("http://127.0.0.1:8080/callback", "http://127.0.0.1:9090/callback"),
        ("http://[::1]/callback", "http://[::1]:51004/callback"),
        ("http://127.0.0.1/callback?a=b", "http://127.0.0.1:51004/callback?a=b"),
    ],
)
async def test_a_native_app_listens_on_any_loopback_port(
    world: World, registered_uri: str, asked: str
) -> None:
    app = await registered(world.acme.id, "public", redirect_uris=(registered_uri,))
    location = await app.approved(world.acme.admin_id, redirect_uri=asked)
    assert location.startswith(asked)


@pytest.mark.parametrize(
    "asked",
    [
        "http://127.0.0.1:51004/other",
        "http://127.0.0.1:51004/callback/",
        "http://127.0.0.1:51004/callback?x=1",
        "http://127.0.0.1:51004/callback#x",
        "http://localhost:51004/callback",
        "http://127.0.0.2:51004/callback",
        "http://[::1]:51004/callback",
        "https://127.0.0.1:51004/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1:51004@evil.example/callback",
        "http://evil.example@127.0.0.1:51004/callback",
        "http://evil.example:80/http://127.0.0.1/callback",
        "http://127.0.0.1:/callback",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1:0x50/callback",
        "http://127.0.0.1:5\n1004/callback",
        "http://127.1:51004/callback",
        "http://2130706433:51004/callback",
        "http://[::ffff:127.0.0.1]:51004/callback",
        "http://[127.0.0.1/callback",
    ],
)
async def test_nothing_but_the_port_of_a_loopback_address_is_free(world: World, asked: str) -> None:
    app = await registered(world.acme.id, "public", redirect_uris=(LOOPBACK,))
    assert asked not in await refusal_of(app, redirect_uri=asked)


async def test_a_confidential_client_has_one_port(world: World) -> None:
    app = await registered(world.acme.id, redirect_uris=("http://127.0.0.1:8080/callback",))
    await app.examined()
    assert await refusal_of(app, redirect_uri="http://127.0.0.1:8081/callback")


@pytest.mark.parametrize(
    "client_id", [None, "", "nonsense", "00000000-0000-0000-0000-000000000000", "\x00", *HOSTILE]
)
async def test_an_unknown_client_sends_nobody_anywhere(world: World, client_id: str | None) -> None:
    app = await registered(world.acme.id)
    assert "not registered" in await refusal_of(app, client_id=client_id)


async def test_a_client_that_may_do_nothing_sends_nobody_anywhere(world: World) -> None:
    app = await registered(world.globex.id)
    machine = await registered(world.acme.id, "machine")
    unregistered = await refusal_of(app, client_id=unknown_id())
    assert await refusal_of(machine) == unregistered
    assert await refusal_of(app, client_id=str(app.id).upper().replace("-", "")) == unregistered
    await suspend_account(world.globex.id)
    assert await refusal_of(app) == unregistered


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"request_uri": "https://app.example/request"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"scope": "no_such_scope"}, "invalid_scope"),
        ({"scope": "openid openid2"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": " "}, "invalid_scope"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "create"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "1.5"}, "invalid_request"),
        ({"max_age": "٣"}, "invalid_request"),
        ({"max_age": "9" * 12}, "invalid_request"),
        ({"max_age": "9" * 5000}, "invalid_request"),
        ({"max_age": "0" * 11 + "9" * 11}, "invalid_request"),
        ({"max_age": "0" * 11 + "9" * 5000}, "invalid_request"),
    ],
)
async def test_what_is_wrong_goes_back_to_the_client(
    world: World, changed: dict[str, str | None], error: str
) -> None:
    app = await registered(world.acme.id)
    answer = await app.sent_back(**changed)
    assert answer["error"] == error
    assert (answer["state"], answer["iss"]) == ("s-1", issuer().url)
    assert set(answer) <= {"error", "error_description", "state", "iss"}


async def test_scopes_beyond_the_registration_are_refused(world: World) -> None:
    app = await registered(world.acme.id, scopes=("openid", "signature"))
    assert (await app.examined(scope="signature")).scopes == ("signature",)
    assert (await app.sent_back(scope="signature aow_manage"))["error"] == "invalid_scope"
    everything = await registered(world.acme.id)
    assert (await everything.examined(scope=" ".join(SCOPES))).scopes == tuple(SCOPES)


async def test_a_request_in_too_many_words_is_refused(world: World) -> None:
    app = await registered(world.acme.id)
    assert "too many words" in await refusal_of(app, state="x" * 8192)


async def test_a_registration_that_changed_while_the_person_read_is_told_the_client(world: World) -> None:
    app = await registered(world.acme.id, scopes=("openid", "signature"))
    authorization = await app.examined(scope="openid signature")
    async with connected(superuser()) as connection:
        await connection.execute("UPDATE client SET scopes = '{openid}' WHERE id = $1", app.id)
    answer = query_of(await approved_now(world.acme.admin_id, authorization))
    assert answer["error"] == "invalid_scope"
    assert (answer["state"], answer["iss"]) == ("s-1", issuer().url)
    async with connected(superuser()) as connection:
        await connection.execute(
            "UPDATE client SET scopes = '{}', redirect_uris = '{}' WHERE id = $1", app.id
        )
    with pytest.raises(RequestRefused):
        await approved_now(world.acme.admin_id, authorization)


async def approved_now(user_id: UUID, authorization: Authorization) -> str:
    """Where a person is sent who approves what was checked a while ago."""
    async with transaction():
        return await granted(issuer(), authorization, Approval(user_id, datetime.now(UTC), None))


@pytest.mark.parametrize("text", HOSTILE)
async def test_defect_01_hostile_text_is_neither_a_fault_nor_shown(world: World, text: str) -> None:
    app = await registered(world.acme.id)
    assert text not in await refusal_of(app, redirect_uri=f"https://evil.example/{text}")
    assert text not in await refusal_of(app, redirect_uri=text)
    for name in ("response_type", "scope", "response_mode", "prompt", "max_age", "code_challenge", "request"):
        answer = await app.sent_back(**{name: text})
        assert answer["error"]
        assert text not in answer.get("error_description", "")


@pytest.mark.parametrize("kind", ["confidential", "public"])
@pytest.mark.parametrize("method", [None, "plain", "s256", "S512", "S256 ", "none"])
async def test_defect_05_nothing_but_s256_is_a_challenge(world: World, kind: str, method: str | None) -> None:
    app = await registered(world.acme.id, kind)
    for challenge in (CHALLENGE, VERIFIER):
        answer = await app.sent_back(code_challenge=challenge, code_challenge_method=method)
        assert answer["error"] == "invalid_request"
        assert "S256" in answer["error_description"]


async def test_defect_06_public_client_without_a_challenge_is_refused_at_once(world: World) -> None:
    app = await registered(world.acme.id, "public")
    answer = await app.sent_back(code_challenge=None, code_challenge_method=None)
    assert answer["error"] == "invalid_request"
    assert (await app.examined()).client.kind == "public"
    confidential = await registered(world.acme.id)
    assert (await confidential.examined(code_challenge=None, code_challenge_method=None)).client.secret_hash


@pytest.mark.parametrize(
    "challenge",
    [CHALLENGE + "\n", CHALLENGE + "=", CHALLENGE[:-1], CHALLENGE + "x", "ä" * 43, "+" * 43, "." * 43, None],
)
async def test_defect_07_challenge_is_a_sha256_to_the_last_character(
    world: World, challenge: str | None
) -> None:
    app = await registered(world.acme.id)
    assert (await app.sent_back(code_challenge=challenge))["error"] == "invalid_request"


async def test_defect_18_what_is_missing_is_an_invalid_request(world: World) -> None:
    app = await registered(world.acme.id)
    assert (await app.sent_back(response_type=None))["error"] == "invalid_request"
    assert (await app.sent_back(request="e30.e30."))["error"] == "request_not_supported"


@pytest.mark.parametrize(
    "changed",
    [
        {"scope": "nonsense"},
        {"response_type": None},
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
        {"prompt": "none consent"},
        {"request": "x"},
    ],
)
async def test_defect_23_issuer_is_in_every_error(world: World, changed: dict[str, str | None]) -> None:
    app = await registered(world.acme.id)
    assert (await app.sent_back(**changed))["iss"] == issuer().url


async def test_defect_24_prompts_and_ages_are_left_to_the_pages(world: World) -> None:
    app = await registered(world.acme.id)
    for prompt in PROMPTS:
        assert (await app.examined(prompt=prompt)).prompts == {prompt}
        assert "code" in query_of(await app.approved(world.acme.admin_id, prompt=prompt))
    assert (await app.examined()).prompts == frozenset()
    assert (await app.examined(max_age="0")).max_age == 0
    assert (await app.examined()).max_age is None
