"""Rows that an index leads to, and of which something more is asked that no index knows.

A page looks at 10,000 rows at the most, so that a filter which few rows meet costs no more than one which all do: it may hold
less than it could, or nothing, and still have a next one.
"""

from typing import Any

import asyncpg
import msgspec

from tenancy.rows import current_connection

LOOKED_AT = 10_000  # rows, for one page


class Look(msgspec.Struct, frozen=True):
    """Which rows of a table are looked at, in which order, and which of these are kept: SQL, with its arguments.

    `kept` has its arguments behind those of `found`; it is empty where nothing more is asked. With `each`, a table of few
    rows that `found` names, the first rows for each of these are read and merged; nothing more may be asked of them then.
    """

    table: str
    order: str
    found: str
    arguments: list[Any]
    kept: str = ""
    more: list[Any] = []
    each: str = ""

    def page(self, columns: str, most: int) -> str:
        """Write the statement that reads the first of those that are kept."""
        # What is kept comes in the order in which it is looked at. Were the order asked for again, PostgreSQL would plan to
        # look at all 10,000, and sort them, instead of stopping at a full page.
        order = "" if self.kept else f" ORDER BY {self.order}"
        return f"SELECT {columns} FROM {self._kept(most)}{order} LIMIT {most}"

    def count(self, most: int) -> str:
        """Write the statement that counts those that are kept, up to so many."""
        return f"SELECT count(*) FROM (SELECT FROM {self._kept(most)} LIMIT {most}) AS first_ones"

    def _kept(self, most: int) -> str:
        if not (self.kept or self.each):
            return f"{self.table} WHERE {self.found}"
        limit = LOOKED_AT if self.kept else most
        rows = f"(SELECT * FROM {self.table} WHERE {self.found} ORDER BY {self.order} LIMIT {limit}) AS {self.table}"
        source = f"{self.each}, LATERAL {rows}" if self.each else rows
        return f"{source} WHERE {self.kept}" if self.kept else source

    async def read(self, columns: str, most: int) -> list[asyncpg.Record]:
        """Read the first of those that are kept."""
        return await current_connection().fetch(self.page(columns, most), *self.arguments, *self.more)

    async def stopped_at(self, columns: str) -> asyncpg.Record | None:
        """Read the row behind which a page that is not full goes on; None at the end."""
        if not self.kept:
            return None
        found = f"SELECT {columns} FROM {self.table} WHERE {self.found} ORDER BY {self.order}"
        return await current_connection().fetchrow(f"{found} OFFSET {LOOKED_AT - 1} LIMIT 1", *self.arguments)
