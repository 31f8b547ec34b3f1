"""What PostgreSQL does for a request: its statements are noted as they are run, and explained afterwards."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import datetime
from typing import Any
from unittest import mock
from uuid import UUID

import asyncpg
import msgspec


class Asked(msgspec.Struct, frozen=True):
    """A statement and its arguments."""

    text: str
    arguments: tuple[Any, ...]


class Read(msgspec.Struct, frozen=True):
    """What a statement took, as its plan tells: rows looked at, rows put in order, tables read from end to end, pages read."""

    text: str
    rows: int
    ordered: int
    whole: tuple[str, ...]
    pages: int
    plan: str

    @property
    def told(self) -> str:
        """Write it down for people."""
        return f"{self.rows} rows, {self.ordered} in order, whole: {self.whole}\n{self.plan}\n{self.text}"


_asked: ContextVar[list[Asked] | None] = ContextVar("asked", default=None)
METHODS = ("fetch", "fetchrow", "fetchval", "execute")
SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan")


@contextlib.contextmanager
def noted() -> Iterator[list[Asked]]:
    """Note what is asked of the database while the block runs, in its task alone."""
    found: list[Asked] = []
    token = _asked.set(found)
    with contextlib.ExitStack() as patches:
        for name in METHODS:
            original = getattr(asyncpg.Connection, name)
            patches.enter_context(mock.patch.object(asyncpg.Connection, name, noting(original)))
        try:
            yield found
        finally:
            _asked.reset(token)


def noting(original: Any) -> Any:
    """Note a statement, then run it."""

    async def run(self: asyncpg.Connection, text: str, *arguments: Any, **options: Any) -> Any:
        found = _asked.get()
        if found is not None:
            found.append(Asked(text, arguments))
        return await original(self, text, *arguments, **options)

    return run


async def explained(
    connection: asyncpg.Connection, account_id: UUID, asked: list[Asked], mode: str = "auto"
) -> list[Read]:
    """Run what was asked once more, as the tenant, and say what it takes; `mode` is how plans are made."""
    found = []
    outside = connection.transaction()
    await outside.start()
    try:
        await connection.execute("SELECT set_config('app.account_id', $1, true)", str(account_id))
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        for one in asked:
            if one.text.startswith("SET LOCAL"):
                await connection.execute(one.text)
            elif one.text.lstrip().startswith(("SELECT", "WITH", "(SELECT")):
                found.append(await read(connection, one))
    finally:
        await outside.rollback()
    return found


async def read(connection: asyncpg.Connection, asked: Asked) -> Read:
    """Explain one statement as it runs."""
    await connection.execute(f"PREPARE shape AS {asked.text}")
    given = f"({', '.join(map(literal, asked.arguments))})" if asked.arguments else ""
    text = await connection.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE shape{given}"
    )
    await connection.execute("DEALLOCATE shape")
    nodes = list(nodes_of(msgspec.json.decode(text)[0]["Plan"]))
    return Read(
        asked.text,
        max_rows(nodes),
        max((rows_of(node["Plans"][0]) for node in nodes if "Sort" in node["Node Type"]), default=0),
        tuple(node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"),
        nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"],
        "\n".join(map(told, nodes)),
    )


def told(node: dict[str, Any]) -> str:
    """Write what a node did in a line."""
    where = node.get("Index Name") or node.get("Relation Name") or ""
    left_out = node.get("Rows Removed by Filter", 0)
    return f"{node['Node Type']} {where}: {rows_of(node)} rows in {loops(node)} turns, {left_out} left out in each"


def max_rows(nodes: list[dict[str, Any]]) -> int:
    """All rows that scans looked at, those too that a filter left out."""
    return sum(
        rows_of(node) + round(loops(node) * node.get(left_out, 0))
        for node in nodes
        if node["Node Type"] in SCANS
        for left_out in ("Rows Removed by Filter",)
    )


def rows_of(node: dict[str, Any]) -> int:
    """The rows that a node gave, over all its turns."""
    return int(node["Actual Rows"] * loops(node))


def loops(node: dict[str, Any]) -> int:
    """How often a node was run."""
    turns: int = node["Actual Loops"]
    return turns


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Walk over a plan."""
    yield plan
    for one in plan.get("Plans", ()):
        yield from nodes_of(one)


def literal(value: Any) -> str:
    """Write an argument as SQL, of the type that its place asks for."""
    if value is None:
        return "NULL"
    return "'" + written(value).replace("'", "''") + "'"


def written(value: Any) -> str:
    """Write a value as PostgreSQL reads it."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "{" + ",".join(f'"{written(one)}"' for one in value) + "}"
    return str(value)
