"""HTTP Basic: a person's password, or a machine client's secret, with each request instead of a token.

A proof that holds is worth a grant of a kind of its own, whose one access token nobody ever holds: it has no text, only what
others are looked up by. So everything that ends tokens ends it, on the very next request; a new password or secret does, too.
"""

import os
from collections.abc import Sequence
from uuid import UUID, uuid4

from auth.passwords import proven
from auth.registered import live_client
from auth.throttle import LoginAttempt, one_of_few, token_failure
from tenancy.errors import BadRequest, Unauthenticated
from tenancy.rows import read, rows_of, transaction

LIFE_SECONDS = 600  # at most twice of what a process goes by it without looking at the password
WRONG = "The user or client is unknown, the password or secret is wrong, or the account is not theirs."
SEVERAL = "The user is a member of several accounts: name the one that you mean, by its name or id, as in ACCOUNT\\user."
MEMBERSHIPS = "SELECT account_id, account_name FROM live_memberships($1)"
ISSUE = """
WITH holder AS (SELECT id FROM {holder} FOR SHARE),
     family AS (INSERT INTO oauth_grant (id, kind, {column}, narrowed_to, scopes, created_at)
                SELECT $1, 'basic', id, $4, $5, now() FROM holder RETURNING id)
INSERT INTO access_token (id, token_hash, grant_id, scopes, issued_at, expires_at)
SELECT $6, $7, id, $5, now(), now() + make_interval(secs => $8) FROM family RETURNING id
"""
# Whoever changes what was proved waits for this, and then ends it; whoever was faster leaves nobody to issue it to.
ISSUE_TO_USER = ISSUE.format(
    column="user_id", holder="app_user WHERE id = $2 AND password_hash = $3 AND status = 'active'"
)
ISSUE_TO_CLIENT = ISSUE.format(
    column="client_id", holder="client WHERE id = $2 AND secret_hash = $3 AND status = 'active'"
)


async def user_token(
    attempt: LoginAttempt, password: str, account: str | None, scopes: Sequence[str]
) -> bytes:
    """Let a person prove themselves by their password, as at a login; return the hash that is a token of one account.

    `account` is its name or id in any case; None where the person has one alone. Who is unknown takes as long as who gives a
    wrong password. Outside a transaction.

    Raises:
        Unauthenticated: no such person, another password, or no such account of theirs: nobody can tell which.
        BadRequest: they have several accounts and name none.
        TooManyAttempts: too many failed.
    """
    await attempt.admit()
    with one_of_few(attempt.address):
        person = await proven(attempt.email, password)
    rows = await read(MEMBERSHIPS, person.id) if person else []
    accounts = [
        row["account_id"] for row in rows if is_meant(account, row["account_id"], row["account_name"])
    ]
    if person is None or not accounts:
        await attempt.failed()
        raise Unauthenticated(WRONG)
    await attempt.proved()
    if len(accounts) > 1:
        raise BadRequest(SEVERAL)
    return await issued(ISSUE_TO_USER, person.id, person.password_hash, accounts[0], list(scopes))


async def client_token(
    client_id: str, address: str, secret: str, account: str | None, scopes: Sequence[str]
) -> bytes:
    """Let a machine client prove itself by its secret; return the hash that is a token of its account.

    It has those of the scopes that the client is registered for. Outside a transaction.

    Raises:
        Unauthenticated: no such client, another secret, or no such account of its.
        TooManyAttempts: instead, if too many failed.
    """
    async with transaction():
        client = await live_client(client_id)
    if (
        client is None
        or client.kind != "machine"
        or not client.check_client_secret(secret)
        or not is_meant(account, client.account_id, client.account_name)
    ):
        await token_failure(client_id, address)
        raise Unauthenticated(WRONG)
    granted = [scope for scope in scopes if scope in (client.scopes or scopes)]
    return await issued(ISSUE_TO_CLIENT, client.id, client.secret_hash, client.account_id, granted)


def is_meant(wanted: str | None, account_id: UUID, name: str) -> bool:
    """Whether an account is the one that is named, by its name or id; any is, where none is named."""
    return wanted is None or wanted.strip().casefold() in (str(account_id), name.strip().casefold())


async def issued(
    statement: str, holder_id: UUID, proof: object, account_id: UUID, scopes: list[str]
) -> bytes:
    """Store a token for whoever still has the proof; return its hash.

    Raises:
        Unauthenticated: they have another by now.
    """
    token = os.urandom(32)
    async with rows_of(account_id) as connection:
        arguments = (uuid4(), holder_id, proof, account_id, scopes, uuid4(), token, LIFE_SECONDS)
        if await connection.fetchval(statement, *arguments) is None:
            raise Unauthenticated(WRONG)
    return token
