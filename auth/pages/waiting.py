"""Requests for authorization that wait for their person, in the browser that they came with.

Every function runs inside an open transaction.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

import msgspec

from auth.authorization import Authorization, RequestRefused, examined
from auth.bearer import hash_of
from auth.consents import Allowed, allowed
from auth.issuer import Issuer
from auth.sessions import Login, login_of
from tenancy.rows import current_connection

WAITING_MINUTES = 10
LOST = "This login has expired, is finished or was begun in another browser. Go back to the application and start again."
Step = Literal["login", "account", "consent", "done"]

NOW = "SELECT now()"
STORE = f"""
INSERT INTO authorization_request (id, session_hash, client_id, parameters, account_chosen, created_at, expires_at)
VALUES ($1, $2, $3, $4, false, $5::timestamptz, $5::timestamptz + interval '{WAITING_MINUTES} minutes')
"""
FIND = """
SELECT parameters, created_at, account_chosen, narrowed_to FROM authorization_request
WHERE id = $1 AND session_hash = $2 AND expires_at > now()
"""
TAKE = "DELETE FROM authorization_request WHERE id = $1 RETURNING id"
CHOOSE = "UPDATE authorization_request SET account_chosen = true, narrowed_to = $2 WHERE id = $1"
CHOOSE_AGAIN = "UPDATE authorization_request SET account_chosen = false, narrowed_to = NULL WHERE id = $1"
# Whoever comes next may be somebody else: they choose for themselves.
MOVE = """
UPDATE authorization_request SET session_hash = $2, account_chosen = false, narrowed_to = NULL WHERE session_hash = $1
"""
FORGET = "DELETE FROM authorization_request WHERE session_hash = $1"
ACCOUNTS = "SELECT account_id, account_name, role FROM live_memberships($1)"


class Account(msgspec.Struct, frozen=True):
    """An account that a person may enter, and as what."""

    id: UUID
    name: str
    role: str


class Pending(msgspec.Struct, frozen=True):
    """A request for authorization, when it came, and which account its person chose for it (None: all of theirs)."""

    id: UUID
    authorization: Authorization
    created_at: datetime
    account_chosen: bool = False
    narrowed_to: UUID | None = None


class Standing(msgspec.Struct, frozen=True):
    """Where a person stands with a request: who is logged in, what they may enter and have allowed before."""

    pending: Pending
    now: datetime
    login: Login | None = None
    accounts: tuple[Account, ...] = ()
    remembered: Allowed | None = None

    @property
    def step(self) -> Step:
        """What is due next: of the person, or of us if there is nothing left to ask."""
        if self.must_log_in:
            return "login"
        if self.must_choose:
            return "account"
        return "consent" if self.must_consent else "done"

    @property
    def must_log_in(self) -> bool:
        """Nobody is logged in, or not whom the client means; or it wants a password given now, or of late, and it was not."""
        if self.login is None:
            return True
        authorization, auth_time = self.pending.authorization, self.login.auth_time
        if authorization.hinted not in (None, self.login.user_id):
            return True
        if auth_time >= self.pending.created_at:
            return False
        age, longest = (self.now - auth_time).total_seconds(), authorization.max_age
        return "login" in authorization.prompts or (longest is not None and age > longest)

    @property
    def must_choose(self) -> bool:
        """There are several accounts, none was chosen, and the client wants that or nothing says which one it was."""
        if len(self.accounts) < 2 or self.has_chosen:
            return False
        return "select_account" in self.pending.authorization.prompts or self.counted is None

    @property
    def must_consent(self) -> bool:
        """The client wants it, or the person did not allow this much before, or not in these accounts."""
        if self.counted is None or "consent" in self.pending.authorization.prompts:
            return True
        return self.has_chosen and self.counted.narrowed_to not in (None, self.pending.narrowed_to)

    @property
    def has_chosen(self) -> bool:
        """The person chose an account, and may still enter it."""
        chosen = self.pending.narrowed_to
        return self.pending.account_chosen and (chosen is None or self.account(chosen) is not None)

    @property
    def counted(self) -> Allowed | None:
        """What was allowed before, if that counts: any program could pretend to be this client otherwise (RFC 8252, 8.6)."""
        return None if self.anybody_could_ask else self.remembered

    @property
    def anybody_could_ask(self) -> bool:
        """Nothing proves the client: it has no secret, and what it is sent goes to any program that listens."""
        authorization = self.pending.authorization
        return authorization.client.kind == "public" and not authorization.redirect_uri.startswith("https:")

    @property
    def narrowed_to(self) -> UUID | None:
        """The account that the answer is limited to: as chosen, or as it was before; None for all."""
        if self.has_chosen:
            return self.pending.narrowed_to
        return None if self.counted is None else self.counted.narrowed_to

    def account(self, account_id: UUID) -> Account | None:
        """Return one of the person's accounts; None if it is not theirs."""
        return next((account for account in self.accounts if account.id == account_id), None)


async def begun(authorization: Authorization) -> Pending:
    """Make a request of what a client sent, not stored as yet."""
    return Pending(uuid4(), authorization, await current_connection().fetchval(NOW))


async def store(pending: Pending, key: str) -> None:
    """Let a request wait for its person, in the browser with this cookie."""
    parameters = msgspec.json.encode(pending.authorization.parameters).decode()
    client_id = pending.authorization.client.id
    await current_connection().execute(
        STORE, pending.id, hash_of(key), client_id, parameters, pending.created_at
    )


async def waiting(issuer: Issuer, request_id: UUID, key: str) -> Pending:
    """Find a request of the browser with this cookie, and check again what it asks for.

    Raises:
        RequestRefused: unknown, expired or of another browser, nobody can tell which; or it holds no longer.
        Returned: the client may not ask for this any more.
    """
    row = await current_connection().fetchrow(FIND, request_id, hash_of(key))
    if row is None:
        raise RequestRefused(LOST)
    authorization = await examined(issuer, msgspec.json.decode(row["parameters"], type=dict[str, str]))
    return Pending(request_id, authorization, row["created_at"], row["account_chosen"], row["narrowed_to"])


async def standing_of(pending: Pending, key: str) -> Standing:
    """Find out where whoever uses the browser with this cookie stands with a request."""
    connection = current_connection()
    now, login = await connection.fetchval(NOW), await login_of(key)
    if login is None:
        return Standing(pending, now)
    accounts = tuple(Account(*row) for row in await connection.fetch(ACCOUNTS, login.user_id))
    authorization = pending.authorization
    remembered = await allowed(authorization.client.id, login.user_id, authorization.scopes)
    return Standing(pending, now, login, accounts, remembered)


async def choose(pending: Pending, account_id: UUID | None) -> None:
    """Note which account a person chose; None for all of theirs."""
    await current_connection().execute(CHOOSE, pending.id, account_id)


async def choose_again(pending: Pending) -> None:
    """Let a person choose once more."""
    await current_connection().execute(CHOOSE_AGAIN, pending.id)


async def take(pending: Pending) -> None:
    """Take a request out, to answer it: it is there once.

    Raises:
        RequestRefused: it was answered meanwhile.
    """
    if await current_connection().fetchval(TAKE, pending.id) is None:
        raise RequestRefused(LOST)


async def move(previous: str, key: str) -> None:
    """Let the requests of a browser follow it to its new cookie."""
    await current_connection().execute(MOVE, hash_of(previous), hash_of(key))


async def forget(key: str) -> None:
    """Drop the requests of a browser that is logged out."""
    await current_connection().execute(FORGET, hash_of(key))
