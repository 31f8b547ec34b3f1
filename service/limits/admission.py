"""Requests of accounts whose requests are limited: each counts once, and only if its caller was let in.

Ids of accounts are no secrets, so only the requests of callers who would be let in are held against the bucket. A caller whom
this process has not seen lately is looked up first: a token is new as often as its client wants, and could not be counted by
waiting for what its first request comes to.
"""

import contextlib
import time
from collections import OrderedDict
from enum import Enum
from typing import Any
from uuid import UUID

from auth.bearer import ENTER, Credential, token_hash
from auth.roles import Right
from service.errors import LimitReached
from service.limits.bucket import Bucket
from service.limits.known import limits_of
from tenancy.errors import NotFound, Unauthenticated
from tenancy.rows import read

REMEMBERED = 10_000  # callers
STATE = "admission"  # where a request's state holds it

Caller = tuple[bytes, UUID]  # the hash of a token, and the account that it is used on


class Standing(Enum):
    """What this process knows of a caller, and for how many seconds it goes by that."""

    LET_IN = 60
    STRANGER = 10


class Callers:
    """The callers whom this process has seen lately."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Caller, tuple[Standing, float]] = OrderedDict()

    def standing(self, caller: Caller) -> Standing | None:
        """What is known of a caller; None if they were not seen lately."""
        standing, until = self._seen.get(caller, (None, 0.0))
        return standing if until > time.monotonic() else None

    def note(self, caller: Caller, standing: Standing) -> None:
        """Keep something of a caller in mind."""
        self._seen[caller] = standing, time.monotonic() + standing.value
        self._seen.move_to_end(caller)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def forget(self, caller: Caller) -> None:
        """Forget a caller."""
        self._seen.pop(caller, None)


_buckets: dict[UUID, Bucket] = {}
_callers = Callers()


class Admission:
    """One request of an account whose requests are limited."""

    def __init__(self, bucket: Bucket, credential: Credential) -> None:
        self._bucket = bucket
        self._credential = credential
        self._caller = credential.token_hash, credential.account_id
        self._counted = False
        self._let_in = False
        self._refused = False

    async def enter(self) -> None:
        """Count the request of a caller who is one of the account's; strangers are left to the operation, which refuses them.

        Raises:
            LimitReached: the account has made as many as it may.
        """
        standing = _callers.standing(self._caller) or await self._looked_up()
        if standing is Standing.STRANGER:
            return
        if not await self._bucket.take():
            self._refused = True
            raise LimitReached(
                "REQUEST_LIMIT_REACHED",
                f"The account makes more than {self._bucket.rate} requests a second; wait as long as Retry-After says.",
                self._bucket.retry_after,
            )
        self._counted = True

    def checked(self, verdict: int) -> None:
        """Hear what the check of the credential came to; the request counts unless it has let nobody in.

        The verdict 404 may be about the account, or what was asked for in it, and changes nothing.
        """
        if verdict == Unauthenticated.status:
            _callers.forget(self._caller)
            if self._counted and not self._let_in:
                self._bucket.put_back()
                self._counted = False
        elif verdict != NotFound.status and not self._let_in:
            _callers.note(self._caller, Standing.LET_IN)
            self._let_in = True
            if not self._counted:
                self._bucket.charge()
                self._counted = True

    def headers(self) -> list[tuple[str, str]]:
        """What the caller is told of the limit (draft-ietf-httpapi-ratelimit-headers, and the vendors' older names).

        Nobody is told who was not let in.
        """
        if not (self._counted or self._refused):
            return []
        bucket, left = self._bucket, self._bucket.remaining
        if self._refused:
            left = 0
        return [
            ("RateLimit-Policy", f'"account";q={bucket.capacity};w={bucket.filled_in}'),
            ("RateLimit", f'"account";r={left};t={bucket.full_after}'),
            ("X-RateLimit-Limit", str(bucket.capacity)),
            ("X-RateLimit-Remaining", str(left)),
            ("X-RateLimit-Reset", str(int(time.time()) + bucket.full_after)),
        ]

    async def _looked_up(self) -> Standing:
        """Ask the database whether the caller is one of the account's."""
        (row,) = await read(ENTER, *self._credential.proof(Right.READ))
        gone = row["verdict"] in (Unauthenticated.status, NotFound.status)
        standing = Standing.STRANGER if gone else Standing.LET_IN
        _callers.note(self._caller, standing)
        return standing


class CountedCredential(Credential, frozen=True):
    """A credential on an account whose requests are limited: its check tells the request's admission what it came to."""

    admission: Admission

    def refuse(self, verdict: int, right: Right) -> None:
        """Refuse the caller if `enter_account` did."""
        self.admission.checked(verdict)
        super().refuse(verdict, right)


async def admit(state: dict[str, Any], authorization: str | None, account_id: UUID) -> None:
    """Begin to count a request as `admit_token` does; whoever shows no token at all is left to the operation.

    Raises:
        LimitReached: the account has made as many as it may.
    """
    with contextlib.suppress(Unauthenticated):
        await admit_token(state, token_hash(authorization), account_id)


async def admit_token(state: dict[str, Any], token: bytes, account_id: UUID) -> None:
    """Begin to count a request, whose state it is, if its account's requests are limited; before its operation.

    Raises:
        LimitReached: the account has made as many as it may.
    """
    bucket = bucket_of(account_id)
    if bucket is not None:
        state[STATE] = admission = Admission(bucket, Credential(token, account_id, ()))
        await admission.enter()


def claimed(state: dict[str, Any], token: bytes, account_id: UUID, scopes: tuple[str, ...]) -> Credential:
    """Make the credential of a request from its token's hash; one whose check counts the request where it has to."""
    admission: Admission | None = state.get(STATE)
    if admission is None:
        return Credential(token, account_id, scopes)
    return CountedCredential(token, account_id, scopes, admission)


def bucket_of(account_id: UUID) -> Bucket | None:
    """The bucket of an account; None if its requests are not limited."""
    limits = limits_of(account_id)
    if limits is None or limits.requests_per_second is None or limits.burst is None:
        return None
    bucket = _buckets.get(account_id)
    if bucket is None or (bucket.rate, bucket.capacity) != (limits.requests_per_second, limits.burst):
        bucket = _buckets[account_id] = Bucket(account_id, limits.requests_per_second, limits.burst)
    return bucket
