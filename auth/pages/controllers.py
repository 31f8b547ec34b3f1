"""What people meet: they log in, choose an account, allow or deny, and log out. All of it works without scripts.

A client sends a person to `/oauth/auth`. What it asks for is checked and, where the person is needed, waits under an id of
its own in their browser while they go from page to page; `Standing.step` says which page is due. No page shows anything
that stood in a request, but for the e-mail address of whoever mistyped their password.
"""

import http
import logging
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import msgspec
from asyncpg import ForeignKeyViolationError
from litestar import Request, Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException

from auth import consents, passwords, sessions, throttle
from auth.authorization import UNKNOWN_CLIENT, Approval, RequestRefused, Returned, declined, examined, granted
from auth.bearer import new_secret
from auth.forms import form, form_of
from auth.issuer import Issuer, issuer_of
from auth.pages import invitations, waiting
from auth.pages.rendering import page, redirect
from auth.pages.waiting import LOST, Pending, Standing
from auth.registered import live_client
from auth.scopes import SCOPES
from auth.sessions import TOKEN_FIELD
from auth.throttle import LoginAttempt, address_of
from tenancy.errors import Refusal, TooManyAttempts, Unavailable
from tenancy.faults import UNSERVED, unavailable
from tenancy.rows import transaction

logger = logging.getLogger("tutti.auth")

ANYONE = {"proof": "none"}
SESSION = {"proof": "session"}
PAGES = {"login": "/oauth/login", "account": "/oauth/account", "consent": "/oauth/consent"}
# What a client is told that wants no page shown (OpenID Connect Core, 3.1.2.6).
UNASKED = {"login": "login_required", "account": "account_selection_required", "consent": "consent_required"}
LOGOUT = "/oauth/logout"

OUTDATED = "This page was out of date, so nothing was done. Go back, reload the page and try again."
WRONG = "E-mail address or password is wrong. Check both and try again."
NO_ACCOUNT = (
    "No account is open to you. Ask an administrator of your account to let you in, then log in again."
)
NO_VISIT = "This page is for people: open it in a window of its own."
NO_CHOICE = "Choose all of your accounts, or one of them."
AWAY = "This cannot be served just now. Wait a few seconds and try again."
FAILED = "An unexpected error occurred on the server. Wait a moment and try again."

Answer = Response[str] | Response[bytes]


class Visit(msgspec.Struct, frozen=True):
    """One request for a page: to which server, from the browser with which cookie, about which login."""

    issuer: Issuer
    key: str
    request_id: str

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> "Visit":
        """Read it from a request."""
        asked = form(request.scope["query_string"]).get("request", "")
        return cls(issuer_of(request), sessions.key_of(request), asked)

    async def pending(self) -> Pending:
        """Find the request for authorization that it is about, inside a transaction (see `waiting.waiting`)."""
        try:
            request_id = UUID(self.request_id)
        except ValueError:
            raise RequestRefused(LOST) from None
        return await waiting.waiting(self.issuer, request_id, self.key)

    async def standing(self) -> Standing:
        """Find out where the person stands with it, inside a transaction."""
        return await waiting.standing_of(await self.pending(), self.key)

    def token(self, form_name: str) -> str:
        """Make the proof that goes into a form of this login."""
        return sessions.form_token(self.key, form_name, self.request_id)

    async def fields(self, request: Request[Any, Any, Any], form_name: str) -> dict[str, str]:
        """Read a form that one of our pages showed this browser.

        Raises:
            RequestRefused: it comes from elsewhere, or from a page that is out of date.
        """
        fields = await form_of(request)
        given = fields.get(TOKEN_FIELD, "")
        genuine = sessions.is_genuine(self.key, form_name, self.request_id, given)
        if not genuine or sessions.is_from_elsewhere(request):
            raise RequestRefused(OUTDATED)
        return fields


@get("/oauth/auth", operation_id="Authorize", opt=ANYONE)
async def authorize(request: Request[Any, Any, Any]) -> Answer:
    """Let a person log in for a client, and allow it what it asks for.

    They go back to the client with a code or an error. Where there is nothing to ask, as they are logged in and allowed it
    before, that is at once; with `prompt=none` it always is.
    """
    issuer, key = issuer_of(request), sessions.key_of(request)
    async with transaction():
        authorization = await examined(issuer, form(request.scope["query_string"]))
        standing = await waiting.standing_of(await waiting.begun(authorization), key)
        if standing.step == "done":
            return redirect(await granted(issuer, authorization, approval_of(standing)))
        if "none" in authorization.prompts:
            return redirect(declined(issuer, authorization, UNASKED[standing.step]))
    if request.headers.get("sec-fetch-dest", "document") != "document":
        raise RequestRefused(NO_VISIT)
    if standing.login is None:
        await throttle.begun(address_of(request))
    key, cookies = (key, ()) if key else new_browser(issuer)
    async with transaction():
        await waiting.store(standing.pending, key)
    return redirect(page_of(issuer, standing), cookies)


@post("/oauth/auth", status_code=http.HTTPStatus.SEE_OTHER, operation_id="AuthorizeByForm", opt=ANYONE)
async def authorize_by_form(request: Request[Any, Any, Any]) -> Answer:
    """The same, with the parameters in the body; answered with a redirect to the same by GET.

    Browsers leave our cookie out of a form that another site posts, and bring it along when they follow the redirect.
    """
    issuer, parameters = issuer_of(request), await form_of(request)
    async with transaction():
        await examined(issuer, parameters)
    return redirect(f"{path_of(issuer, '/oauth/auth')}?{urlencode(parameters)}")


@get(PAGES["login"], include_in_schema=False, opt=ANYONE)
async def login_page(request: Request[Any, Any, Any]) -> Answer:
    """Ask for e-mail address and password."""
    visit = Visit.of(request)
    async with transaction():
        standing = await visit.standing()
        if standing.step != "login":
            return await onward(visit, standing)
    return login_form(visit, standing.pending)


@post(PAGES["login"], status_code=http.HTTPStatus.SEE_OTHER, include_in_schema=False, opt=SESSION)
async def log_in(request: Request[Any, Any, Any]) -> Answer:
    """Check e-mail address and password; whoever was logged in in this browser is no longer."""
    visit = Visit.of(request)
    fields = await visit.fields(request, "login")
    async with transaction():
        pending = await visit.pending()
    email, device = fields.get("email", ""), sessions.device_of(request)
    attempt = LoginAttempt(email, address_of(request), device)
    try:
        await attempt.admit()
        with throttle.one_of_few(attempt.address):
            user_id = await passwords.check(email, fields.get("password", ""))
        if user_id is None:
            logger.info("a login failed")
            await attempt.failed()
            return login_form(visit, pending, email, WRONG)
        device = await attempt.succeeded(user_id)
        logger.info("user %s logged in", user_id)
    except TooManyAttempts as refusal:
        return throttled(login_form(visit, pending, email, patience(refusal)), refusal)
    async with transaction():
        key = await sessions.begin(user_id, visit.key)
        if key is None:
            return login_form(visit, pending, email, NO_ACCOUNT)
        await waiting.move(visit.key, key)
        moved = msgspec.structs.replace(visit, key=key)
        cookies = (sessions.session_cookie(visit.issuer, key), sessions.device_cookie(visit.issuer, device))
        return await onward(moved, await moved.standing(), cookies)


@get(PAGES["account"], include_in_schema=False, opt=ANYONE)
async def account_page(request: Request[Any, Any, Any]) -> Answer:
    """Ask which account the client may act in."""
    visit = Visit.of(request)
    async with transaction():
        standing = await visit.standing()
        if standing.step != "account":
            return await onward(visit, standing)
    return account_form(visit, standing)


@post(PAGES["account"], status_code=http.HTTPStatus.SEE_OTHER, include_in_schema=False, opt=SESSION)
async def choose_account(request: Request[Any, Any, Any]) -> Answer:
    """Note which account the client may act in: one of the person's own, or all."""
    visit = Visit.of(request)
    chosen = (await visit.fields(request, "account")).get("account", "")
    async with transaction():
        standing = await visit.standing()
        if standing.step != "account":
            return await onward(visit, standing)
        account = next((one for one in standing.accounts if str(one.id) == chosen), None)
        if account is None and chosen != "all":
            return account_form(visit, standing, NO_CHOICE)
        await waiting.choose(standing.pending, account.id if account else None)
        return await onward(visit, await visit.standing())


@get(PAGES["consent"], include_in_schema=False, opt=ANYONE)
async def consent_page(request: Request[Any, Any, Any]) -> Answer:
    """Ask whether the client may have what it wants."""
    visit = Visit.of(request)
    async with transaction():
        standing = await visit.standing()
        if standing.step != "consent":
            return await onward(visit, standing)
    return consent_form(visit, standing)


@post(PAGES["consent"], status_code=http.HTTPStatus.SEE_OTHER, include_in_schema=False, opt=SESSION)
async def consent(request: Request[Any, Any, Any]) -> Answer:
    """Allow the client what it wants, or deny it; or choose another account, or log in as somebody else."""
    visit = Visit.of(request)
    answer = (await visit.fields(request, "consent")).get("answer")
    async with transaction():
        standing = await visit.standing()
        if standing.step != "consent":
            return await onward(visit, standing)
        if answer == "switch":
            return await switched(visit, standing.pending)
        if answer == "account":
            await waiting.choose_again(standing.pending)
            return await onward(visit, await visit.standing())
        if answer == "allow":
            return await allowed(visit, standing)
        await waiting.take(standing.pending)
    return redirect(declined(visit.issuer, standing.pending.authorization, "access_denied"))


@get(LOGOUT, include_in_schema=False, opt=ANYONE)
async def logout_page(request: Request[Any, Any, Any]) -> Answer:
    """Ask whether to log out (OpenID Connect RP-Initiated Logout 1.0): nobody is logged out by a link alone."""
    parameters, key = form(request.scope["query_string"]), sessions.key_of(request)
    async with transaction():
        login = await sessions.login_of(key)
        if login is None:
            return await logged_out(parameters)
    return page("logout", login=login, token=sessions.form_token(key, "logout", ""))


@post(LOGOUT, status_code=http.HTTPStatus.OK, include_in_schema=False, opt=SESSION)
async def log_out(request: Request[Any, Any, Any]) -> Answer:
    """Log out. A client's own form, which has none of our tokens, leads to the page that asks."""
    visit, fields = Visit(issuer_of(request), sessions.key_of(request), ""), await form_of(request)
    if TOKEN_FIELD not in fields:
        return redirect(f"{path_of(visit.issuer, LOGOUT)}?{urlencode(fields)}")
    await visit.fields(request, "logout")
    async with transaction():
        await sessions.end(visit.key)
        await waiting.forget(visit.key)
        parameters = form(request.scope["query_string"])
        return await logged_out(parameters, (sessions.no_session_cookie(visit.issuer),))


async def onward(visit: Visit, standing: Standing, cookies: tuple[Cookie, ...] = ()) -> Answer:
    """Send a person to the page that is due, or back to the client with a code if none is; inside a transaction."""
    if standing.step != "done":
        return redirect(page_of(visit.issuer, standing), cookies)
    await waiting.take(standing.pending)
    location = await granted(visit.issuer, standing.pending.authorization, approval_of(standing))
    return redirect(location, cookies)


async def allowed(visit: Visit, standing: Standing) -> Answer:
    """Remember what the person allowed, and send them back to the client with a code."""
    authorization, approval = standing.pending.authorization, approval_of(standing)
    await waiting.take(standing.pending)
    logger.info("user %s allowed client %s", approval.user_id, authorization.client.id)
    await consents.remember(
        authorization.client.id, approval.user_id, authorization.scopes, approval.narrowed_to
    )
    return redirect(await granted(visit.issuer, authorization, approval))


async def switched(visit: Visit, pending: Pending) -> Answer:
    """Log out whoever is logged in, so that somebody else can log in for the same request."""
    key, cookies = new_browser(visit.issuer)
    await sessions.end(visit.key)
    await waiting.move(visit.key, key)
    return redirect(page_of(visit.issuer, Standing(pending, pending.created_at)), cookies)


async def logged_out(parameters: dict[str, str], cookies: tuple[Cookie, ...] = ()) -> Answer:
    """Show that nobody is logged in, with a way back to the client if it and the way are registered."""
    client = await live_client(parameters.get("client_id", ""))
    back = parameters.get("post_logout_redirect_uri", "")
    if client is None or back not in client.redirect_uris:
        return page("logged_out", back=None, client=None, cookies=cookies)
    return page("logged_out", back=back, client=client, cookies=cookies)


def approval_of(standing: Standing) -> Approval:
    """Say who approves; somebody has to be logged in."""
    if standing.login is None:
        raise RequestRefused(LOST)
    return Approval(standing.login.user_id, standing.login.auth_time, standing.narrowed_to)


def new_browser(issuer: Issuer) -> tuple[str, tuple[Cookie, ...]]:
    """Make a cookie for a browser in which nobody is logged in."""
    key = new_secret()
    return key, (sessions.session_cookie(issuer, key),)


def path_of(issuer: Issuer, path: str) -> str:
    """Return where one of our pages is, on whichever host the browser found us."""
    return urlsplit(issuer.at(path)).path


def page_of(issuer: Issuer, standing: Standing) -> str:
    """Return the address of the page that is due."""
    return f"{path_of(issuer, PAGES[standing.step])}?request={standing.pending.id}"


def login_form(visit: Visit, pending: Pending, email: str = "", error: str | None = None) -> Response[str]:
    """Show the form for e-mail address and password, after a failure with what was wrong."""
    return page(
        "login",
        status=http.HTTPStatus.OK if error is None else http.HTTPStatus.BAD_REQUEST,
        returns_to=pending.authorization.redirect_uri,
        client=pending.authorization.client,
        token=visit.token("login"),
        email=email,
        error=error,
    )


def account_form(visit: Visit, standing: Standing, error: str | None = None) -> Response[str]:
    """Show the person's accounts."""
    return page(
        "account",
        status=http.HTTPStatus.OK if error is None else http.HTTPStatus.BAD_REQUEST,
        returns_to=standing.pending.authorization.redirect_uri,
        client=standing.pending.authorization.client,
        login=standing.login,
        accounts=standing.accounts,
        token=visit.token("account"),
        error=error,
    )


def consent_form(visit: Visit, standing: Standing) -> Response[str]:
    """Show what the client wants."""
    authorization = standing.pending.authorization
    return page(
        "consent",
        returns_to=authorization.redirect_uri,
        client=authorization.client,
        login=standing.login,
        account=None if standing.narrowed_to is None else standing.account(standing.narrowed_to),
        has_chosen=standing.has_chosen,
        scopes={scope: SCOPES[scope] for scope in authorization.scopes},
        anybody_could_ask=standing.anybody_could_ask,
        token=visit.token("consent"),
    )


def error_page(reason: str, status: int = http.HTTPStatus.BAD_REQUEST) -> Response[str]:
    """Show why a person cannot go on, and what they can do."""
    return page("error", status=status, reason=reason)


def patience(refusal: TooManyAttempts) -> str:
    """Say how long to wait."""
    minutes = -(-refusal.retry_after // 60)
    return f"Too many attempts failed. Wait {minutes} minute{'' if minutes == 1 else 's'} and try again."


def throttled(answer: Response[str], refusal: TooManyAttempts | Unavailable) -> Response[str]:
    """Tell the browser the same as the page tells the person."""
    answer.status_code = refusal.status
    answer.headers["Retry-After"] = str(refusal.retry_after)
    return answer


def unanswerable(_: Request[Any, Any, Any], refusal: RequestRefused) -> Response[str]:
    """Show why nobody is sent anywhere."""
    return error_page(refusal.reason)


def sent_back(_: Request[Any, Any, Any], answer: Returned) -> Response[bytes]:
    """Send the person to the client with an error."""
    return redirect(answer.location)


def refused(_: Request[Any, Any, Any], refusal: Refusal) -> Response[str]:
    """Show a refusal."""
    if isinstance(refusal, TooManyAttempts):
        return throttled(error_page(patience(refusal)), refusal)
    return error_page(refusal.detail, refusal.status)


def misunderstood(_: Request[Any, Any, Any], error: HTTPException) -> Response[str]:
    """Show what Litestar refused, such as a body that is too large."""
    return error_page(
        f"{http.HTTPStatus(error.status_code).phrase}. Go back and try again.", error.status_code
    )


def away(_: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Show that the database is away for a moment."""
    refusal = unavailable(error)
    return throttled(error_page(AWAY), refusal)


def failed(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Show a fault of ours; the log has the cause."""
    logger.error("request to %s failed", request.scope["path"], exc_info=error)
    return error_page(FAILED, http.HTTPStatus.INTERNAL_SERVER_ERROR)


def gone(_: Request[Any, Any, Any], __: ForeignKeyViolationError) -> Response[str]:
    """Show what is shown of an unknown client: this one was deleted while it sent the person here."""
    return error_page(UNKNOWN_CLIENT)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    ForeignKeyViolationError: gone,
    RequestRefused: unanswerable,
    Returned: sent_back,
    Refusal: refused,
    HTTPException: misunderstood,
    **dict.fromkeys(UNSERVED, away),
    Exception: failed,
}
HANDLERS = [
    authorize,
    authorize_by_form,
    login_page,
    log_in,
    account_page,
    choose_account,
    consent_page,
    consent,
    logout_page,
    log_out,
    *invitations.HANDLERS,
]


def pages_router() -> Router:
    """Put the pages together with their way of refusing."""
    return Router(path="/", route_handlers=HANDLERS, exception_handlers=EXCEPTION_HANDLERS)
