"""The claim of a request on an account, in dialects whose paths need not name one: kept until its operation proves it.

Such routes read queries and bodies themselves, as the vendors' servers do; whoever is not let in is told that first.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from auth.bearer import Credential
from auth.reach import Reach, reach_of
from auth.roles import Right
from service.limits.admission import admit_token, claimed
from service.limits.known import somebody_is_limited
from service.wire import identifier
from tenancy.errors import BadRequest, Forbidden, NotFound, Refusal

READING = ("GET", "HEAD")
CREDENTIAL = "credential"  # where a request's state holds it
NO_ACCOUNT = UUID(int=0)

Request_ = Request[Any, Any, Any]
Kind = TypeVar("Kind")


class Scopes(msgspec.Struct, frozen=True):
    """The two scopes of a dialect."""

    read: str
    write: str

    def needed(self, method: str, reach: Reach) -> str:
        """Name the one that a token has to have: either will do for reading."""
        only_writes = self.write in reach.scopes and self.read not in reach.scopes
        return self.write if method not in READING or only_writes else self.read


async def claim(
    request: Request_, token: bytes, scopes: Scopes, account_of: Callable[[Request_, Reach], UUID]
) -> None:
    """Find the account that a request is on, by what its token is good for, whose hash is known, and keep its claim.

    Raises:
        Unauthenticated: the token does not hold.
        BadRequest: `account_of` cannot tell the account.
        LimitReached: the account makes too many requests.
    """
    reach = await reach_of(token)
    needed = (scopes.needed(request.method, reach),)
    try:
        account_id = account_of(request, reach)
    except BadRequest:  # what is known of the token may be a minute old
        with contextlib.suppress(NotFound, Forbidden):
            async with Credential(token, NO_ACCOUNT, needed).rows(Right.READ):
                pass
        raise
    state = request.scope["state"]
    if somebody_is_limited():
        await admit_token(state, token, account_id)
    state[CREDENTIAL] = claimed(state, token, account_id, needed)


def only_account(reach: Reach, advice: str) -> UUID:
    """Say which account a token is good for; one that is good for none is refused by whatever it is used on.

    Raises:
        BadRequest: it is good for several; `advice` says what to do.
    """
    if len(reach.accounts) > 1:
        raise BadRequest(f"The token is good for several accounts: {advice}")
    return reach.accounts[0] if reach.accounts else NO_ACCOUNT


def credential(request: Request_) -> Credential:
    """Return the caller's claim, which the operation checks."""
    found: Credential = request.scope["state"][CREDENTIAL]
    return found


@contextlib.asynccontextmanager
async def proving(request: Request_) -> AsyncIterator[None]:
    """Tell what is wrong with a request to callers who may know it; anyone else is told what they are refused for."""
    try:
        yield
    except (Refusal, HTTPException):
        async with credential(request).rows(Right.READ):
            pass
        raise


async def id_of(request: Request_, name: str, otherwise: Refusal | None = None) -> UUID:
    """Read an id in the path: one that is no UUID is nobody's.

    Raises:
        NotFound, or `otherwise`: it is none.
    """
    async with proving(request):
        found = identifier(request.path_params[name])
        if found is None:
            raise otherwise or NotFound
    return found


def decoded(body: bytes, kind: type[Kind]) -> Kind:
    """Decode a body.

    Raises:
        BadRequest: it is not of this kind.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body cannot be read: {error}".replace("\x00", "")) from None
