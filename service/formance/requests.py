"""What every route of the dialect does with a request before its operation: whose account it is on, and what it holds.

The routes read queries and bodies themselves, as the vendor's server does: parameters that it does not know are ignored,
and so is the type of a body, but for YAML. Whoever is not let in is told that first.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

from auth.bearer import token_hash
from auth.reach import Reach
from service.claims import Request_, Scopes, claim, decoded, only_account, proving
from service.exchange import header
from service.formance import cursors, stages
from service.formance.cursors import LARGEST_PAGE, LONGEST_NAME, PAGE_SIZE, Asked, InstanceFilters, wrong
from service.language.document import DocumentRefused
from service.language.texts import parse_json, parse_yaml
from service.language.values import NO_NUL, NUL
from service.wire import identifier
from tenancy.errors import BadRequest, FieldError, NotFound

SCOPES = Scopes("orchestration:read", "orchestration:write")
READ, WRITE = SCOPES.read, SCOPES.write
YAML = "text/vnd.yaml"
LARGEST_NUMBER = 2**32 - 1  # of a page's size, as the vendor reads it

LONGEST_NUMBER = 9  # digits of a stage's

Done = TypeVar("Done")


async def only_on_one_account(request: Request_) -> None:
    """Find the account that a request is on: the one in its path, else the only one of its token.

    Raises:
        Unauthenticated: no token, or one that does not hold.
        BadRequest: the path names an account by no id, or none, and the token is good for several.
        LimitReached: the account makes too many requests.
    """
    if request.method != "OPTIONS":  # which tells methods, and nothing of anybody's
        await claim(request, token_hash(header(request.scope, b"authorization")), SCOPES, account_of)


def account_of(request: Request_, reach: Reach) -> UUID:
    """Say on which account a request is.

    Raises:
        BadRequest: nobody can tell.
    """
    named = request.path_params.get("accountId")
    if named is None:
        return only_account(
            reach, "name the one that you mean, as in /accounts/{accountId}/api/orchestration."
        )
    account_id = identifier(named)
    if account_id is None:
        raise BadRequest("Malformed id.", errors=(FieldError("FIELD_INVALID", "is not a UUID", "accountId"),))
    return account_id


def flag(request: Request_, name: str) -> bool:
    """Read a switch in the query, as the vendor does: `1` and `true` in any case, and everything else is no."""
    return str(request.query_params.get(name, "")).lower() in ("1", "true")


def page_size(request: Request_) -> int:
    """Read how many entries a page may have: 15 where nothing is said, 1,000 at the most.

    Raises:
        BadRequest: it is no number.
    """
    text = request.query_params.get("pageSize") or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_NUMBER))):
        raise wrong("pageSize", "must be a whole number")
    if int(text) > LARGEST_NUMBER:
        raise wrong("pageSize", f"must be at most {LARGEST_NUMBER}")
    return min(int(text), LARGEST_PAGE) or PAGE_SIZE


def instance_filters(request: Request_) -> InstanceFilters:
    """Read what a list of instances is narrowed to; what is no id is the id of no workflow."""
    text = request.query_params.get("workflowID")
    return InstanceFilters(
        (identifier(text) or UUID(int=0)) if text else None, running=flag(request, "running")
    )


def name_filter(request: Request_) -> str | None:
    """Read the text that names of triggers are to contain, which no longer than they are can.

    Raises:
        BadRequest: it holds what no name can.
    """
    text = request.query_params.get("name") or None
    if text is not None and NUL in text:
        raise wrong("name", NO_NUL)
    return text and text[: LONGEST_NAME + 1]


async def page(request: Request_, filters: InstanceFilters | None, *, named: bool = False) -> Asked:
    """Read which page is asked for; a cursor knows it all. `named` where a name may narrow the list.

    Raises:
        BadRequest: the cursor or the size is none.
    """
    async with proving(request):
        text = request.query_params.get("cursor")
        if text:
            return cursors.read(text, of_instances=filters is not None)
        return Asked(page_size(request), None, filters, name_filter(request) if named else None)


def is_second(request: Request_) -> bool:
    """Whether the request is made by version 2 of the API."""
    return "/api/orchestration/v2/" in request.url.path


def stage_number(request: Request_) -> int:
    """Read the number of a stage in the path.

    Raises:
        NotFound: it is none.
    """
    text = request.path_params["number"]
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        raise NotFound
    return int(text)


async def definition(request: Request_) -> dict[str, Any]:
    """Read a workflow's config, as JSON or as YAML, and make the definition that runs it.

    Raises:
        BadRequest: the body is neither, or holds what cannot be run.
    """
    body = await request.body()
    try:
        if header(request.scope, b"content-type") == YAML:
            return stages.compiled(await asyncio.to_thread(parse_yaml, body))
        return stages.compiled(parse_json(body))
    except stages.StagesRefused as error:
        raise BadRequest(str(error)) from None
    except DocumentRefused as error:
        told = tuple(FieldError(one.code, one.message, one.pointer or None) for one in error.problems)
        raise BadRequest("The body cannot be read.", errors=told) from None


async def variables(request: Request_) -> dict[str, Any]:
    """Read the variables that a workflow is run with; no body stands for none.

    Raises:
        BadRequest: it is no object of strings.
    """
    body = await request.body()
    return decoded(body, dict[str, str]) or {} if body.strip() else {}


async def while_connected(request: Request_, doing: Coroutine[Any, Any, Done]) -> Done | None:
    """Do something for as long as the caller is there to hear of it; None if they have gone before."""
    work = asyncio.ensure_future(doing)
    watching = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait({work, watching}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (work, watching):
            task.cancel()
        await asyncio.gather(work, watching, return_exceptions=True)


async def disconnected(request: Request_) -> None:
    """Return when the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
