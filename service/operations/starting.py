"""The first advance of an instance, made before the call that starts it: most then cost one transaction in all.

It is made on trial, for a caller whose token this process has lately seen accepted; the call itself checks the token as
ever, and starts the instance only if it holds. What the trial costs is bounded by its time: what takes longer is dropped,
and a worker begins it from the start.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import asyncpg
import msgspec

from auth.bearer import Credential
from service.engine.events import Subject
from service.engine.interpreter import advance, run
from service.engine.loading import facts
from service.engine.messages import Start
from service.engine.storing import About, Settled, settled
from service.language.document import Definition
from service.language.questions import ask
from service.language.sandbox import Sandbox
from service.settings import settings

SHORT_SECONDS = 0.25  # after which the trial leaves the rest to a worker
TRIAL_SECONDS = 1.0  # after which it is dropped: one expression may take that long
TRIALS = 8  # of one account at once
REMEMBERED_SECONDS = 60
REMEMBERED = 1_000  # callers


class Known(msgspec.Struct, frozen=True):
    """Whose token was accepted, and until when this process goes by it."""

    id: UUID
    name: str
    until: float


class New(msgspec.Struct, frozen=True):
    """An instance that is about to be started: its ids, its name, and the moment."""

    subject: Subject
    name: str
    at: datetime


_turns: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()
_known: OrderedDict[tuple[bytes, UUID], Known] = OrderedDict()


def turn_of(account_id: UUID) -> asyncio.Semaphore:
    """The turns of an account: what its trials work out in this process holds up everybody."""
    return _turns.setdefault(account_id, asyncio.Semaphore(TRIALS))


def note(credential: Credential, row: asyncpg.Record) -> None:
    """Keep in mind whether a token was accepted just now, by the row that `start_instance` gave."""
    key = credential.token_hash, credential.account_id
    if row["caller_id"] is None:
        _known.pop(key, None)
        return
    _known[key] = Known(row["caller_id"], row["caller_name"], time.monotonic() + REMEMBERED_SECONDS)
    _known.move_to_end(key)
    while len(_known) > REMEMBERED:
        _known.popitem(last=False)


def known(credential: Credential) -> Known | None:
    """Say whose token it is, if it was accepted lately."""
    found = _known.get((credential.token_hash, credential.account_id))
    return found if found is not None and found.until > time.monotonic() else None


async def first_advance(
    credential: Credential, sandbox: Sandbox, definition: Definition, new: New, inputs: dict[str, Any]
) -> Settled | None:
    """Advance an instance that is about to be started; None where a worker had better do it."""
    caller = known(credential)
    if caller is None:
        return None
    about = About(new.subject, new.name, caller.id, caller.name, new.at)

    async def answers(questions: Sequence[Any]) -> list[Any]:
        await asyncio.sleep(0)  # what is answered without the sandbox would never let others run
        return await ask(sandbox, credential.account_id, questions)

    until = time.monotonic() + SHORT_SECONDS
    told = facts(about, until)
    try:
        async with asyncio.timeout(TRIAL_SECONDS), turn_of(credential.account_id):
            result = await run(advance(definition, None, Start(new.at, inputs), told), answers)
        return settled(about, 0, result, settings().instance_lifetime)
    except Exception:  # noqa: BLE001 - what fails here fails in a worker again, which tells of it
        return None
