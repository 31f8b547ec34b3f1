"""Where a token can be used, and with which scopes.

For dialects whose paths name no account, or whose routes take either of two scopes. It is a hint and no proof: every operation has `enter_account` look at the token, the account and the scopes anew. So it may
be kept for a while.
"""

import time
from collections import OrderedDict
from uuid import UUID

import msgspec

from tenancy.errors import Unauthenticated
from tenancy.rows import read

REACH = "SELECT scopes, accounts FROM token_reach($1)"
REMEMBERED = 10_000  # tokens
REMEMBERED_SECONDS = 60.0


class Reach(msgspec.Struct, frozen=True):
    """A token's scopes, and the accounts that it can be used on: the first two, where there are more."""

    scopes: frozenset[str]
    accounts: tuple[UUID, ...]
    until: float  # as `time.monotonic`


_reaches: OrderedDict[bytes, Reach] = OrderedDict()


async def reach_of(token_hash: bytes) -> Reach:
    """Say where a token can be used, in one round trip; in none where this process has looked within the last minute.

    Raises:
        Unauthenticated: the token is unknown, expired or revoked.
    """
    known = _reaches.get(token_hash)
    if known is not None and known.until > time.monotonic():
        return known
    rows = await read(REACH, token_hash)
    if not rows:
        _reaches.pop(token_hash, None)
        raise Unauthenticated
    scopes, accounts = rows[0]
    found = Reach(frozenset(scopes), tuple(accounts), time.monotonic() + REMEMBERED_SECONDS)
    _reaches[token_hash] = found
    _reaches.move_to_end(token_hash)
    while len(_reaches) > REMEMBERED:
        _reaches.popitem(last=False)
    return found
