"""Instances as a dialect tells of them that knows steps and signals: by their own ids, with what they wait for.

A step is a task of the root list. What a definition that was made of steps calls them stands in its metadata, which never
change and are kept.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from auth.bearer import Credential
from auth.roles import Right
from service.engine.decisions import Person, WorkItem, held_by_another, hindrance
from service.engine.effects.work_item import COLUMNS, work_item_of
from service.language.texts import TEXT_LIMIT
from service.operations.instance_lists import MOST_BYTES
from service.operations.instances import SEEN, refuse_invisible, seen
from service.operations.pages import Row
from tenancy.errors import NotFound
from tenancy.rows import current_connection, read

MOST_AWAITED = 10  # work items and events that are told of one instance
LARGEST_FAULT = 16_384  # bytes of one that is told: lists have a thousand
KEPT = 2_000  # versions whose steps' names a process knows
READ_AT_ONCE = MOST_BYTES // TEXT_LIMIT  # versions, each as large as it may be
NAMESPACE = "keyfactor"  # of workflows that are made of steps

# What is told of an instance `one` in lists, with its workflow `own` and its `version`.
SHOWN = f"""
one.id, one.account_id, one.workflow_id, one.version_id, one.status, one.restarted_as, one.name, one.started_at,
one.last_modified_at, one.current_step, one.cancel_reason,
CASE WHEN octet_length(one.fault) <= {LARGEST_FAULT} THEN one.fault END AS fault,
own.title AS workflow_title, own.namespace AS workflow_namespace, version.number AS version_number,
ARRAY(SELECT title FROM work_item WHERE work_item.account_id = one.account_id AND work_item.instance_id = one.id
      AND work_item.status = 'open' ORDER BY work_item.wait LIMIT {MOST_AWAITED}) AS questions,
ARRAY(SELECT DISTINCT coalesce(type, '') FROM listener WHERE listener.account_id = one.account_id
      AND listener.instance_id = one.id LIMIT {MOST_AWAITED}) AS events
"""
JOINED = """
LEFT JOIN workflow AS own ON own.account_id = one.account_id AND own.id = one.workflow_id
LEFT JOIN workflow_version AS version ON version.account_id = one.account_id AND version.id = one.version_id
"""
MADE = (
    f"CASE WHEN own.namespace = '{NAMESPACE}' THEN version.document #> '{{document,metadata,keyfactor}}' END"
)
GET = f"""
SELECT caller.verdict, {SEEN}, {SHOWN}, one.trigger_inputs, one.state, one.output, {MADE} AS made,
       ARRAY(SELECT id FROM work_item WHERE work_item.account_id = one.account_id AND work_item.instance_id = one.id
             AND work_item.status = 'open' AND kind = 'approval' ORDER BY work_item.wait LIMIT {MOST_AWAITED}) AS approvals
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN instance AS one ON one.account_id = caller.account_id AND one.id = $4
{JOINED}
"""
MADE_OF = f"""
SELECT version.id, {MADE} AS made
FROM workflow_version AS version
JOIN workflow AS own ON own.account_id = version.account_id AND own.id = version.workflow_id
WHERE version.account_id = $1 AND version.id = ANY ($2)
"""
# An instance, once for each of its open approvals.
AWAITED = f"""
SELECT caller.verdict, caller.principal_id, caller.principal_name, caller.role, {SEEN},
       (SELECT email FROM app_user WHERE app_user.id = caller.principal_id) AS principal_email,
       one.workflow_id AS one_workflow_id, one.status AS one_status, one.restarted_as, one.current_step,
       ARRAY(SELECT DISTINCT coalesce(type, '') FROM listener WHERE listener.account_id = one.account_id
             AND listener.instance_id = one.id) AS events,
       (SELECT true FROM decision WHERE decision.account_id = item.account_id AND decision.work_item_id = item.id
                                    AND decision.user_id = caller.principal_id) AS answered,
       {", ".join(f"item.{column.strip()}" for column in COLUMNS.split(","))}
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN instance AS one ON one.account_id = caller.account_id AND one.id = $4
LEFT JOIN work_item AS item ON item.account_id = one.account_id AND item.instance_id = one.id
      AND item.status = 'open' AND item.kind = 'approval'
ORDER BY item.wait
"""


class Steps(msgspec.Struct, frozen=True):
    """What the steps of a version are called, by their unique names, and what kind of workflow it is."""

    workflow_type: str | None
    titles: Mapping[str, str]


class Awaited(msgspec.Struct, frozen=True):
    """What an instance waits for at its step: the approvals, those first that the caller may give now, and types of events.

    An empty type is an event of any.
    """

    workflow_id: UUID
    status: str
    restarted_as: UUID | None
    step: str | None
    approvals: tuple[WorkItem, ...]
    events: tuple[str, ...]


_steps: OrderedDict[UUID, Steps | None] = OrderedDict()


async def get(credential: Credential, instance_id: UUID) -> Row:
    """Return an instance by its own id with all that is told of it, in one round trip.

    Raises:
        NotFound: no such instance.
        Forbidden: another started it, and the caller is a sender.
    """
    (row,) = await seen(credential, GET, instance_id)
    return row


async def awaited(credential: Credential, instance_id: UUID) -> Awaited:
    """Return what an instance waits for, in one round trip; to those alone who may see it, or are asked themselves.

    Raises:
        NotFound: no such instance.
        Forbidden: another started it, the caller is a sender, and is not asked.
    """
    rows = await read(AWAITED, *credential.proof(Right.DECIDE), instance_id)
    credential.refuse(rows[0]["verdict"], Right.DECIDE)
    first = rows[0]
    if first["found"] is None:
        raise NotFound
    person = Person(first["principal_id"], first["principal_name"], first["principal_email"])
    found = [(work_item_of(row), row["answered"]) for row in rows if row["id"] is not None]
    # Whether they are asked at all, and have neither answered nor to leave it to somebody else.
    standing = {
        item.id: (
            hindrance(item, person, first["role"]) is not None,
            answered or held_by_another(item, person.id) is not None,
        )
        for item, answered in found
    }
    refuse_invisible(visible=first["visible"] or not all(hindered for hindered, _ in standing.values()))
    return Awaited(
        first["one_workflow_id"],
        first["one_status"],
        first["restarted_as"],
        first["current_step"],
        tuple(sorted((item for item, _ in found), key=lambda item: standing[item.id])),
        tuple(first["events"]),
    )


async def steps_of(account_id: UUID, version_ids: Iterable[UUID]) -> dict[UUID, Steps | None]:
    """Return what the steps of versions are called, in the open transaction; None for those not made of steps.

    Commonly it asks nobody: what a process has read once it keeps.
    """
    wanted = set(version_ids)
    found = {one: _steps[one] for one in wanted if one in _steps}
    unknown = list(wanted - found.keys())
    for begin in range(0, len(unknown), READ_AT_ONCE):
        some = unknown[begin : begin + READ_AT_ONCE]
        rows = await current_connection().fetch(MADE_OF, account_id, some)
        found |= {row["id"]: remembered(row["id"], steps_in(row["made"])) for row in rows}
    return found


def remembered(version_id: UUID, steps: Steps | None) -> Steps | None:
    """Keep what the steps of a version are called."""
    _steps[version_id] = steps
    _steps.move_to_end(version_id)
    while len(_steps) > KEPT:
        _steps.popitem(last=False)
    return steps


def steps_in(made: str | None) -> Steps | None:
    """Read a version's metadata, in which other dialects may have written anything."""
    told: Any = None if made is None else msgspec.json.decode(made)
    if not isinstance(told, dict):
        return None
    given, kind = told.get("Steps"), told.get("WorkflowType")
    steps = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    titles = {
        one["UniqueName"]: title if isinstance(title := one.get("DisplayName"), str) else one["UniqueName"]
        for one in steps
        if isinstance(one.get("UniqueName"), str)
    }
    return Steps(kind if isinstance(kind, str) else None, titles)
