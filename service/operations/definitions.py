"""What owners of definitions do, in a dialect that numbers versions and says what a definition is for.

A definition is a workflow. Its newest version is its draft until it is published; editing writes that one anew, or the next
one where it is published. What a definition is for, a type of workflow and keys, is another's only when it is archived.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from auth.bearer import Access, Caller
from auth.roles import Right
from service.errors import SearchTooBroad, WorkflowConflict
from service.language.sandbox import Sandbox
from service.operations import secrets
from service.operations.conditions import ALWAYS, IN_TEXT, OPPOSITES, Comparison, Condition, Every
from service.operations.pages import Row
from service.operations.search import LIMITS, SEARCH_SECONDS, turn_of
from service.operations.step_instances import NAMESPACE
from service.operations.versions import insert, locked, make_active, put_version, retire, set_paused
from service.operations.workflows import draft
from tenancy.errors import NotFound, SetupRefused
from tenancy.rows import current_connection

TRIES = 5  # times that an edit is made again because somebody else edited meanwhile
ARCHIVED = "archived"
SECRETS = f"{NAMESPACE}-"  # what the names of definitions' secrets begin with, before the definition's id
NO_KEYS = "The service can keep no secrets: its operator has not set TUTTI_SECRET_KEYS."

# A definition that was given no name has none. What a statement does not use of this is not worked out for it.
OUTLINE = """
SELECT workflow.id, workflow.namespace, workflow.paused, workflow.active_version_id, workflow.latest_version_id,
       CASE WHEN workflow.namespace <> $2 OR workflow.title <> workflow.name THEN workflow.title END AS display_name,
       (SELECT workflow_type FROM definition_key AS own
        WHERE own.account_id = workflow.account_id AND own.workflow_id = workflow.id LIMIT 1) AS workflow_type,
       ARRAY(SELECT key FROM definition_key AS own
             WHERE own.account_id = workflow.account_id AND own.workflow_id = workflow.id ORDER BY id) AS keys,
       newest.number AS draft_version, active.number AS published_version,
       coalesce(active.id = newest.id, false) AS is_published
FROM workflow
LEFT JOIN workflow_version AS newest ON newest.account_id = workflow.account_id AND newest.id = workflow.latest_version_id
LEFT JOIN workflow_version AS active ON active.account_id = workflow.account_id AND active.id = workflow.active_version_id
WHERE workflow.account_id = $1 AND workflow.status <> 'archived'
"""
ONE = f"""
SELECT one.*, version.id AS version_id, version.number, version.document, version.published_at,
       coalesce(version.id = one.active_version_id, false) AS is_active
FROM ({OUTLINE} AND workflow.id = $3) AS one
LEFT JOIN workflow_version AS version ON version.account_id = $1 AND version.workflow_id = one.id
      AND CASE WHEN $4::integer IS NULL THEN version.id = one.latest_version_id ELSE version.number = $4 END
"""
INSERT_KEY = """
INSERT INTO definition_key (id, account_id, workflow_id, workflow_type, key) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (account_id, workflow_type, key) DO NOTHING RETURNING id
"""
KEY_OF = "SELECT workflow_id FROM definition_key WHERE account_id = $1 AND workflow_type = $2 AND key = $3"
DELETE_KEYS = "DELETE FROM definition_key WHERE account_id = $1 AND workflow_id = $2"
FIRST_VALUE = 3  # the argument behind those of the outline
SORTED = {name: f'lower({name}) COLLATE "C"' for name in ("display_name", "workflow_type")}

Sort = Literal["display_name", "id", "is_published", "workflow_type", "draft_version", "published_version"]


class NewDefinition(msgspec.Struct, frozen=True):
    """What a definition is for: a type of workflow, and the keys for which no other one of that type may be."""

    workflow_type: str
    keys: tuple[str, ...]


class Made(msgspec.Struct, frozen=True):
    """A document to be stored as a version, and the secrets that come with it, by their names in the account."""

    document: dict[str, Any]
    secrets: dict[str, dict[str, str]] = {}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which definitions are asked for, in which order, and how many behind how many; those without a value stand last."""

    condition: Condition = ALWAYS
    sort: Sort = "display_name"
    descending: bool = False
    size: int = 50
    offset: int = 0


class Listed(msgspec.Struct, frozen=True):
    """A page of definitions, and how many there are in all."""

    rows: Sequence[Row]
    total: int


Make = Callable[[Row, int], Made]


async def create(
    access: Access, sandbox: Sandbox, new: NewDefinition, make: Callable[[UUID], dict[str, Any]]
) -> Row:
    """Store a new definition with its first version, unpublished; `make` gives the document of its id.

    Raises:
        DefinitionRefused: the document cannot be run.
        WorkflowConflict: another definition is for this type and one of these keys.
    """
    workflow_id = uuid7()
    checked = await draft(access, sandbox, msgspec.json.encode(make(workflow_id)), "json")
    async with access.alone(Right.OPERATE) as caller:
        await insert(caller, checked, workflow_id)
        await _insert_keys(caller, workflow_id, new)
        return await _one(caller.account_id, workflow_id)


async def edit(
    access: Access,
    sandbox: Sandbox,
    workflow_id: UUID,
    make: Make,
    keys: tuple[str, ...] | None = None,
) -> Row:
    """Store what `make` makes of a definition and the number of the version that is written; set its keys where there are any.

    What somebody else stores meanwhile is not lost: then it is made again.

    Raises:
        NotFound: no such definition, or an archived one.
        DefinitionRefused: the document cannot be run.
        WorkflowConflict: another definition is for one of the keys, secrets cannot be kept, or others edit it all the time.
    """
    for _ in range(TRIES):
        async with access.rows(Right.OPERATE) as caller:
            present = await _one(caller.account_id, workflow_id)
        made = make(present, present["number"] + (present["published_at"] is not None))
        checked = await draft(access, sandbox, msgspec.json.encode(made.document), "json")
        # Of keys and secrets an account has one each: who writes several would wait for others in a circle.
        opening = access.alone if made.secrets or keys is not None else access.rows
        async with opening(Right.OPERATE) as caller:
            row = await locked(workflow_id)
            now = await _one(caller.account_id, workflow_id)
            if (now["version_id"], now["published_at"]) != (present["version_id"], present["published_at"]):
                continue
            await put_version(caller, row, checked)
            await _keep_secrets(caller, made.secrets)
            if keys is not None:
                await _replace_keys(caller, workflow_id, NewDefinition(now["workflow_type"], keys))
            return await _one(caller.account_id, workflow_id)
    raise WorkflowConflict("Others are editing the definition all the time; read it, and try again.")


async def publish(access: Access, workflow_id: UUID, number: int | None = None) -> Row:
    """Make a version, the newest one unless it is named, the one that starts from now on; doing it again changes nothing.

    Raises:
        NotFound: no such definition or version, or an archived one.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await locked(workflow_id)
        chosen = await _one(caller.account_id, workflow_id, number)
        if not chosen["is_active"]:
            await make_active(caller, row, chosen["version_id"])
        return await _one(caller.account_id, workflow_id, number)


async def enable(access: Access, workflow_id: UUID, *, enabled: bool) -> None:
    """Let a definition start instances, or not; running ones go on. Doing it again changes nothing.

    Raises:
        NotFound: no such definition, or an archived one.
        WorkflowConflict: it has not been published.
    """
    async with access.rows(Right.OPERATE) as caller:
        row = await locked(workflow_id)
        if row["status"] == ARCHIVED:
            raise NotFound
        if row["status"] != "active":
            raise WorkflowConflict(
                "The definition has not been published, and starts nothing yet; publish it first."
            )
        if row["paused"] == enabled:
            await set_paused(caller, row, paused=not enabled)


async def delete(access: Access, workflow_id: UUID) -> None:
    """Archive a definition: it starts nothing any more, its instances go on, and another may be for what it was for.

    Its secrets go with it, unless instances of it go on that may call with them; so do those that others have left for that.

    Raises:
        NotFound: no such definition, or one that is archived already.
    """
    async with access.alone(Right.OPERATE) as caller:
        row = await locked(workflow_id)
        if row["status"] == ARCHIVED:
            raise NotFound
        await retire(caller, row)
        await secrets.forget(caller, SECRETS)


async def get(access: Access, workflow_id: UUID, number: int | None = None) -> Row:
    """Return a definition with a version of it: the newest, or that of a number.

    Raises:
        NotFound: no such definition or version, or an archived one.
    """
    async with access.rows(Right.READ) as caller:
        return await _one(caller.account_id, workflow_id, number)


async def get_list(access: Access, wanted: Wanted) -> Listed:
    """Return a page of the account's definitions, the archived ones left out.

    Raises:
        SearchTooBroad: it took longer than 3 seconds.
    """
    values: list[Any] = []
    found = f"SELECT * FROM ({OUTLINE}) AS one WHERE {sql_of(wanted.condition, values)}"
    way = "DESC" if wanted.descending else "ASC"
    order = f"{SORTED.get(wanted.sort, wanted.sort)} {way} NULLS LAST, id {way}"
    async with access.rows(Right.READ):
        pass  # strangers take no turn, and who waits for one holds no connection
    async with turn_of(access.account_id), access.rows(Right.READ) as caller:
        connection, given = current_connection(), (caller.account_id, NAMESPACE, *values)
        page = f"{found} ORDER BY {order} LIMIT {wanted.size} OFFSET {wanted.offset}"
        try:
            await connection.execute(LIMITS.format(SEARCH_SECONDS * 1000))
            total = await connection.fetchval(f"SELECT count(*) FROM ({found}) AS found", *given)
            return Listed(await connection.fetch(page, *given), total)
        except asyncpg.QueryCanceledError:
            raise SearchTooBroad(SEARCH_SECONDS, "Narrow it by Id, WorkflowType or IsPublished.") from None


def sql_of(condition: Condition, values: list[Any]) -> str:
    """Write a condition on the outlines, whose texts are compared in any case; its values are appended to the arguments."""
    if not isinstance(condition, Comparison):
        parts = [f"({sql_of(part, values)})" for part in condition.parts]
        both = isinstance(condition, Every)
        return (" AND " if both else " OR ").join(parts) or ("true" if both else "false")
    operator = OPPOSITES.get(condition.operator, condition.operator)
    if condition.value is None:
        positive = f"{condition.field} IS NULL"
    else:
        values.append(condition.value)
        form = IN_TEXT[operator] if isinstance(condition.value, str) else "{0} = {1}"
        positive = form.format(condition.field, f"${len(values) + FIRST_VALUE - 1}")
    return positive if operator == condition.operator else f"({positive}) IS NOT TRUE"


async def _one(account_id: UUID, workflow_id: UUID, number: int | None = None) -> Row:
    """Read a definition with a version of it, the newest unless a number is given."""
    row = await current_connection().fetchrow(ONE, account_id, NAMESPACE, workflow_id, number)
    if row is None:
        raise NotFound
    if row["version_id"] is None:
        raise NotFound(f"The definition has no version {number}; its newest one is {row['draft_version']}.")
    return row


async def _insert_keys(caller: Caller, workflow_id: UUID, new: NewDefinition) -> None:
    """Say what a definition is for."""
    connection = current_connection()
    for key in new.keys:
        arguments = uuid7(), caller.account_id, workflow_id, new.workflow_type, key
        if await connection.fetchval(INSERT_KEY, *arguments) is None:
            other = await connection.fetchval(KEY_OF, caller.account_id, new.workflow_type, key)
            raise WorkflowConflict(
                f"Definition {other} is for the WorkflowType {new.workflow_type} and the Key {key[:100]!r} already;"
                " change that one, or delete it first."
            )


async def _replace_keys(caller: Caller, workflow_id: UUID, new: NewDefinition) -> None:
    """Say anew what a definition is for."""
    await current_connection().execute(DELETE_KEYS, caller.account_id, workflow_id)
    await _insert_keys(caller, workflow_id, new)


async def _keep_secrets(caller: Caller, values: dict[str, dict[str, str]]) -> None:
    """Store the secrets of a definition, and let those go that nobody needs any more, as an account may have few."""
    if values:
        await secrets.forget(caller, SECRETS)
    try:
        for name, value in values.items():
            await secrets.put(caller, name, value)
    except SetupRefused:
        raise WorkflowConflict(NO_KEYS) from None
