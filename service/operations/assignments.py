"""Who works on a work item: one of its assignees claims it and releases it; others are asked instead."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from auth.bearer import Caller, Credential
from auth.roles import Right, needed_role
from service.engine.decisions import PARTICIPANT, WorkItem, closed, held_by_another, unclaimable
from service.engine.effects.work_item import decisions_on, locked
from service.engine.events import Subject, record
from service.errors import AnswerRefused, WorkItemConflict
from service.language.people import ANY_MEMBER, ASSIGNEE_LIMIT, NAME_LIMIT, Assignees
from service.language.values import flaw
from service.operations.work_items import Shown, admit, found, get
from tenancy.errors import FieldError, Forbidden, NotFound
from tenancy.rows import current_connection

HOLD = """
UPDATE work_item SET claimed_by = $3, claimed_by_name = $4, claimed_at = $5 WHERE account_id = $1 AND id = $2
"""
ASSIGN = """
UPDATE work_item SET users = $3, roles = $4, claimed_by = NULL, claimed_by_name = NULL, claimed_at = NULL
WHERE account_id = $1 AND id = $2
"""
CLAIM = ("claimed_by", "claimed_by_name", "claimed_at")
# How many could decide who have not: active members, and the holder of the URL of an instance that somebody triggered, who
# counts as its starter and so is one person with them.
UNDECIDED = f"""
SELECT count(*) FROM (
    SELECT app_user.id FROM membership JOIN app_user ON app_user.id = membership.user_id
    WHERE membership.account_id = $1 AND membership.status = 'active' AND app_user.status = 'active'
      AND app_user.id IS DISTINCT FROM $4
      AND (ARRAY[membership.role, '{ANY_MEMBER}'] && $3 OR app_user.email = ANY ($2) OR app_user.id::text = ANY ($2))
    UNION
    SELECT started_by FROM instance
    WHERE account_id = $1 AND instance.id = $6 AND parent_id IS NULL AND schedule_id IS NULL
      AND '{PARTICIPANT}' = ANY ($3) AND $4::uuid IS NULL
) AS person (id) WHERE id <> ALL ($5)
"""


KNOWN = """
SELECT app_user.id::text FROM membership JOIN app_user ON app_user.id = membership.user_id
WHERE membership.account_id = $1 AND (app_user.email = ANY ($2) OR app_user.id::text = ANY ($2)) ORDER BY 1
"""


async def claim(credential: Credential, work_item_id: UUID) -> Shown:
    """Hold a work item for the caller alone, who may decide it; to hold it already is as good.

    Raises:
        NotFound: no such work item.
        Forbidden: it is not the caller's to decide, or the caller is a machine.
        WorkItemConflict: it is not open, somebody else holds it, or several people have to decide it.
    """
    caller, person, shown = await found(credential, work_item_id, Right.DECIDE)
    admit(caller, person, shown.item)
    async with credential.rows(Right.DECIDE) as caller:
        item = await _open(caller, work_item_id)
        admit(caller, person, item)
        reason = held_by_another(item, person.id) or unclaimable(item)
        if reason is not None:
            raise WorkItemConflict(reason)
        if item.claimed_by is None:
            item = await _hold(item, person.id, person.name, datetime.now(UTC))
            await _tell(
                item,
                "work_item.claimed",
                caller,
                before={"claimed_by": None},
                after={"claimed_by": person.id},
            )
        return Shown(item, await decisions_on(item))


async def release(credential: Credential, work_item_id: UUID) -> Shown:
    """Let a claimed work item go, as its holder or whoever operates the account.

    Raises:
        NotFound: no such work item.
        Forbidden: the caller is neither, or may not see it.
        WorkItemConflict: it is not open, or nobody holds it.
    """
    await get(credential, work_item_id)  # whoever may not see it is not told what became of it
    async with credential.rows(Right.DECIDE) as caller:
        item = await _open(caller, work_item_id)
        if caller.id != item.claimed_by and not caller.may(Right.OPERATE):
            raise Forbidden(f"To release what another has claimed takes {needed_role(Right.OPERATE)}.")
        if item.claimed_by is None:
            raise WorkItemConflict("Nobody has claimed this work item.")
        before = {"claimed_by": item.claimed_by}
        item = await _hold(item, None, None, None)
        await _tell(item, "work_item.released", caller, before=before, after={"claimed_by": None})
        return Shown(item, await decisions_on(item))


async def reassign(credential: Credential, work_item_id: UUID, assignees: Assignees) -> Shown:
    """Ask others instead, as its holder or whoever operates the account; nobody holds it afterwards.

    What people have decided so far stays and counts.

    Raises:
        NotFound: no such work item.
        Forbidden: the caller is neither, or may not see it.
        AnswerRefused: the assignees are not valid, or too few of them could decide; with an entry for each mistake.
        WorkItemConflict: it is not open.
    """
    await get(credential, work_item_id)  # whoever may not see it is not told what became of it
    async with credential.rows(Right.DECIDE) as caller:
        item = await _open(caller, work_item_id)
        if caller.id != item.claimed_by and not caller.may(Right.OPERATE):
            raise Forbidden(f"To reassign what one has not claimed takes {needed_role(Right.OPERATE)}.")
        wanted = _names(assignees)
        before = {"assignees": await _known(item.account_id, Assignees(item.users, item.roles))}
        after = {"assignees": await _known(item.account_id, wanted)}
        await _refuse_nobody(item, wanted)
        await current_connection().execute(
            ASSIGN, item.account_id, item.id, list(wanted.users), list(wanted.roles)
        )
        await _tell(item, "work_item.reassigned", caller, before=before, after=after)
        changed = {"users": wanted.users, "roles": wanted.roles, **dict.fromkeys(CLAIM)}
        item = msgspec.structs.replace(item, **changed)
        return Shown(item, await decisions_on(item))


async def _open(caller: Caller, work_item_id: UUID) -> WorkItem:
    """Lock a work item that is open.

    Raises:
        NotFound, WorkItemConflict: there is none, it is not.
    """
    item = await locked(caller.account_id, work_item_id)
    if item is None:
        raise NotFound
    if item.status != "open":
        raise WorkItemConflict(closed(item, await decisions_on(item)))
    return item


async def _hold(item: WorkItem, by: UUID | None, name: str | None, at: datetime | None) -> WorkItem:
    await current_connection().execute(HOLD, item.account_id, item.id, by, name, at)
    return msgspec.structs.replace(item, claimed_by=by, claimed_by_name=name, claimed_at=at)


async def _tell(item: WorkItem, kind: str, caller: Caller, **change: dict[str, Any]) -> None:
    subject = Subject(item.account_id, item.workflow_id, item.instance_id)
    await record(subject, kind, caller.id, work_item_id=item.id, **change)


async def _known(account_id: UUID, assignees: Assignees) -> Assignees:
    """The members among assignees by their ids: what is told of a change stays for ever, so it holds no e-mail address."""
    ids = await current_connection().fetch(KNOWN, account_id, list(assignees.users))
    return Assignees(tuple(row["id"] for row in ids), assignees.roles)


def _names(assignees: Assignees) -> Assignees:
    """Check the names that a caller gives, by the rules of a definition's; in lower case and each once.

    Raises:
        AnswerRefused: with an entry for each list that is wrong.
    """
    errors = []
    for field, names in (("users", assignees.users), ("roles", assignees.roles)):
        target = f"assignees/{field}"
        if len(names) > ASSIGNEE_LIMIT:
            errors.append(FieldError("FIELD_INVALID", f"has at most {ASSIGNEE_LIMIT} names", target))
        elif any(not 1 <= len(name) <= NAME_LIMIT or flaw(name) for name in names):
            message = f"a name has 1 to {NAME_LIMIT} characters, and no NUL characters"
            errors.append(FieldError("FIELD_INVALID", message, target))
    if not assignees.users and not assignees.roles:
        errors.append(FieldError("FIELD_REQUIRED", "name at least one user or role", "assignees"))
    if errors:
        raise AnswerRefused(errors=tuple(errors))
    users, roles = (
        tuple(dict.fromkeys(name.lower() for name in names)) for names in (assignees.users, assignees.roles)
    )
    return Assignees(users, roles)


async def _refuse_nobody(item: WorkItem, wanted: Assignees) -> None:
    """Refuse assignees too few of whom could decide; those who have decided already count."""
    decided = [decision.user.id for decision in await decisions_on(item)]
    names = list(wanted.users), list(wanted.roles)
    undecided: int = await current_connection().fetchval(
        UNDECIDED, item.account_id, *names, item.excluded, decided, item.instance_id
    )
    if undecided + len(decided) < item.minimum:
        message = (
            f"{item.minimum} people have to decide this work item, and too few active members are assigned"
            if item.minimum > 1
            else "none of them is an active member of the account who may decide"
        )
        raise AnswerRefused(errors=(FieldError("FIELD_INVALID", message, "assignees"),))
