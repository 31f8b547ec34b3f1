"""Workflows and instances as dialects tell of them that know stages.

An instance is found by its own id alone, and comes with its workflow and the runs of its top-level tasks. What is read is bounded: a list embeds 16 MB of definitions at the most, and tells the stages of instances that have gone
through few tasks.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from auth.bearer import Access, Credential
from auth.roles import Right
from service.engine.states import Status
from service.language.sandbox import Sandbox
from service.operations.instance_lists import MOST_BYTES, Filters, Key, filled, listed
from service.operations.instances import COLUMNS, SEEN, Began, seen, starter, trigger
from service.operations.looking import Look
from service.operations.pages import Edge, Row, Window, window
from service.tables import Workflow
from tenancy.errors import NotFound
from tenancy.rows import current_connection, read

LONGEST_LIST = 1000
MOST_RUNS = 10_000  # task runs of one instance that are looked at for its stages
MOST_RUNS_LISTED = 100  # and of each instance of a list
MOST_RUNS_TOLD = 400  # in one answer

TOP_LEVEL = "^/do/[0-9]+/[^/]+$"  # pointers of tasks that stand in no other
SHOWN = "id, title, status, created_at, modified_at"  # of a workflow

# Of an instance `one`, or of one that a list shows: what its top-level tasks have done, in the order in which they began.
STAGES = """
(SELECT {told} FROM (
    SELECT number, name, kind, pointer, status, error, started_at, ended_at FROM task_run
    WHERE task_run.account_id = {account} AND task_run.instance_id = {instance} ORDER BY number LIMIT {most}
) AS run)
"""
TOLD = f"""
json_agg(json_build_object('name', name, 'kind', kind, 'pointer', pointer, 'status', status, 'started_at', started_at,
    'ended_at', ended_at, 'error', coalesce(error ->> 'detail', error ->> 'title')) ORDER BY number)
    FILTER (WHERE pointer ~ '{TOP_LEVEL}')
"""
ALL = STAGES.format(told=TOLD, account="caller.account_id", instance="one.id", most=MOST_RUNS)
FEW = STAGES.format(
    told=f"CASE WHEN count(*) <= {MOST_RUNS_LISTED} THEN {TOLD} END",
    account="$1",
    instance="listed.id",
    most=MOST_RUNS_LISTED + 1,
)

GET_WORKFLOW = f"""
SELECT caller.verdict, {", ".join(f"own.{column.strip()}" for column in SHOWN.split(","))}, version.document
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN workflow AS own ON own.account_id = caller.account_id AND own.id = $4
LEFT JOIN workflow_version AS version
       ON version.account_id = caller.account_id AND version.id = coalesce(own.active_version_id, own.latest_version_id)
"""
WORKFLOW_OF = """
own.title AS workflow_title, own.status AS workflow_status, own.created_at AS workflow_created_at,
own.modified_at AS workflow_modified_at
"""
GET = f"""
SELECT caller.verdict, {SEEN}, {", ".join(f"one.{column.strip()}" for column in COLUMNS.split(","))},
       {WORKFLOW_OF}, version.document, {ALL} AS stages
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN instance AS one ON one.account_id = caller.account_id AND one.id = $4
LEFT JOIN workflow AS own ON own.account_id = one.account_id AND own.id = one.workflow_id
LEFT JOIN workflow_version AS version ON version.account_id = one.account_id AND version.id = one.version_id
"""
FIND = f"""
SELECT caller.verdict, {SEEN}, one.workflow_id
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN instance AS one ON one.account_id = caller.account_id AND one.id = $4
"""
RUNS = f"""
SELECT caller.verdict, {SEEN}, run.*
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN instance AS one ON one.account_id = caller.account_id AND one.id = $4
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT number, name, kind, pointer, iteration, attempt, status, input, output, error, cut, started_at, ended_at
        FROM task_run WHERE task_run.account_id = one.account_id AND task_run.instance_id = one.id
        ORDER BY number LIMIT {MOST_RUNS}
    ) AS every WHERE pointer ~ $5 ORDER BY number LIMIT {MOST_RUNS_TOLD}
) AS run ON true
"""
# Of the runs from the one of a stage until the next stage's, those of the stage itself and of functions that were called.
RUNS_OF_STAGE = f"""
SELECT caller.verdict, {SEEN}, run.*
FROM enter_account($1, $2, $3) AS caller
LEFT JOIN instance AS one ON one.account_id = caller.account_id AND one.id = $4
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT number, name, kind, pointer, iteration, attempt, status, input, output, error, cut, started_at, ended_at,
               max(number) FILTER (WHERE pointer ~ '{TOP_LEVEL}') OVER (ORDER BY number) AS stage_run,
               max(number) FILTER (WHERE pointer ~ $5) OVER () AS wanted
        FROM (SELECT * FROM task_run WHERE task_run.account_id = one.account_id AND task_run.instance_id = one.id
              ORDER BY number LIMIT {MOST_RUNS}) AS first
    ) AS every
    WHERE stage_run = wanted AND (number = wanted OR starts_with(pointer, '/use/functions/'))
    ORDER BY number LIMIT {MOST_RUNS_TOLD}
) AS run ON true
"""
WORKFLOW_COLUMNS = f"""
{SHOWN}, (SELECT document FROM workflow_version AS version WHERE version.account_id = workflow.account_id
          AND version.id = coalesce(workflow.active_version_id, workflow.latest_version_id)) AS document
"""
LIVING = ["active", "inactive"]  # the statuses of workflows that are not archived
LISTED_STAGES = f"SELECT id, {FEW} AS stages FROM unnest($2::uuid[]) AS listed (id)"
LISTED_WORKFLOWS = f"""
SELECT version.id AS version_id, {WORKFLOW_OF},
       CASE WHEN sum(octet_length(version.document::text)) OVER (ORDER BY version.id) <= {MOST_BYTES}
            THEN version.document END AS document
FROM workflow_version AS version
JOIN workflow AS own ON own.account_id = version.account_id AND own.id = version.workflow_id
WHERE version.account_id = $1 AND version.id = ANY ($2)
"""


class StageRun(msgspec.Struct, frozen=True):
    """What one top-level task has done: since when, until when, and what went wrong in a sentence."""

    name: str
    kind: str
    pointer: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    error: str | None


async def get_workflow(credential: Credential, workflow_id: UUID) -> Row:
    """Return a workflow, archived or not, with the definition that runs of it begin with, in one round trip.

    Raises:
        NotFound: no such workflow.
    """
    (row,) = await read(GET_WORKFLOW, *credential.proof(Right.READ), workflow_id)
    credential.refuse(row["verdict"], Right.READ)
    if row["id"] is None:
        raise NotFound
    return row


async def run(
    credential: Credential, sandbox: Sandbox, workflow_id: UUID, name: str, inputs: dict[str, Any]
) -> Row:
    """Start an instance, and return it as `get` does: as it began, from what is known when it is stored.

    Nothing is read afterwards, so whoever is told of a failure has started nothing, but where the connection broke in
    the very commit. Two round trips.

    Raises:
        NotFound: no such workflow.
        NotTriggerable, InputsRefused, LimitReached: see `instances.trigger`.
    """
    workflow = await get_workflow(credential, workflow_id)
    started = await trigger(credential, sandbox, workflow_id, name, inputs)
    assert started.began is not None  # noqa: S101 - without a key nothing is an earlier trigger again
    own = {
        f"workflow_{column}": workflow[column] for column in ("title", "status", "created_at", "modified_at")
    }
    return {"id": started.id, "workflow_id": workflow_id, **own, **as_it_began(started.began)}


def as_it_began(began: Began) -> dict[str, Any]:
    """Say of an instance what its start has stored, in the columns of `GET`."""
    first = began.first
    runs: list[dict[str, Any]] = [] if first is None else first.rows.get("runs", [])
    return {
        "status": Status.PENDING if first is None else first.result.status,
        "started_at": began.at,
        "last_modified_at": began.at,
        "ended_at": began.at if first is not None and first.result.status.terminal else None,
        "fault": None if first is None else first.fault,
        "document": msgspec.json.encode(began.definition.document),
        "stages": msgspec.json.encode([stage_of(run) for run in runs if re.match(TOP_LEVEL, run["pointer"])]),
    }


def stage_of(run: Mapping[str, Any]) -> StageRun:
    """Tell what a top-level task has done, by a row of the history as it is written."""
    told = {name: run[name] for name in StageRun.__struct_fields__ if name != "error"}
    error = None if run["error"] is None else msgspec.json.decode(msgspec.json.encode(run["error"]))
    known = error if isinstance(error, dict) else {}  # a text, where it was too large
    return StageRun(**told, error=known.get("detail") or known.get("title"))


async def get(credential: Credential, instance_id: UUID) -> Row:
    """Return an instance with its workflow, its definition and its `stages` as JSON, in one round trip.

    Raises:
        NotFound: no such instance.
        Forbidden: another started it, and the caller is a sender.
    """
    (row,) = await seen(credential, GET, instance_id)
    return row


async def workflow_of(credential: Credential, instance_id: UUID) -> UUID:
    """Say of which workflow an instance is, in one round trip.

    Raises:
        NotFound: no such instance.
        Forbidden: another started it, and the caller is a sender.
    """
    (row,) = await seen(credential, FIND, instance_id)
    found: UUID = row["workflow_id"]
    return found


async def runs(credential: Credential, instance_id: UUID, pointers: str) -> list[Row]:
    """Return the runs of the tasks whose pointers match a pattern, at most 400, in the order in which they began.

    Raises:
        NotFound: no such instance.
        Forbidden: another started it, and the caller is a sender.
    """
    rows = await seen(credential, RUNS, instance_id, pointers)
    return [row for row in rows if row["number"] is not None]


async def runs_of_stage(credential: Credential, instance_id: UUID, number: int) -> list[Row]:
    """Return the run of a top-level task, the last one of it, and those of the functions that it called, at most 400.

    Nothing for one that was not begun.

    Raises:
        NotFound: no such instance.
        Forbidden: another started it, and the caller is a sender.
    """
    rows = await seen(credential, RUNS_OF_STAGE, instance_id, f"^/do/{number}/[^/]+$")
    return [row for row in rows if row["number"] is not None]


def stage_runs(row: Row) -> list[StageRun] | None:
    """Read the stages of an instance; None where there were too many runs to look at."""
    return None if row["stages"] is None else msgspec.json.decode(row["stages"], type=list[StageRun])


async def list_workflows(access: Access, size: int, edge: Edge | None) -> Window:
    """Return a page of the account's workflows that are not archived, newest first, with their definitions."""

    async def page(edge: Edge | None) -> tuple[list[Any], Key | None]:
        newest_first = edge is None or not edge.backwards

        async def fetch(after: Key | None, take: int) -> list[asyncpg.Record]:
            looking = look_at_workflows(access.account_id, after, newest_first=newest_first)
            return await looking.read(WORKFLOW_COLUMNS, take)

        begin = None if edge is None else (edge.at, edge.id)
        rows, more = await filled(fetch, "created_at", begin, size, weigh=lambda row: len(row["document"]))
        return rows, (rows[-1]["created_at"], rows[-1]["id"]) if more else None

    async with access.rows(Right.READ):
        return await window(page, "created_at", edge)


def look_at_workflows(account_id: UUID, after: Key | None, *, newest_first: bool = True) -> Look:
    """Say which workflows are looked at for a list: the first of each status, merged."""
    found, arguments = "account_id = $1 AND status = each.state", [account_id, LIVING, *(after or ())]
    if after is not None:
        found += f" AND (created_at, id) {'<' if newest_first else '>'} ($3, $4)"
    order = "created_at DESC, id DESC" if newest_first else "created_at, id"
    return Look("workflow", order, found, arguments, each="unnest($2::text[]) AS each (state)")


async def list_instances(
    access: Access, size: int, edge: Edge | None, *, of_workflow: UUID | None = None, running: bool = False
) -> Window:
    """Return a page of the instances of workflows that are not archived, newest first, with these and their `stages`.

    Of a workflow that is not there, or archived, there are none. A sender finds their own alone.
    """
    async with access.rows(Right.READ) as caller:
        filters = Filters(in_progress=running, started_by=starter(caller, None), living=True)
        if of_workflow is not None:
            its = (Workflow.id == of_workflow) & (Workflow.status != "archived")
            if not await Workflow.exists().where(its).run():
                return Window([], None, None)
            filters = msgspec.structs.replace(filters, workflow_ids=(of_workflow,), living=False)

        async def page(edge: Edge | None) -> tuple[list[Any], Key | None]:
            after = None if edge is None else (edge.at, edge.id)
            newest_first = edge is None or not edge.backwards
            return await listed(caller.account_id, filters, after, size, newest_first=newest_first)

        found = await window(page, "started_at", edge)
        return msgspec.structs.replace(found, rows=await completed(caller.account_id, found.rows))


async def completed(account_id: UUID, rows: list[Any]) -> list[dict[str, Any]]:
    """Put to each instance of a list its workflow, with the definition that it runs, and its stages."""
    connection = current_connection()
    versions = list({row["version_id"] for row in rows})
    workflows = {
        row["version_id"]: row for row in await connection.fetch(LISTED_WORKFLOWS, account_id, versions)
    }
    stages = await connection.fetch(LISTED_STAGES, account_id, [row["id"] for row in rows])
    told = {row["id"]: row["stages"] for row in stages}
    return [{**row, **workflows[row["version_id"]], "stages": told[row["id"]]} for row in rows]
