"""What people meet: which page is due, what it shows, where it leads, and what browsers may do with it."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from auth.authorization import DECLINED, PROMPTS, Authorization
from auth.clients import delete_client
from auth.consents import Allowed, remember_for_account
from auth.issuer import Issuer
from auth.pages.rendering import STYLE, hash_of
from auth.pages.waiting import LOST, Account, Pending, Standing
from auth.passwords import hash_password
from auth.registered import RegisteredClient
from auth.scopes import SCOPES
from auth.sessions import Login
from auth.throttle import MOST_OF_PAIR
from tenancy.accounts import add_user, create_account, remove_member, suspend_user
from tenancy.postgres import connected
from tenancy.rows import transaction
from tests.auth.oauth import CALLBACK, LOOPBACK, App, issuer, query_of, registered
from tests.auth.person import (
    PASSWORD,
    Person,
    alert_of,
    page_of,
    person,
    reason_of,
    token_of,
    told,
)
from tests.auth.rows import forget_failures, run
from tests.tenancy.databases import superuser
from tests.world import World

EMAIL = "admin@acme.example"
GRACE = "grace@example.org"
REQUESTED = ("openid", "signature", "aow_manage")

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MADE = NOW - timedelta(minutes=1)  # when the request came
ACME, GLOBEX = Account(uuid4(), "Acme", "admin"), Account(uuid4(), "Globex", "viewer")
ONE, BOTH = (ACME,), (ACME, GLOBEX)
EVERYWHERE, AT_ACME = Allowed(frozenset(REQUESTED), None), Allowed(frozenset(REQUESTED), ACME.id)


def standing(
    accounts: tuple[Account, ...] = ONE,
    remembered: Allowed | None = None,
    *,
    logged_in: timedelta | None = timedelta(hours=1),
    prompts: str = "",
    max_age: int | None = None,
    client: tuple[str, str] = ("confidential", CALLBACK),
    chosen: tuple[UUID | None] | None = None,
) -> Standing:
    """Somebody who logged in so long ago stands somewhere with a request of a minute ago."""
    kind, uri = client
    of = RegisteredClient(uuid4(), ACME.id, "Acme", "App", kind, None, [uri], [], [])
    authorization = Authorization(of, uri, REQUESTED, frozenset(prompts.split()), max_age, None, {})
    login = None if logged_in is None else Login(uuid4(), "Ada", EMAIL, NOW - logged_in)
    pending = Pending(uuid4(), authorization, MADE, chosen is not None, chosen[0] if chosen else None)
    return Standing(pending, NOW, login, accounts, remembered)


JUST_NOW = timedelta(0)
NATIVE = ("public", LOOPBACK)


@pytest.mark.parametrize(
    ("stands", "step"),
    [
        # Nobody is logged in.
        (standing(logged_in=None), "login"),
        (standing(logged_in=None, remembered=EVERYWHERE), "login"),
        # Somebody is, and the client wants a password given now; once it is given, it is not wanted again.
        (standing(prompts="login", remembered=EVERYWHERE), "login"),
        (standing(prompts="login", remembered=EVERYWHERE, logged_in=JUST_NOW), "done"),
        (standing(prompts="login consent", remembered=EVERYWHERE, logged_in=JUST_NOW), "consent"),
        # Or one given of late.
        (standing(max_age=3600, remembered=EVERYWHERE), "done"),
        (standing(max_age=3599, remembered=EVERYWHERE), "login"),
        (standing(max_age=0, remembered=EVERYWHERE), "login"),
        (standing(max_age=0, remembered=EVERYWHERE, logged_in=JUST_NOW), "done"),
        (standing(max_age=1, remembered=EVERYWHERE, logged_in=timedelta(seconds=50)), "done"),
        # Several accounts, and nothing says which.
        (standing(BOTH), "account"),
        (standing(BOTH, EVERYWHERE), "done"),
        (standing(BOTH, AT_ACME), "done"),
        (standing(BOTH, AT_ACME, prompts="select_account"), "account"),
        (standing(ONE, EVERYWHERE, prompts="select_account"), "done"),
        (standing(BOTH, prompts="consent"), "account"),
        (standing(BOTH, EVERYWHERE, prompts="consent"), "consent"),
        # An account was chosen: all, one, or one that is the person's no more.
        (standing(BOTH, chosen=(None,)), "consent"),
        (standing(BOTH, chosen=(ACME.id,)), "consent"),
        (standing(BOTH, chosen=(uuid4(),)), "account"),
        (standing(BOTH, EVERYWHERE, prompts="select_account", chosen=(None,)), "done"),
        (standing(BOTH, EVERYWHERE, prompts="select_account", chosen=(GLOBEX.id,)), "done"),
        (standing(BOTH, AT_ACME, prompts="select_account", chosen=(ACME.id,)), "done"),
        (standing(BOTH, AT_ACME, prompts="select_account", chosen=(GLOBEX.id,)), "consent"),
        (standing(BOTH, AT_ACME, prompts="select_account", chosen=(None,)), "consent"),
        # What was allowed before.
        (standing(), "consent"),
        (standing(remembered=EVERYWHERE), "done"),
        (standing(remembered=EVERYWHERE, prompts="consent"), "consent"),
        # Any program could pretend to be this client.
        (standing(remembered=EVERYWHERE, client=NATIVE), "consent"),
        (standing(remembered=EVERYWHERE, client=("public", "com.example.app:/callback")), "consent"),
        (standing(BOTH, EVERYWHERE, client=NATIVE), "account"),
        (standing(BOTH, EVERYWHERE, client=NATIVE, chosen=(None,)), "consent"),
        (standing(remembered=EVERYWHERE, client=("public", CALLBACK)), "done"),
        (standing(remembered=EVERYWHERE, client=("confidential", "http://localhost:3000/callback")), "done"),
    ],
)
def test_the_step_that_is_due(stands: Standing, step: str) -> None:
    assert stands.step == step


@pytest.mark.parametrize(
    ("stands", "account_id"),
    [
        (standing(remembered=EVERYWHERE), None),
        (standing(BOTH, AT_ACME), ACME.id),
        (standing(BOTH, AT_ACME, chosen=(GLOBEX.id,)), GLOBEX.id),
        (standing(BOTH, AT_ACME, chosen=(None,)), None),
        (standing(BOTH, AT_ACME, chosen=(uuid4(),)), ACME.id),
        (standing(BOTH, AT_ACME, client=NATIVE), None),
    ],
)
def test_the_account_that_the_answer_is_limited_to(stands: Standing, account_id: UUID | None) -> None:
    assert stands.narrowed_to == account_id


@pytest.fixture
async def app(world: World) -> App:
    """A client of Acme's."""
    return await registered(world.acme.id, name="Rehearsals")


@pytest.fixture
async def ada(world: World) -> Person:
    """Acme's administrator, in a new browser."""
    return await person(world.acme.admin_id, EMAIL)


@pytest.fixture
async def grace(world: World) -> Person:
    """A member of both accounts, in a new browser."""
    user_id = await add_user(GRACE, "Grace Hopper", hash_password(PASSWORD), world.acme.id, "admin")
    await add_user(GRACE, "Grace Hopper", None, world.globex.id, "sender")
    return await person(user_id, GRACE)


async def stored(what: str, *arguments: object) -> Any:
    """Look at what is stored, past every rule."""
    async with connected(superuser()) as connection:
        return await connection.fetchval(what, *arguments)


async def granted_to() -> UUID | None:
    """The account that the newest grant is limited to."""
    found: UUID | None = await stored(
        "SELECT narrowed_to FROM oauth_grant WHERE kind = 'authorization_code' ORDER BY created_at DESC LIMIT 1"
    )
    return found


# Logging in and allowing.


async def test_somebody_logs_in_and_allows_what_a_client_asks_for(ada: Person, app: App) -> None:
    page = await ada.begins(app)
    assert page_of(page) == "login"
    assert "Rehearsals" in page.text
    page = await ada.follows(await ada.logs_in(page))
    assert page_of(page) == "consent"
    assert "Acme Admin" in page.text
    for scope in REQUESTED:
        assert f'<li id="scope-{scope}">{SCOPES[scope]}</li>' in page.text
    answer = told(await ada.sends(page, answer="allow"), app)
    assert set(answer) == {"code", "state", "iss"}
    assert (answer["state"], answer["iss"]) == ("s-1", ada.issuer.url)
    assert await stored("SELECT count(*) FROM authorization_request") == 0


async def test_what_comes_back_is_worth_tokens(client: httpx.AsyncClient, ada: Person, app: App) -> None:
    answer = await ada.allows(app)
    tokens = await app.exchange(client, answer["code"])
    assert tokens.status_code == 200
    assert set(tokens.json()["scope"].split()) == set(REQUESTED)


async def test_somebody_denies(ada: Person, app: App) -> None:
    page = await ada.reaches(app, "consent")
    answer = told(await ada.sends(page, answer="deny"), app)
    assert answer.pop("error_description") == DECLINED["access_denied"]
    assert answer == {"error": "access_denied", "state": "s-1", "iss": ada.issuer.url}
    assert await stored("SELECT count(*) FROM consent WHERE user_id IS NOT NULL") == 0
    assert reason_of(await ada.sends(page, answer="allow")) == LOST


@pytest.mark.parametrize("answer", ["", "yes", "Allow"])
async def test_what_is_no_yes_is_a_no(ada: Person, app: App, answer: str) -> None:
    page = await ada.reaches(app, "consent")
    assert told(await ada.sends(page, answer=answer), app)["error"] == "access_denied"


async def test_a_client_may_post_its_request(ada: Person, app: App) -> None:
    parameters = app.parameters(state="a b&c=ü")
    answer = await ada.http.post("/oauth/auth", data=parameters, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 303
    assert "set-cookie" not in answer.headers
    assert answer.headers["location"].startswith("/oauth/auth?")
    assert query_of(answer.headers["location"]) == parameters
    assert page_of(await ada.follows(await ada.follows(answer))) == "login"


async def test_a_wrong_password_is_told_and_the_address_is_kept(ada: Person, app: App) -> None:
    page = await ada.begins(app)
    answer = await ada.logs_in(page, "wrong")
    assert "wrong" in alert_of(answer)
    assert f'value="{EMAIL}"' in answer.text
    assert 'aria-describedby="login-error"' in answer.text
    assert PASSWORD not in answer.text
    assert "Error: Log in" in answer.text
    answer = await ada.sends(page, email='"><script>alert(1)</script>', password="wrong")
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert (await ada.logs_in(page)).status_code == 303


async def test_nobody_learns_who_exists(ada: Person, app: App) -> None:
    page = await ada.begins(app)
    known = await ada.sends(page, email=EMAIL, password="wrong")
    unknown = await ada.sends(page, email="who@acme.example", password="wrong")
    nothing = await ada.sends(page)
    assert alert_of(known) == alert_of(unknown) == alert_of(nothing)


async def test_a_suspended_user_is_told_no_more_than_a_stranger(ada: Person, app: App, world: World) -> None:
    page = await ada.begins(app)
    wrong = alert_of(await ada.logs_in(page, "wrong"))
    await suspend_user(str(world.acme.admin_id))
    assert alert_of(await ada.logs_in(page)) == wrong


async def test_somebody_without_an_account_is_told_so(ada: Person, app: App, world: World) -> None:
    await remove_member(str(world.acme.admin_id), world.acme.id, even_the_last=True)
    answer = await ada.logs_in(await ada.begins(app))
    assert "No account is open to you" in alert_of(answer)
    assert await stored("SELECT count(*) FROM login_session") == 0


async def test_too_many_wrong_passwords_are_slowed_down(ada: Person, app: App) -> None:
    await forget_failures()
    page = await ada.begins(app)
    # Two windows' worth: the first may end in between.
    answers = [await ada.logs_in(page, "wrong") for _ in range(2 * MOST_OF_PAIR + 1)]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert re.search(r"Wait \d+ minutes? and try again", alert_of(refused, 429))
    assert 1 <= int(refused.headers["retry-after"]) <= 900
    await forget_failures()


# Asked again, or not.


async def test_what_was_allowed_once_is_not_asked_again(ada: Person, app: App) -> None:
    await ada.allows(app)
    answer = told(await ada.asks(app), app)
    assert set(answer) == {"code", "state", "iss"}
    assert set(told(await ada.asks(app, prompt="none"), app)) == {"code", "state", "iss"}


async def test_more_than_was_allowed_is_asked_again(ada: Person, app: App) -> None:
    await ada.allows(app)
    page = await ada.begins(app, scope="openid signature aow_manage extended")
    assert page_of(page) == "consent"
    assert 'id="scope-extended"' in page.text


async def test_what_an_administrator_allowed_is_not_asked(ada: Person, app: App, world: World) -> None:
    async with transaction():
        await remember_for_account(app.id, world.acme.id, REQUESTED)
    answer = await ada.logs_in(await ada.begins(app))
    assert "code" in told(answer, app)
    assert await granted_to() == world.acme.id


async def test_a_client_that_anybody_could_pretend_to_be_is_always_asked_for(
    ada: Person, world: World
) -> None:
    app = await registered(world.acme.id, "public", redirect_uris=(LOOPBACK,))
    await ada.allows(app)
    page = await ada.begins(app)
    assert page_of(page) == "consent"
    assert 'id="consent-notice"' in page.text
    assert told(await ada.asks(app, prompt="none"), app)["error"] == "consent_required"


async def test_a_public_client_on_https_is_remembered(ada: Person, world: World) -> None:
    app = await registered(world.acme.id, "public")
    await ada.allows(app)
    assert "code" in told(await ada.asks(app), app)


async def test_a_client_wants_no_page(ada: Person, grace: Person, app: App) -> None:
    assert told(await ada.asks(app, prompt="none"), app) == {
        "error": "login_required",
        "error_description": DECLINED["login_required"],
        "state": "s-1",
        "iss": ada.issuer.url,
    }
    await ada.reaches(app, "consent")
    assert told(await ada.asks(app, prompt="none"), app)["error"] == "consent_required"
    await grace.reaches(app, "account")
    assert told(await grace.asks(app, prompt="none"), app)["error"] == "account_selection_required"


async def test_a_client_wants_the_password_again(ada: Person, app: App) -> None:
    await ada.allows(app)
    for changed in ({"prompt": "login"}, {"max_age": "0"}):
        page = await ada.begins(app, **changed)
        assert page_of(page) == "login"
        assert "code" in told(await ada.logs_in(page), app)
    await run("UPDATE login_session SET auth_time = now() - interval '1 hour'")
    assert "code" in told(await ada.asks(app, max_age="3700"), app)
    assert page_of(await ada.begins(app, max_age="3500")) == "login"


@pytest.mark.parametrize("prompt", [*sorted(PROMPTS - {"none"}), "login consent select_account"])
async def test_no_prompt_asks_for_ever(grace: Person, app: App, prompt: str) -> None:
    await grace.allows(app)
    assert "code" in await grace.allows(app, prompt=prompt)


# Accounts.


async def test_a_chosen_account_is_what_the_answer_is_limited_to(
    grace: Person, app: App, world: World
) -> None:
    page = await grace.reaches(app, "account")
    assert page.text.count('type="radio"') == 3
    page = await grace.follows(await grace.sends(page, account=str(world.globex.id)))
    assert page_of(page) == "consent"
    assert "Globex" in page.text
    told(await grace.sends(page, answer="allow"), app)
    assert await granted_to() == world.globex.id
    # Remembered with the consent.
    told(await grace.asks(app), app)
    assert await granted_to() == world.globex.id


async def test_another_account_is_another_consent(grace: Person, app: App, world: World) -> None:
    page = await grace.reaches(app, "account")
    page = await grace.follows(await grace.sends(page, account=str(world.globex.id)))
    told(await grace.sends(page, answer="allow"), app)
    page = await grace.reaches(app, "account", prompt="select_account")
    page = await grace.follows(await grace.sends(page, account=str(world.acme.id)))
    assert page_of(page) == "consent"


async def test_all_accounts_may_be_chosen(grace: Person, app: App) -> None:
    page = await grace.reaches(app, "account")
    page = await grace.follows(await grace.sends(page, account="all"))
    assert "all your accounts" in page.text
    told(await grace.sends(page, answer="allow"), app)
    assert await granted_to() is None


async def test_nobody_chooses_an_account_that_is_not_theirs(ada: Person, grace: Person, app: App) -> None:
    page = await grace.reaches(app, "account")
    for account in ("", "everything", str(uuid4()), "%00"):
        assert "Choose all of your accounts" in alert_of(await grace.sends(page, account=account))
    assert page_of(await grace.http.get(page.request.url)) == "account"


async def test_an_account_that_was_left_meanwhile_is_chosen_no_more(
    grace: Person, app: App, world: World
) -> None:
    page = await grace.reaches(app, "account")
    page = await grace.follows(await grace.sends(page, account=str(world.globex.id)))
    await add_user(GRACE, "Grace", None, await create_account("Initech"), "sender")
    await remove_member(GRACE, world.globex.id)
    assert page_of(await grace.follows(await grace.sends(page, answer="allow"))) == "account"


async def test_somebody_else_logs_in_instead_and_chooses_anew(
    ada: Person, grace: Person, app: App, world: World
) -> None:
    await add_user(EMAIL, "Ada", None, world.globex.id, "sender")
    page = await grace.reaches(app, "account")
    page = await grace.follows(await grace.sends(page, account=str(world.globex.id)))
    before = grace.cookie
    page = await grace.follows(await grace.sends(page, answer="switch"))
    assert page_of(page) == "login"
    assert grace.cookie != before
    assert await stored("SELECT count(*) FROM login_session") == 0
    page = await grace.follows(await grace.sends(page, email=EMAIL, password=PASSWORD))
    assert page_of(page) == "account"
    assert "Acme Admin" in page.text
    page = await grace.follows(await grace.sends(page, account=str(world.acme.id)))
    assert "Grace" not in page.text
    told(await grace.sends(page, answer="allow"), app)
    assert await granted_to() == world.acme.id


# Whose page it is.


async def test_every_page_leads_to_the_one_that_is_due(ada: Person, grace: Person, app: App) -> None:
    answer, page = await grace.asks(app), await grace.begins(app)
    for due in ("login", "account", "consent"):
        for path in ("login", "account", "consent"):
            answer = await grace.http.get(f"/oauth/{path}", params=page.request.url.params)
            if path == due:
                assert page_of(answer) == due
            else:
                assert page_of(await grace.follows(answer)) == due
        page = await grace.http.get(f"/oauth/{due}", params=page.request.url.params)
        answer = await grace.sends(page, email=GRACE, password=PASSWORD, account="all", answer="allow")
    assert "code" in told(answer, app)


async def test_a_form_that_is_not_due_does_nothing(ada: Person, app: App) -> None:
    page = await ada.reaches(app, "consent")
    other = await ada.begins(app, prompt="login")
    answer = await ada.http.post(
        "/oauth/consent",
        params=other.request.url.params,
        data={"form_token": token_of(page), "answer": "allow"},
        headers=ada.ours,
    )
    assert "out of date" in reason_of(answer)
    await run("UPDATE login_session SET expires_at = now()")
    assert page_of(await ada.follows(await ada.sends(page, answer="allow"))) == "login"


@pytest.mark.parametrize("request_id", ["", "nonsense", "{foreign}", "{unknown}", "{expired}", "ü", "%ff"])
@pytest.mark.parametrize("path", ["/oauth/login", "/oauth/account", "/oauth/consent"])
async def test_a_login_that_is_not_there_has_one_error_page(
    ada: Person, grace: Person, app: App, path: str, request_id: str
) -> None:
    foreign = (await grace.begins(app)).request.url.params["request"]
    await ada.begins(app)
    expired = (await ada.begins(app, state="expired")).request.url.params["request"]
    await run("UPDATE authorization_request SET expires_at = now() WHERE id = $1", UUID(expired))
    wanted = request_id.format(foreign=foreign, unknown=uuid4(), expired=expired)
    answer = await ada.http.get(f"{path}?request={wanted}")
    if request_id == "%ff":
        assert "percent-encoded" in reason_of(answer)
    else:
        assert reason_of(answer) == LOST


async def test_a_request_is_answered_once(ada: Person, app: App) -> None:
    page = await ada.reaches(app, "consent")
    told(await ada.sends(page, answer="allow"), app)
    assert reason_of(await ada.sends(page, answer="allow")) == LOST
    assert reason_of(await ada.http.get(page.request.url)) == LOST


async def test_an_answer_pressed_many_times_at_once_counts_once(ada: Person, app: App) -> None:
    page = await ada.reaches(app, "consent")
    answers = await asyncio.gather(*(ada.sends(page, answer="allow") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [303, *[400] * 7]
    assert await stored("SELECT count(*) FROM oauth_grant WHERE kind = 'authorization_code'") == 1


async def test_of_logins_in_many_tabs_at_once_one_counts(ada: Person, app: App) -> None:
    pages = [await ada.begins(app, state=str(number)) for number in range(8)]
    answers = await asyncio.gather(*(ada.logs_in(page) for page in pages))
    assert sorted(answer.status_code for answer in answers) == [303, *[400] * 7]
    assert await stored("SELECT count(*) FROM login_session") == 1


async def test_two_tabs_of_a_browser_log_in_one_after_the_other(ada: Person, app: App) -> None:
    first, second = await ada.begins(app, state="1"), await ada.begins(app, state="2")
    await ada.logs_in(first)
    page = await ada.follows(await ada.http.get(second.request.url))
    assert page_of(page) == "consent"
    assert told(await ada.sends(page, answer="allow"), app)["state"] == "2"


async def test_a_client_that_is_gone_gets_nobody_back(ada: Person, app: App, world: World) -> None:
    page = await ada.reaches(app, "consent")
    await delete_client(world.acme.id, app.id)
    assert reason_of(await ada.sends(page, answer="allow")) == LOST


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("status = 'disabled'", "not registered"),
        ("redirect_uris = ARRAY['https://elsewhere.example/']", "not registered for it"),
        ("kind = 'machine'", "not registered"),
    ],
)
async def test_a_client_that_changed_meanwhile_gets_nobody_back(
    ada: Person, app: App, change: str, reason: str
) -> None:
    page = await ada.reaches(app, "consent")
    await run(f"UPDATE client SET {change} WHERE id = $1", app.id)
    assert reason in reason_of(await ada.sends(page, answer="allow"))


async def test_a_scope_that_was_taken_away_meanwhile_is_refused(ada: Person, app: App) -> None:
    page = await ada.reaches(app, "consent")
    await run("UPDATE client SET scopes = ARRAY['openid'] WHERE id = $1", app.id)
    assert told(await ada.sends(page, answer="allow"), app)["error"] == "invalid_scope"


# Errors.


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": f"{CALLBACK}/more"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": None},
        {"client_id": "nonsense"},
        {"client_id": None},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nobody_is_sent_where_nothing_is_registered(
    ada: Person, app: App, changed: dict[str, str | None], method: str
) -> None:
    parameters = app.parameters(**changed, state="<script>echo</script>")
    sent: dict[str, Any] = {"params": parameters} if method == "GET" else {"data": parameters}
    answer = await ada.http.request(method, "/oauth/auth", **sent)
    assert "application that sent you here" in reason_of(answer)
    assert "location" not in answer.headers
    for value in (*changed.values(), "echo"):
        assert value is None or value not in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_is_wrong_otherwise_goes_back_to_the_client(ada: Person, app: App, method: str) -> None:
    parameters = app.parameters(scope="nonsense")
    sent: dict[str, Any] = {"params": parameters} if method == "GET" else {"data": parameters}
    answer = told(await ada.http.request(method, "/oauth/auth", **sent), app)
    assert (answer["error"], answer["state"]) == ("invalid_scope", "s-1")


async def test_nothing_of_a_request_is_shown(grace: Person, app: App) -> None:
    hints = {"login_hint": "hint@example.org", "error": "eviltext", "ui_locales": "evillocale"}
    page = await grace.begins(app, **hints, state="evilstate", nonce="evilnonce")
    shown = page.text
    page = await grace.follows(await grace.logs_in(page))
    shown += page.text
    shown += (await grace.follows(await grace.sends(page, account="all"))).text
    assert "hint@" not in shown
    assert "evil" not in shown


async def test_names_are_shown_as_text(world: World, ada: Person) -> None:
    app = await registered(world.acme.id, name="<b>bold</b> & \u202ebold")
    page = await ada.reaches(app, "consent")
    assert "<bdi>&lt;b&gt;bold&lt;/b&gt; &amp; \u202ebold</bdi>" in page.text


@pytest.mark.parametrize("path", ["/oauth/auth", "/oauth/login", "/oauth/logout"])
async def test_a_query_that_says_something_twice_is_refused(ada: Person, path: str) -> None:
    answer = await ada.http.get(f"{path}?request=1&request=2&client_id=a&client_id=b")
    assert reason_of(answer) == "A parameter is repeated."


async def test_a_fault_of_ours_is_a_page_that_says_nothing(
    ada: Person, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr("auth.pages.controllers.examined", broken)
    answer = await ada.asks(app)
    assert "unexpected error" in reason_of(answer, 500)
    assert "secret" not in answer.text
    held_to_little(answer)


# Logging out.


async def test_nobody_is_logged_out_by_a_link(ada: Person, app: App) -> None:
    await ada.reaches(app, "consent")
    page = await ada.http.get("/oauth/logout")
    assert page_of(page) == "logout"
    assert page_of(await ada.begins(app)) == "consent"
    answer = await ada.http.post("/oauth/logout", data={"form_token": "0" * 64}, headers=ada.ours)
    assert "out of date" in reason_of(answer)
    assert page_of(await ada.begins(app)) == "consent"


async def test_a_client_may_post_its_wish_to_log_out(ada: Person, app: App) -> None:
    await ada.reaches(app, "consent")
    fields = {"client_id": str(app.id), "post_logout_redirect_uri": CALLBACK, "id_token_hint": "a.b.c"}
    answer = await ada.http.post("/oauth/logout", data=fields, headers={"Sec-Fetch-Site": "cross-site"})
    page = await ada.follows(answer)
    assert page_of(page) == "logout"
    assert f'href="{CALLBACK}"' in (await ada.sends(page)).text


async def test_who_is_logged_out_is_told_so(ada: Person) -> None:
    answer = await ada.http.get("/oauth/logout")
    assert answer.status_code == 200
    assert 'id="logged-out"' in answer.text


@pytest.mark.parametrize(
    ("parameters", "linked"),
    [
        ({"client_id": "{id}", "post_logout_redirect_uri": CALLBACK}, True),
        ({"post_logout_redirect_uri": CALLBACK}, False),
        ({"client_id": "{id}"}, False),
        ({"client_id": "{other}", "post_logout_redirect_uri": CALLBACK}, False),
        ({"client_id": "{id}", "post_logout_redirect_uri": f"{CALLBACK}?a=b"}, False),
        ({"client_id": "{id}", "post_logout_redirect_uri": "https://evil.example/"}, False),
        ({"client_id": "{id}", "post_logout_redirect_uri": "javascript:alert(1)"}, False),
    ],
)
async def test_the_way_back_after_logging_out_is_a_registered_one(
    ada: Person,
    app: App,
    parameters: dict[str, str],
    linked: bool,  # noqa: FBT001
) -> None:
    await ada.reaches(app, "consent")
    sent = {name: value.format(id=app.id, other=uuid4()) for name, value in parameters.items()}
    answer = await ada.sends(await ada.http.get("/oauth/logout", params=sent))
    assert answer.status_code == 200
    assert "location" not in answer.headers
    assert (f'href="{CALLBACK}"' in answer.text) is linked
    assert ("href=" in answer.text) is linked


async def test_logging_out_drops_what_waits(ada: Person, app: App) -> None:
    await ada.reaches(app, "consent")
    await ada.sends(await ada.http.get("/oauth/logout"))
    assert await stored("SELECT count(*) FROM authorization_request") == 0


# What browsers may do with it.


def held_to_little(answer: httpx.Response, targets: str = "'self'") -> None:
    """Check the headers that every page and redirect has."""
    policy = (
        f"default-src 'none'; style-src 'sha256-{hash_of(STYLE)}'; form-action {targets}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    assert answer.headers["content-security-policy"] == policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("origin", [None, "https://app.example"])
async def test_pages_and_redirects_may_do_little(grace: Person, app: App, origin: str | None) -> None:
    if origin is not None:  # the client's own, which may call the token endpoint from its scripts
        grace.http.headers["Origin"] = origin
    answer = await grace.asks(app)
    held_to_little(answer)
    page = await grace.follows(answer)
    held_to_little(page, "'self' https:")
    held_to_little(await grace.logs_in(page, "wrong"), "'self' https:")
    held_to_little(await grace.http.get("/oauth/login?request=1"))
    held_to_little(await grace.http.post("/oauth/auth", data=app.parameters()))
    held_to_little(await grace.http.post("/oauth/login", data={"a": "b"}))
    held_to_little(await grace.http.post("/oauth/login", json={}))
    held_to_little(await grace.http.post("/oauth/login", content=b"x" * 70_000))
    answer = await grace.logs_in(page)
    held_to_little(answer)
    page = await grace.follows(answer)
    held_to_little(page, "'self' https:")
    page = await grace.follows(await grace.sends(page, account="all"))
    held_to_little(page, "'self' https:")
    held_to_little(await grace.sends(page, answer="allow"))
    held_to_little(await grace.asks(app, prompt="none"))
    held_to_little(await grace.asks(app, scope="nonsense"))
    page = await grace.http.get("/oauth/logout")
    held_to_little(page)
    held_to_little(await grace.sends(page))


@pytest.mark.parametrize(
    ("redirect_uri", "targets"),
    [
        ("https://app.example/callback", "'self' https:"),
        ("http://127.0.0.1:51004/callback", "'self' http:"),
        ("http://[::1]:51004/callback", "'self' http:"),
        ("com.example.app:/callback", "'self' com.example.app:"),
    ],
)
async def test_forms_lead_to_where_the_answer_goes(
    ada: Person, world: World, redirect_uri: str, targets: str
) -> None:
    app = await registered(world.acme.id, "public", redirect_uris=(redirect_uri,))
    held_to_little(await ada.begins(app), targets)


async def test_pages_need_nothing_from_elsewhere(grace: Person, app: App) -> None:
    page = await grace.begins(app)
    pages = [page, await grace.logs_in(page, "wrong")]
    pages.append(await grace.follows(await grace.logs_in(page)))
    pages.append(await grace.follows(await grace.sends(pages[-1], account="all")))
    pages.append(await grace.http.get("/oauth/logout"))
    pages.append(await grace.sends(pages[-1]))
    pages.append(await grace.http.get("/oauth/login?request=1"))
    for page in pages:
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.text.startswith('<!doctype html>\n<html lang="en">')
        assert len(re.findall("<h1", page.text)) == len(re.findall("<main", page.text)) == 1
        for tag in ("<script", "<img", "<link", "<iframe", "@import", "url(", " style=", " onclick="):
            assert tag not in page.text
        names = re.findall(r' id="([^"]+)"', page.text)
        assert len(names) == len(set(names))
        for field in re.findall(r'<input id="([^"]+)"', page.text):
            assert f'for="{field}"' in page.text
    titles = [re.findall("<title>(.*) · Tutti</title>", page.text)[0] for page in pages]
    assert len(set(titles)) == len(titles)


async def test_pages_work_below_a_path(app: App) -> None:
    ada = Person(EMAIL, Issuer("https://tutti.test/service"))
    answer = await ada.http.get("https://tutti.test/oauth/auth", params=app.parameters())
    assert answer.headers["location"].startswith("/service/oauth/login?request=")


async def test_a_client_that_means_somebody_else_is_not_given_whoever_is_logged_in(
    client: httpx.AsyncClient, world: World, app: App
) -> None:
    """By an ID token of theirs as a hint (OpenID Connect Core, 3.1.2.1)."""
    ada = await person(world.acme.admin_id, EMAIL, issuer())
    await ada.reaches(app, "consent")
    hints = {
        user_id: (await app.logged_in(client, user_id))["id_token"]
        for user_id in (world.acme.admin_id, world.acme.member_id)
    }
    for user_id, due in ((world.acme.member_id, "login_required"), (world.acme.admin_id, "consent_required")):
        answer = await ada.asks(app, prompt="none", id_token_hint=hints[user_id])
        assert query_of(answer.headers["location"])["error"] == due
    answer = await ada.asks(app, id_token_hint="x" + hints[world.acme.admin_id])
    assert query_of(answer.headers["location"])["error"] == "invalid_request"


@pytest.mark.parametrize("kind", ["image", "iframe", "script", "empty"])
async def test_a_login_is_begun_by_a_person_and_not_by_a_part_of_a_page(
    owner: asyncpg.Connection, app: App, ada: Person, kind: str
) -> None:
    headers = {"Sec-Fetch-Dest": kind, "Sec-Fetch-Site": "cross-site"}
    answer = await ada.http.get("/oauth/auth", params=app.parameters(), headers=headers)
    assert answer.status_code == 400
    assert await owner.fetchval("SELECT count(*) FROM authorization_request") == 0
    headers["Sec-Fetch-Dest"] = "document"
    answer = await ada.http.get("/oauth/auth", params=app.parameters(), headers=headers)
    assert answer.status_code == 303


async def test_an_account_can_be_chosen_again_before_anything_is_allowed(app: App, grace: Person) -> None:
    page = await grace.reaches(app, "account")
    page = await grace.follows(await grace.sends(page, account="all"))
    assert page_of(page) == "consent"
    assert 'id="consent-account"' in page.text
    page = await grace.follows(await grace.sends(page, answer="account"))
    assert page_of(page) == "account"


async def test_whoever_had_no_choice_is_not_offered_another(app: App, ada: Person) -> None:
    page = await ada.reaches(app, "consent")
    assert 'id="consent-account"' not in page.text
