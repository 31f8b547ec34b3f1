"""Delivers events of an account to whatever listens for them: instances, and schedules and triggers that start some.

(Contract 10.6.)
"""

from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from service.engine import event_triggers, inbox, listeners, subscriptions
from service.engine.queue import Job, finish, put_back
from service.language.questions import Answering
from service.language.values import flaw
from tenancy.rows import current_connection, rows_of

PAGE = 500  # instances that are given an event in one transaction
TRIES = 10  # times that somebody else may be faster with a schedule before the job goes back to the queue


async def perform(answering: Answering, job: Job) -> None:
    """Deliver the event in a job's payload: page by page to instances, then to schedules, and hand it over to triggers.

    The job says how far it is, and is locked when it goes on: nobody gets the event twice, however often it runs.
    """
    assert job.payload is not None  # noqa: S101 - such jobs carry an event
    event = msgspec.json.decode(job.payload)
    while (left := await page_delivered(job, event)) == "more":
        pass
    if left == "nothing":
        return
    for _ in range(TRIES):
        if await schedules_served(answering, job, event):
            return
    await put_back([job], timedelta(seconds=1))


async def page_delivered(job: Job, event: dict[str, Any]) -> Literal["more", "schedules", "nothing"]:
    """Give the next instances the event; say what is left to do."""
    account_id, event_type = job.account_id, event["type"]
    async with rows_of(account_id) as connection:
        after = await position(job)
        if after is None:
            return "nothing"
        instances = await listeners.page(account_id, event_type, after, PAGE)
        living = await inbox.locked(account_id, instances)
        if await position(job, lock=True) != after:
            return "more"  # somebody else has the same job
        await inbox.put(account_id, living, event, kept=False)
        if instances:
            await connection.execute("UPDATE job SET position = $2 WHERE id = $1", job.id, instances[-1])
        if len(instances) == PAGE:
            return "more"
        # An event that could not be stored as an instance's input starts none.
        if flaw([event]) is None and await subscriptions.wanted(account_id, event_type):
            return "schedules"
        await finish([job.id])
        return "nothing"


async def schedules_served(answering: Answering, job: Job, event: dict[str, Any]) -> bool:
    """Let schedules look at the event and store what came of it; False when one of them has changed meanwhile."""
    async with rows_of(job.account_id):
        wanting = await subscriptions.wanting(job.account_id, event["type"])
    looked = [await subscriptions.offer(answering, row, definition, event) for row, definition in wanting]
    offers = [offered for offered in looked if offered is not None]
    async with rows_of(job.account_id):
        if await position(job, lock=True) is None:
            return True
        stored = await subscriptions.store(job.account_id, offers, job.wait)
        if stored:
            await event_triggers.hand_over(job.account_id, event_triggers.told_of(event), job.wait)
            await finish([job.id])
        return stored


async def position(job: Job, *, lock: bool = False) -> UUID | None:
    """The last instance that was given a job's event, or None when the job is done."""
    statement = "SELECT position FROM job WHERE id = $1" + (" FOR UPDATE" if lock else "")
    row = await current_connection().fetchrow(statement, job.id)
    return None if row is None else row["position"] or UUID(int=0)
