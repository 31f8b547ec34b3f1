"""What an instance has done so far: its task runs, in the order in which they began."""

from typing import Any
from uuid import UUID

from auth.bearer import Access
from auth.roles import Right
from service.operations.instance_lists import MOST_BYTES
from service.operations.instances import refuse_invisible
from service.operations.pages import Page, Position, binding, position, token
from service.tables import Instance
from tenancy.errors import NotFound
from tenancy.rows import current_connection

LAST = 2**31 - 1  # the largest number that a run may have

# A page ends before its values pass `MOST_BYTES`, but has one run at least; `more` says whether another one follows.
PAGE = f"""
SELECT * FROM (
    SELECT *, row_number() OVER later AS place, lead(number) OVER later IS NOT NULL AS more,
           sum(coalesce(octet_length(input::text), 0) + coalesce(octet_length(output::text), 0)
               + coalesce(octet_length(error::text), 0)) OVER later AS weight
    FROM (
        SELECT number, name, kind, pointer, iteration, attempt, status, input, output, error, cut, started_at, ended_at
        FROM task_run WHERE account_id = $1 AND instance_id = $2 AND number > $3 ORDER BY number LIMIT $4 + 1
    ) AS run WINDOW later AS (ORDER BY number)
) AS weighed WHERE place <= $4 AND (place = 1 OR weight <= {MOST_BYTES}) ORDER BY number
"""


async def get_page(
    access: Access, workflow_id: UUID, instance_id: UUID, size: int, ctoken: str | None
) -> Page:
    """Return a page of an instance's task runs; who may read the instance may read its history.

    Raises:
        NotFound: no such instance of that workflow.
        Forbidden: another started it, and the caller is a sender.
        PageTokenRefused: the token is not of this history.
    """
    async with access.rows(Right.READ) as caller:
        bound_to = binding(caller.account_id, "history", workflow_id, instance_id)
        begin = position(ctoken, bound_to)
        its = (Instance.id == instance_id) & (Instance.workflow_id == workflow_id)
        found = await Instance.select(Instance.started_by).where(its).first().run()
        if found is None:
            raise NotFound
        refuse_invisible(visible=caller.sees(found["started_by"]))
        after = -1 if begin is None else min(begin.id.int, LAST)
        rows = await current_connection().fetch(PAGE, caller.account_id, instance_id, after, size)
    return Page(rows, following(rows[-1], bound_to) if rows and rows[-1]["more"] else None, size)


def following(last: Any, bound_to: bytes) -> str:
    """Write the token of what comes after a run; its number, which no other run of the instance has, serves as its id."""
    return token(Position(last["started_at"], UUID(int=last["number"]), None, bound_to))
