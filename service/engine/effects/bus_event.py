"""Has the triggers of an account meet an event: each in a transaction of its own, so a job that runs again goes on."""

import logging
from datetime import timedelta

import msgspec

from service.engine.event_triggers import Told, fire, let_through, meeting, outcome
from service.engine.queue import Job, finish, put_back
from service.language.expressions import ExpressionFailure
from service.language.questions import Answering
from service.limits import space
from tenancy.faults import OUTAGE
from tenancy.rows import rows_of

logger = logging.getLogger("tutti.event_triggers")

POSTPONED = timedelta(seconds=15)  # when the account may start nothing now


async def perform(answering: Answering, job: Job) -> None:
    """Let each trigger look at the event in a job's payload and start what it starts.

    What fails for a reason of its own holds up none of the others, and is tried again with the job.
    """
    assert job.payload is not None  # noqa: S101 - such jobs carry an event
    if await space.refusal_of_start(job.account_id) is not None:
        await put_back([job], POSTPONED)
        return
    heard = msgspec.json.decode(job.payload, type=Told)
    failure = await met(answering, job, heard)
    if failure is not None:
        raise failure
    async with rows_of(job.account_id):
        await finish([job.id])


async def met(answering: Answering, job: Job, heard: Told) -> Exception | None:
    """Have every trigger meet an event that has not met it; the first thing that went wrong."""
    account_id, payload, failure = job.account_id, heard.event.payload, None
    async with rows_of(account_id):
        waiting = await meeting(account_id, heard)
    filters = [one.trigger["filter"] for one in waiting]
    passed = await let_through(answering, account_id, filters, payload)
    for one, passes in zip(waiting, passed, strict=True):
        if isinstance(passes, ExpressionFailure):
            logger.info("trigger %s: its filter failed: %s", one.trigger["id"], passes.title)
        elif passes:
            try:
                came = await outcome(answering, one, payload, job.wait)
                async with rows_of(account_id):
                    await fire(one, heard, came, job.wait)
            except OUTAGE:
                raise
            except Exception as error:
                logger.exception("trigger %s of account %s failed", one.trigger["id"], account_id)
                failure = failure or error
    return failure
