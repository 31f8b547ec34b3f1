"""What the holder of an instance's URL sees and does: where the instance is, and answers to what it asks of them.

The URL's secret is the whole proof; its account, which the URL names, becomes the tenant of the transaction in which the
secret's hash is compared. It acts in the place of whoever started the instance, whose one answer to a work item it gives,
and may answer what is assigned to the role `participant` or names the starter (see `decisions.participates`). It ends with
the instance.
"""

import contextlib
import hmac
from collections.abc import AsyncIterator
from typing import Literal
from uuid import UUID

import asyncpg
import msgspec

from auth.bearer import hash_of
from service.engine.decisions import PARTICIPANT, Decision, Person, WorkItem, participates
from service.engine.definitions import definition_of
from service.engine.effects.work_item import COLUMNS, TOLD, decisions_of, locked, work_item_of
from service.errors import WorkItemConflict
from service.language.document import Definition
from service.language.errors import below
from service.language.sandbox import Sandbox
from service.operations.work_items import Answer, check, settle
from tenancy.errors import NotFound
from tenancy.rows import current_connection, rows_of

MOST_QUESTIONS = 10  # on one page; the others come when these are answered
TOLD_OF_URL = '{"through": "instance_url"}'

ENTER = """
SELECT instance.id, instance.account_id, instance.version_id, instance.name, instance.ended_at IS NOT NULL AS ended,
       instance.started_by, instance.access_id, instance.access_secret_hash, workflow.title,
       starter.id AS starter_id, starter.email AS starter_email
FROM instance JOIN account ON account.id = instance.account_id AND account.status = 'active'
     JOIN workflow ON workflow.account_id = instance.account_id AND workflow.id = instance.workflow_id
     LEFT JOIN (membership JOIN app_user AS starter ON starter.id = membership.user_id)
     ON membership.account_id = instance.account_id AND membership.user_id = instance.started_by
     AND membership.status = 'active' AND starter.status = 'active'
WHERE instance.account_id = $1 AND instance.id = $2
"""
# The last run of each task of the top level: a task may be entered again by a jump backwards.
STEPS = """
SELECT DISTINCT ON (pointer) pointer, status FROM task_run
WHERE account_id = $1 AND instance_id = $2 AND pointer = ANY ($3) ORDER BY pointer, number DESC
"""
QUESTIONS = f"""
SELECT {COLUMNS}, (
    SELECT json_agg({TOLD} ORDER BY at, id) FROM decision
    WHERE decision.account_id = work_item.account_id AND decision.work_item_id = work_item.id AND user_id = $3
) AS decisions
FROM work_item
WHERE account_id = $1 AND instance_id = $2 AND status = 'open' AND excluded IS DISTINCT FROM $3
  AND ('{PARTICIPANT}' = ANY (roles) OR users && $4::text[])
ORDER BY opened_at, id LIMIT {MOST_QUESTIONS}
"""

Progress = Literal["done", "current", "to do"]


class Step(msgspec.Struct, frozen=True):
    """A task of the workflow's top level, and how far it is."""

    name: str
    progress: Progress


class Question(msgspec.Struct, frozen=True):
    """An open work item that the holder may answer, and what they have answered already."""

    item: WorkItem
    answered: Decision | None
    held: bool  # by somebody who has claimed it


class View(msgspec.Struct, frozen=True):
    """What the page shows; of an instance that has ended nothing but that."""

    ended: bool
    workflow: str = ""
    instance: str = ""
    steps: tuple[Step, ...] = ()
    questions: tuple[Question, ...] = ()


class InstanceUrl(msgspec.Struct, frozen=True):
    """The parts of an instance's URL: a claim, until `rows` has compared the secret."""

    account_id: UUID
    instance_id: UUID
    access_id: UUID
    secret: str

    def __repr__(self) -> str:
        """Leave the secret out."""
        return f"InstanceUrl({self.instance_id})"

    @contextlib.asynccontextmanager
    async def rows(self) -> AsyncIterator["Participant"]:
        """Open a transaction on the account's rows for whoever holds the URL.

        Raises:
            NotFound: no such instance, another id or secret, or the account is suspended; nobody can tell which.
        """
        async with rows_of(self.account_id) as connection:
            row = await connection.fetchrow(ENTER, self.account_id, self.instance_id)
            expected = b"" if row is None else row["access_secret_hash"]
            genuine = hmac.compare_digest(expected, hash_of(self.secret))
            if row is None or not genuine or row["access_id"] != self.access_id:
                raise NotFound
            yield Participant(row)


class Participant:
    """Whoever holds the URL of the instance whose row this is."""

    def __init__(self, row: asyncpg.Record) -> None:
        self.row = row

    @property
    def person(self) -> Person:
        """How their answers are remembered: as the starter's, whose URL it is; one person has one answer."""
        return Person(self.row["started_by"], "Participant", None)

    @property
    def starter(self) -> Person | None:
        """Who started the instance, if that is an active member of the account."""
        row = self.row
        return None if row["starter_id"] is None else Person(row["starter_id"], "", row["starter_email"])

    @property
    def names(self) -> list[str]:
        """By what a work item may name the starter."""
        return [] if self.starter is None else [str(self.starter.id), str(self.starter.email)]

    def may_answer(self, item: WorkItem) -> bool:
        """Whether a work item is theirs to answer."""
        of_instance = item.instance_id == self.row["id"]
        return of_instance and participates(item, self.row["started_by"], self.starter)


async def view(url: InstanceUrl) -> View:
    """Read where the instance is, and what it asks of the holder of its URL; five round trips."""
    async with url.rows() as participant:
        row = participant.row
        if row["ended"]:
            return View(ended=True)
        steps = await _steps(row, await definition_of(row["version_id"]))
        questions = await _questions(participant)
        return View(False, row["title"], row["name"], steps, questions)  # noqa: FBT003 - its own field


async def answer(url: InstanceUrl, sandbox: Sandbox, work_item_id: UUID, given: Answer) -> None:
    """Answer an open work item in the name of the participant.

    Raises:
        NotFound: see `InstanceUrl.rows`; or no work item of theirs.
        WorkItemConflict: it is not open any more, or somebody has claimed it.
        AnswerRefused: with one entry for each field that is wrong.
        TooLarge: see `work_items.complete`.
    """
    async with url.rows() as participant:
        item = await _question(participant, work_item_id)
    await check(url.account_id, sandbox, item, given)
    async with url.rows() as participant:
        item = await _question(participant, work_item_id)
        await settle(item, participant.person, given, TOLD_OF_URL)


async def _question(participant: Participant, work_item_id: UUID) -> WorkItem:
    """Lock an open work item that the participant may answer."""
    item = await locked(participant.row["account_id"], work_item_id)
    if item is None or not participant.may_answer(item):
        raise NotFound
    if item.status != "open":
        raise WorkItemConflict
    return item


async def _steps(row: asyncpg.Record, definition: Definition) -> tuple[Step, ...]:
    pointers = {below("/do", place, task.name): task.name for place, task in enumerate(definition.tasks)}
    found = await current_connection().fetch(STEPS, row["account_id"], row["id"], list(pointers))
    progress: dict[str, Progress] = {"running": "current", "completed": "done", "skipped": "done"}
    runs = {one["pointer"]: progress.get(one["status"], "to do") for one in found}
    return tuple(Step(name, runs.get(pointer, "to do")) for pointer, name in pointers.items())


async def _questions(participant: Participant) -> tuple[Question, ...]:
    row, person = participant.row, participant.person
    found = await current_connection().fetch(
        QUESTIONS, row["account_id"], row["id"], person.id, participant.names
    )
    return tuple(_asked(work_item_of(one), decisions_of(one["decisions"]), person) for one in found)


def _asked(item: WorkItem, decisions: list[Decision], person: Person) -> Question:
    mine = decisions[0] if decisions else None
    return Question(item, mine, item.claimed_by not in (None, person.id))
