"""What comes for a suspended instance: its jobs are held, in no worker's lane, and come back in their order at its resume.

So nothing is lost and nothing is done meanwhile: events and the answers of people wait where they are, timers that are due
have become jobs, a call that was under way keeps its answer. The instance's row decides what came first: whoever suspends,
resumes or holds locks it.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from service.engine.bell import ring, ring_after_commit
from service.engine.messages import Answered
from service.engine.queue import ADVANCING, Job, enqueue
from tenancy.rows import current_connection, read

RELEASE = """
UPDATE job SET lane = CASE WHEN reason = ANY ($3) THEN 'advance' ELSE 'perform' END, leased_until = NULL
WHERE account_id = $1 AND instance_id = $2 AND lane = 'held'
"""


async def hold(jobs: Sequence[Job], answered: Answered | None = None) -> None:
    """Hold jobs of one account's suspended instances; of those that are resumed by now the jobs go back to their lanes.

    `answered` is what a call has come to that the one job had performed: its instance is told of it by the job.
    """
    if not jobs:
        return
    answer = None if answered is None else msgspec.json.encode(answered)
    await read("SELECT hold_jobs($1, $2, $3)", jobs[0].account_id, [job.id for job in jobs], answer)
    ring(("advance", "perform"))


async def release(account_id: UUID, instance_id: UUID) -> None:
    """Let the jobs of an instance go that is resumed in the open transaction, which has locked it.

    One more has it look around when they are done: if none was held, it waits again.
    """
    await current_connection().execute(RELEASE, account_id, instance_id, ADVANCING)
    await enqueue([Job(account_id, instance_id, "continue")])
    ring_after_commit(("advance", "perform"))
