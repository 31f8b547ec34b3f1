"""What people do with work items, the questions that instances put to them: read and answer them."""

from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from auth.bearer import Caller, Credential
from auth.roles import Right
from service.engine.decisions import (
    Decision,
    Person,
    WorkItem,
    closed,
    held_by_another,
    hindrance,
    mistakes,
    verdict,
)
from service.engine.effects.work_item import (
    COLUMNS,
    TOLD,
    decide,
    decisions_of,
    decisions_on,
    locked,
    work_item_of,
)
from service.errors import AnswerRefused, WorkItemConflict
from service.language.expressions import ExpressionFailure
from service.language.sandbox import Sandbox
from service.language.values import flaw
from service.operations.inputs import named, unstorable_fields
from tenancy.errors import FieldError, Forbidden, NotFound, TooLarge
from tenancy.rows import current_connection, read

LARGEST_FIELDS = 65_536  # bytes of one person's answer to a form
LARGEST_ANSWERS = 1_048_576  # bytes of all answers to one work item, which its task's output holds

# The hot read: credential, tenant, work item and decisions in one round trip (see `instances.GET`).
GET = f"""
SELECT caller.verdict, caller.principal_id, caller.principal_name, caller.role,
       (SELECT email FROM app_user WHERE app_user.id = caller.principal_id) AS principal_email,
       {", ".join(f"one.{column.strip()}" for column in COLUMNS.split(","))},
       (SELECT json_agg({TOLD} ORDER BY at, id) FROM decision
        WHERE decision.account_id = caller.account_id AND decision.work_item_id = one.id) AS decisions
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN work_item AS one ON one.account_id = caller.account_id AND one.id = $4
"""

# A person's answer takes the place of their last one. The rows of a statement's own INSERT are not among those that it
# reads, so the others' come from the table and this one from what was inserted.
ANSWER = f"""
WITH mine AS (
    INSERT INTO decision (id, account_id, work_item_id, user_id, user_name, user_email, outcome, comment, fields, at)
    VALUES ($3, $1, $2, $4, $5, $6, $7, $8, $9, clock_timestamp())
    ON CONFLICT (account_id, work_item_id, user_id) DO UPDATE
    SET user_name = excluded.user_name, user_email = excluded.user_email, outcome = excluded.outcome,
        comment = excluded.comment, fields = excluded.fields, at = excluded.at
    RETURNING *
), told AS (
    INSERT INTO event (account_id, workflow_id, instance_id, type, actor, data)
    SELECT account_id, workflow_id, instance_id, 'work_item.answered', $4,
           jsonb_build_object('work_item_id', id, 'outcome', $7::text) || $10::jsonb
    FROM work_item WHERE account_id = $1 AND id = $2
)
SELECT json_agg({TOLD} ORDER BY at, id) FROM (
    SELECT * FROM decision WHERE account_id = $1 AND work_item_id = $2 AND user_id <> $4 UNION ALL SELECT * FROM mine
) AS every
"""


class Answer(msgspec.Struct, frozen=True):
    """What somebody decides: an outcome for an approval, fields where there is a form."""

    outcome: str | None = None
    comment: str | None = None
    fields: dict[str, Any] | None = None


class Shown(msgspec.Struct, frozen=True):
    """A work item, and what people have decided on it so far, the latest last."""

    item: WorkItem
    decisions: list[Decision]


async def get(credential: Credential, work_item_id: UUID) -> Shown:
    """Return one work item with its decisions, in one round trip.

    Raises:
        NotFound: no such work item.
        Forbidden: it is assigned to others, and the caller is a sender.
    """
    caller, person, shown = await found(credential, work_item_id, Right.READ)
    if not caller.sees_all and hindrance(shown.item, person, caller.role):
        raise Forbidden("A sender reads the work items that they may decide; the other roles read all.")
    return shown


async def complete(
    credential: Credential, sandbox: Sandbox, work_item_id: UUID, answer: Answer, *, once: bool = False
) -> Shown:
    """Decide a work item, as one of those it is assigned to; until it is decided, another answer replaces the first.

    With `once` there is no other answer of the same person. An answer takes six round trips, one that decides the work item nine; the fields are held against the form's schema
    before any transaction is open.

    Raises:
        NotFound: no such work item.
        Forbidden: it is not the caller's to decide, or the caller is a machine.
        WorkItemConflict: it is decided, cancelled or claimed by somebody else, or answered by the caller where they may do so
            once; the message says by what or whom.
        AnswerRefused: with one entry for each field that is wrong.
        TooLarge: the fields have more than 64 KiB, or all answers together more than 1 MiB.
    """
    caller, person, shown = await found(credential, work_item_id, Right.DECIDE)
    admit(caller, person, shown.item)
    if shown.item.status != "open":
        raise WorkItemConflict(closed(shown.item, shown.decisions))
    await check(credential.account_id, sandbox, shown.item, answer)
    async with credential.rows(Right.DECIDE) as caller:
        item = await locked(caller.account_id, work_item_id)
        if item is None:
            raise NotFound
        admit(caller, person, item)
        if item.status != "open":
            raise WorkItemConflict(closed(item, await decisions_on(item)))
        if once and any(one.user.id == person.id for one in await decisions_on(item)):
            raise WorkItemConflict("You have answered this already; what is missing is the answer of others.")
        return await settle(item, person, answer)


async def settle(item: WorkItem, person: Person, answer: Answer, told: str = "{}") -> Shown:
    """Store an answer to a locked work item that is open, and decide it if that does; `told`: see `decide`.

    Raises:
        WorkItemConflict: somebody else has claimed it.
        TooLarge: all answers together have more than 1 MiB.
    """
    held = held_by_another(item, person.id)
    if held is not None:
        raise WorkItemConflict(held)
    decisions = await _answered(item, person, answer, told)
    decided = verdict(item, decisions)
    if decided is not None:
        item = await decide(item, decided, decisions, decisions[-1].at, actor=person.id, told=told)
    return Shown(item, decisions)


async def found(credential: Credential, work_item_id: UUID, right: Right) -> tuple[Caller, Person, Shown]:
    """Read who calls, and a work item of their account, in one round trip.

    Raises:
        NotFound: no such work item.
    """
    (row,) = await read(GET, *credential.proof(right), work_item_id)
    credential.refuse(row["verdict"], right)
    if row["id"] is None:
        raise NotFound
    caller = Caller(credential.account_id, row["principal_id"], row["principal_name"], row["role"])
    return caller, _person(row), Shown(work_item_of(row), decisions_of(row["decisions"]))


def _person(row: asyncpg.Record) -> Person:
    return Person(row["principal_id"], row["principal_name"], row["principal_email"])


def admit(caller: Caller, person: Person, item: WorkItem) -> None:
    """Refuse who may not decide.

    Raises:
        Forbidden: with the reason.
    """
    if caller.role == "machine":
        raise Forbidden("A machine client decides nothing: people do. Use a token of a user.")
    reason = hindrance(item, person, caller.role)
    if reason is not None:
        raise Forbidden(reason)


async def check(account_id: UUID, sandbox: Sandbox, item: WorkItem, answer: Answer) -> None:
    """Refuse an answer that does not fit its work item.

    Raises:
        AnswerRefused: with one entry for each field.
        TooLarge: of the fields.
    """
    fields = answer.fields
    errors = mistakes(item, answer.outcome, answer.comment, fields)
    wrong = flaw(answer.comment)
    if wrong is not None:
        errors.append(FieldError("FIELD_INVALID", wrong, "comment"))
    errors += unstorable_fields(fields or {}, "fields/")
    if errors:
        raise AnswerRefused(errors=tuple(errors))
    if fields is None or item.form is None:
        return
    if len(msgspec.json.encode(fields)) > LARGEST_FIELDS:
        raise TooLarge(f"The fields of an answer have at most {LARGEST_FIELDS} bytes.")
    found = await sandbox.validate(account_id, msgspec.json.decode(item.form), fields)
    if isinstance(found, ExpressionFailure):
        raise AnswerRefused(errors=(FieldError("SCHEMA_LIMIT", f"{found.title}: {found.detail}", "fields"),))
    if found:
        raise AnswerRefused(errors=tuple(named(one, "fields") for one in found))


async def _answered(item: WorkItem, person: Person, answer: Answer, told: str) -> list[Decision]:
    """Store an answer to a locked work item; return all of them, the latest last."""
    fields = None if answer.fields is None else msgspec.json.encode(answer.fields).decode()
    text: str = await current_connection().fetchval(
        ANSWER,
        item.account_id,
        item.id,
        uuid7(),
        person.id,
        person.name,
        person.email,
        answer.outcome,
        answer.comment or None,
        fields,
        told,
    )
    if len(text) > LARGEST_ANSWERS:
        raise TooLarge(f"The answers to a work item have together at most {LARGEST_ANSWERS} bytes.")
    return decisions_of(text)
