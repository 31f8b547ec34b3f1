"""The page behind an invitation's URL: whoever is invited joins the account as somebody new, or as the user they are, or declines.

The secret in the address lets one see and decline. Who joins as a user gives their password, whoever is logged in in the
browser; so a form that another site sends could do no more than whoever has the address. Everything works without scripts.
"""

import http
import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie

from auth import invitations, passwords, sessions, throttle
from auth.forms import form, form_of
from auth.invitations import PATH_OF_PAGE, AlreadyUser, InvitationEnded, InvitationUrl, View
from auth.issuer import issuer_of
from auth.pages.rendering import page
from auth.throttle import LoginAttempt, address_of, url_failures_counted
from tenancy.accounts import checked_name
from tenancy.errors import BadRequest

logger = logging.getLogger("tutti.auth")

PATH = PATH_OF_PAGE.format(account_id="{accountId:str}", invitation_id="{invitationId:str}")
ANYONE = {"public": True}
ARTICLED = {"admin": "an administrator", "manager": "a manager", "sender": "a sender", "viewer": "a viewer"}

ELSEWHERE = "This was not sent from the invitation's own page, so nothing was done. Open the invitation again and answer there."
NO_ANSWER = "Join the account, or decline."
WRONG = "This is not the password that goes with this e-mail address. Check it and try again."
TWO_PASSWORDS = "The two passwords differ. Type the same one twice."


@get(PATH, include_in_schema=False, opt=ANYONE)
async def show_invitation(request: Request[Any, Any, Any]) -> Response[str]:
    """Show who is invited to what, and ask for an answer."""
    async with url_failures_counted(request, InvitationEnded, "invitation"):
        return question(await invitations.view(url_of(request), sessions.key_of(request)))


@post(PATH, include_in_schema=False, opt=ANYONE, status_code=http.HTTPStatus.OK)
async def answer_invitation(request: Request[Any, Any, Any]) -> Response[str]:
    """Take the answer, and show what came of it."""
    if sessions.is_from_elsewhere(request):
        raise BadRequest(ELSEWHERE)
    async with url_failures_counted(request, InvitationEnded, "invitation"):
        url = url_of(request)
        seen = await invitations.view(url, sessions.key_of(request))
    fields = await form_of(request)
    match fields.get("answer"):
        case "new":
            return await joined(request, url, seen, fields)
        case "user":
            return await accepted(request, url, seen, fields)
        case "decline":
            await invitations.decline(url)
            return answered(seen, "declined")
    raise BadRequest(NO_ANSWER)


async def joined(
    request: Request[Any, Any, Any], url: InvitationUrl, seen: View, fields: Mapping[str, str]
) -> Response[str]:
    """Make somebody new a user and a member."""
    name, password = fields.get("name", ""), fields.get("password", "")
    if password != fields.get("repeated", ""):
        return question(seen, new_error=TWO_PASSWORDS, called=name)
    attempt = attempt_of(request, seen)
    await attempt.admit()
    try:
        name = checked_name(name, "A name")
        with throttle.one_of_few(attempt.address):
            hashed = await passwords.chosen(password)
        user_id = await invitations.join(url, name, hashed)
    except BadRequest as refusal:
        return question(seen, new_error=refusal.detail, called=name)
    except AlreadyUser as refusal:
        await attempt.failed()
        return question(seen, user_error=refusal.detail)
    logger.info("user %s was made by an invitation", user_id)
    return answered(seen, "joined")


async def accepted(
    request: Request[Any, Any, Any], url: InvitationUrl, seen: View, fields: Mapping[str, str]
) -> Response[str]:
    """Make a user a member, who gives the password of the e-mail address that is invited."""
    attempt = attempt_of(request, seen)
    await attempt.admit()
    with throttle.one_of_few(attempt.address):
        user_id = await passwords.check(seen.email, fields.get("password", ""))
    if user_id is None:
        logger.info("a login failed")
        await attempt.failed()
        return question(seen, user_error=WRONG)
    device = await attempt.succeeded(user_id)
    role = await invitations.accept(url, user_id)
    logger.info("user %s accepted an invitation", user_id)
    seen = msgspec.structs.replace(seen, role=role or seen.role)
    return answered(
        seen, "member" if role else "joined", (sessions.device_cookie(issuer_of(request), device),)
    )


def attempt_of(request: Request[Any, Any, Any], seen: View) -> LoginAttempt:
    """Begin an attempt to prove to be the one who is invited."""
    return LoginAttempt(seen.email, address_of(request), sessions.device_of(request))


def url_of(request: Request[Any, Any, Any]) -> InvitationUrl:
    """Take an address apart.

    Raises:
        InvitationEnded: it can be none of ours.
    """
    try:
        account, invitation = (UUID(request.path_params[name]) for name in ("accountId", "invitationId"))
        secret = form(request.scope["query_string"]).get("secret", "")
    except (ValueError, BadRequest):
        raise InvitationEnded from None
    return InvitationUrl(account, invitation, secret)


def question(
    seen: View, *, new_error: str | None = None, user_error: str | None = None, called: str | None = None
) -> Response[str]:
    """Show the invitation with its forms, after a mistake with what was wrong."""
    wrong = new_error or user_error
    return page(
        "invitation",
        status=http.HTTPStatus.BAD_REQUEST if wrong else http.HTTPStatus.OK,
        seen=seen,
        role=ARTICLED[seen.role],
        called=seen.name or "" if called is None else called,
        new_error=new_error,
        user_error=user_error,
    )


def answered(seen: View, answer: str, cookies: tuple[Cookie, ...] = ()) -> Response[str]:
    """Show what came of an answer."""
    return page("invitation_answered", cookies=cookies, seen=seen, answer=answer, role=ARTICLED[seen.role])


HANDLERS = [show_invitation, answer_invitation]
