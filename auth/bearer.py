"""From a bearer token and the account it is used on to a `Caller`, in the statement that sets the tenant.

A credential is only a claim until `rows()` opens: then one statement checks token, grant, client, user, membership and
account, and sets the tenant that row-level security goes by, inside the transaction that does the work. So revoking a
token, removing a member or suspending an account acts on the very next request.
"""

import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import Protocol
from uuid import UUID

import msgspec

from auth.checks import TOKEN_CHECKS, count_check
from auth.roles import HOLDERS, Right, holds, needed_role, scopes_for
from tenancy.accounts import lock
from tenancy.errors import Forbidden, NotFound, Unauthenticated
from tenancy.events import OPERATOR
from tenancy.requests import current_request, hears_of_proof
from tenancy.rows import current_connection, rows_entered, rows_of

TOKEN_BYTES = 32  # 256 bits
LONGEST_HEADER = 1024
ENTER = "SELECT verdict, account_id, principal_id, principal_name, role FROM enter_account($1, $2, $3)"
SERVICE = OPERATOR
ROLE_LACKING = 1403  # the verdict of `enter_account` on a caller whose scopes suffice and whose role does not


class Caller(msgspec.Struct, frozen=True):
    """Who calls, on which account, as what: `role` is a member's, `machine` (a client) or `operator` (command line)."""

    account_id: UUID
    id: UUID
    name: str
    role: str

    @property
    def sees_all(self) -> bool:
        """Whether the caller sees what others started; a sender sees their own."""
        return self.role != "sender"

    def sees(self, started_by: UUID) -> bool:
        """Whether the caller sees what this user or client started."""
        return self.sees_all or started_by == self.id

    def may(self, right: Right) -> bool:
        """Whether the caller's role has a right."""
        return holds(self.role, right)


class Access(Protocol):
    """Anything that opens an account's rows and says for whom."""

    @property
    def account_id(self) -> UUID:
        """The account whose rows it opens."""
        ...

    def rows(self, right: Right) -> contextlib.AbstractAsyncContextManager[Caller]:
        """Open the one transaction of an operation, which needs a right."""
        ...

    def alone(self, right: Right) -> contextlib.AbstractAsyncContextManager[Caller]:
        """Open it as `rows` does, for one operation of the account at a time: for what administers it, or counts."""
        ...


class Credential(msgspec.Struct, frozen=True):
    """A bearer token's hash, the account it is used on, and the scopes that the route asks for."""

    token_hash: bytes
    account_id: UUID
    scopes: tuple[str, ...]

    @contextlib.asynccontextmanager
    async def rows(self, right: Right) -> AsyncIterator[Caller]:
        """Open a transaction on the account's rows for whoever holds the token.

        Raises:
            Unauthenticated: the token is unknown, expired or revoked, or its user or client is suspended.
            NotFound: no such account, or not one of the caller's; nobody can tell which.
            Forbidden: a scope is missing, or the caller's role lacks the right.
        """
        async with rows_entered(ENTER, *self.proof(right)) as row:
            self.refuse(row["verdict"], right)
            yield Caller(row["account_id"], row["principal_id"], row["principal_name"], row["role"])

    @contextlib.asynccontextmanager
    async def alone(self, right: Right) -> AsyncIterator[Caller]:
        """Open a transaction as `rows` does, once no other has the account, and only if the caller still may then.

        Raises:
            Unauthenticated, NotFound, Forbidden: as for `rows`, before the wait or after it.
        """
        async with self.rows(right) as caller:
            await lock(caller.account_id)
            # Whoever had the account until now may have put the caller out, or ended their token.
            self.refuse(await current_connection().fetchval(ENTER, *self.proof(right)), right)
            yield caller

    def proof(self, right: Right) -> tuple[bytes, UUID, tuple[str, ...]]:
        """The arguments of `enter_account`, with which every function in the database begins that a request calls.

        Behind the scopes stand the roles that have the right, as one text. The request's id stands behind the token's hash, so that no function needs an argument for it: events that are
        written in the transaction tell of it.
        """
        request_id = current_request.get()
        credential = self.token_hash if request_id is None else self.token_hash + request_id.bytes
        return credential, self.account_id, (*scopes_for(right, self.scopes), " ".join(HOLDERS[right]))

    def refuse(self, verdict: int, right: Right) -> None:
        """Refuse the caller if `enter_account` did (see `rows`)."""
        count_check(verdict)
        if verdict == ROLE_LACKING:
            raise Forbidden(
                f"This needs {needed_role(right)}; an administrator of the account gives users their roles."
            )
        if verdict == Unauthenticated.status:
            raise Unauthenticated
        if verdict == NotFound.status:
            raise NotFound
        if verdict == Forbidden.status:
            needed = scopes_for(right, self.scopes)
            raise Forbidden(f"The access token needs the scope {' and '.join(needed)}.", scopes=needed)
        hear = hears_of_proof.get()
        if hear is not None:
            hear(self.account_id)


class Operator(msgspec.Struct, frozen=True):
    """The person at the command line, who already holds the database; acts on one account."""

    account_id: UUID

    @contextlib.asynccontextmanager
    async def rows(self, right: Right) -> AsyncIterator[Caller]:  # noqa: ARG002 - holds every right
        """Open a transaction on the account's rows."""
        async with rows_of(self.account_id):
            yield Caller(self.account_id, SERVICE, "operator", "operator")

    @contextlib.asynccontextmanager
    async def alone(self, right: Right) -> AsyncIterator[Caller]:
        """Open a transaction on the account's rows, once no other has the account.

        Raises:
            NotFound: no such account.
        """
        async with self.rows(right) as caller:
            await lock(self.account_id)
            yield caller


def hash_of(token: str) -> bytes:
    """Return what is stored and looked up in place of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def new_secret() -> str:
    """Make an unguessable text of 256 bits from URL-safe characters."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(header: str | None) -> bytes:
    """Read the token out of an `Authorization` header and hash it; see `token_text`."""
    return hash_of(token_text(header))


def token_text(header: str | None) -> str:
    """Read the token out of an `Authorization` header (RFC 6750, 2.1).

    Raises:
        Unauthenticated: no header, another scheme, no token, or an absurdly long one.
    """
    scheme, _, token = (header or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > LONGEST_HEADER:
        TOKEN_CHECKS.labels("missing").inc()
        raise Unauthenticated(
            "No bearer token: send the header Authorization: Bearer followed by an access token."
        )
    return token
