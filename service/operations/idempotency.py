"""Triggers that come again: by a key of the caller's, or as a vendor's SDK sends them again by itself.

A key (`Idempotency-Key`) is known for 24 hours to its account, caller and workflow. SDKs send no key, and repeat a
trigger when no answer reached them, or one of 5xx. Their triggers are known from the commit until the answer has been
handed to a connection that is still open, for a minute at the most (SDKs give up 30 seconds after they began). So two
intended triggers, however alike, start two instances, and what is lost between the commit and the answer starts one.

The secret of an instance's URL is stored as a hash alone. To be told again it is derived, by HMAC-SHA256, from what the
caller presents both times and the database does not hold (the key, or the SDK's access token), and from a random seed
that it holds until the key is forgotten: neither half is enough.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

import asyncpg
import msgspec

from service.engine import trigger_keys
from tenancy.errors import Conflict

LONGEST_KEY = 255  # characters
KEPT_FOR = timedelta(hours=24)
KEPT_FOR_SDKS = timedelta(seconds=60)
SEED_BYTES = 32
FORGET_EVERY = 0.05  # seconds
LAST_SECONDS = 1.0  # that forgetting may take when the process ends
DOUBT_FOR = 2.0  # seconds; the database doubts for one

EARLIER, IN_DOUBT = 208, 425  # verdicts of `start_instance`
UNDER_WAY = "An earlier request with the same key is still under way; try again in a few seconds."


class Repeat(msgspec.Struct, frozen=True, weakref=True, kw_only=True):
    """What a trigger is recognised by: hashes of its key and body, and what its caller holds and the database does not."""

    key_hash: bytes
    fingerprint: bytes
    presented: bytes
    kept: bool
    seed: bytes

    def secret(self, seed: bytes) -> str:
        """Derive the secret in the URL of the instance that was started with this seed: 256 bits, URL-safe."""
        made = hmac.digest(seed, b"tutti instance secret\0" + self.presented, "sha256")
        return base64.urlsafe_b64encode(made).decode().rstrip("=")

    @property
    def arguments(self) -> dict[str, Any]:
        """The last arguments of `start_instance`."""
        return {
            "new_key": self.key_hash,
            "body": self.fingerprint,
            "new_seed": self.seed,
            "keep": self.kept,
            "keep_for": KEPT_FOR if self.kept else KEPT_FOR_SDKS,
        }


UNREPEATED: dict[str, Any] = dict.fromkeys(("new_key", "body", "new_seed", "keep", "keep_for"))

_under_way: WeakValueDictionary[bytes, Repeat] = WeakValueDictionary()
_answered: set[int] = set()


def by_key(key: str, name: str, inputs: dict[str, Any]) -> Repeat:
    """Recognise a trigger by the key that its caller chose for it."""
    key_hash = hashlib.sha256(b"key\0" + key.encode()).digest()
    return Repeat(
        key_hash=key_hash,
        fingerprint=_fingerprint(name, inputs),
        presented=key.encode(),
        kept=True,
        seed=os.urandom(SEED_BYTES),
    )


def by_sdk(token: str, name: str, inputs: dict[str, Any]) -> Repeat | None:
    """Recognise a trigger of an SDK by its access token and body.

    None while the same is under way in this process: an SDK that waits for an answer does not repeat itself meanwhile, so
    both are intended. It is under way for as long as anybody holds what is returned here.
    """
    fingerprint = _fingerprint(name, inputs)
    key_hash = hashlib.sha256(b"sdk\0" + hashlib.sha256(token.encode()).digest() + fingerprint).digest()
    if key_hash in _under_way:
        return None
    repeat = Repeat(
        key_hash=key_hash,
        fingerprint=fingerprint,
        presented=token.encode(),
        kept=False,
        seed=os.urandom(SEED_BYTES),
    )
    _under_way[key_hash] = repeat
    return repeat


def answered(key_id: int) -> None:
    """Note that an SDK has been given the answer to its trigger, so that an identical one is meant to start anew."""
    _answered.add(key_id)


async def decided(repeat: Repeat, attempt: Callable[[], Awaitable[asyncpg.Record]]) -> asyncpg.Record:
    """Attempt a trigger until it is certain whether it is an earlier one that came again.

    The answer to the earlier one may be on its way, or just given; another process says so within moments, or never.

    Raises:
        Conflict: the earlier one is still under way.
    """
    until = time.monotonic() + DOUBT_FOR
    pause = 0.0
    try:
        row = await attempt()
        while row["verdict"] == IN_DOUBT and time.monotonic() < until:
            await forget_answered()
            await asyncio.sleep(pause)
            pause = FORGET_EVERY
            row = await attempt()
    except asyncpg.LockNotAvailableError:
        raise Conflict(UNDER_WAY) from None
    except BaseException:
        _under_way.pop(repeat.key_hash, None)  # whoever still holds on to it: its caller is told of an error
        raise
    if row["verdict"] == IN_DOUBT:
        raise Conflict(UNDER_WAY)
    return row


async def forgetting() -> None:
    """Forget triggers of SDKs soon after their answers were handed over, until it is cancelled."""
    try:
        while True:
            await asyncio.sleep(FORGET_EVERY)
            await _try_to_forget()
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await _try_to_forget()


async def _try_to_forget() -> None:
    with contextlib.suppress(
        Exception
    ):  # whatever it was: it is tried again at once, and they expire by themselves
        await forget_answered()


async def forget_answered() -> None:
    """Forget the triggers whose answers this process has handed over."""
    if _answered:
        given = frozenset(_answered)
        await trigger_keys.forget(given)
        _answered.difference_update(given)


def _fingerprint(name: str, inputs: dict[str, Any]) -> bytes:
    """Digest a body, whatever the order of its members."""
    return hashlib.sha256(msgspec.json.encode([name, inputs], order="deterministic")).digest()
