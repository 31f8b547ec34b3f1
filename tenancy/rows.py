"""The only opener of a transaction on account-owned rows.

Every transaction begins by saying whose rows it may see: `rows_of(account)` for work that the service itself does,
`rows_entered(...)` for callers, whose first statement proves who they are and sets the tenant in one round trip.
Without a tenant row-level security shows nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any, cast
from uuid import UUID

import asyncpg
from anyio import CancelScope
from asyncpg.pool import PoolConnectionProxy

from tenancy.errors import SetupRefused
from tenancy.faults import PERHAPS, DatabaseAwayError, judge
from tenancy.postgres import engine
from tenancy.requests import current_request

WORK_SECONDS = (
    60  # that work in the background waits for a connection; a request waits as `Engine.patience` says
)
# That a connection has to come to rest when its statement was given up. On a server that lives it takes milliseconds; from
# one that has fallen silent nothing comes, ever, and asyncpg would wait for as long as the statement had.
REST_SECONDS = 2.0


class Transaction:
    """One open transaction; Piccolo's queries in the same task run on its connection."""

    __slots__ = ("afterwards", "connection")

    def __init__(self, connection: PoolConnectionProxy | asyncpg.Connection) -> None:
        self.connection = connection
        self.afterwards: list[Callable[[], None]] = []


@contextlib.asynccontextmanager
async def rows_of(account_id: UUID) -> AsyncIterator[PoolConnectionProxy]:
    """Open a transaction that sees the rows of one account: committed at the end, rolled back by an exception.

    Raises:
        RuntimeError: inside another transaction. Operations never call operations.
    """
    # The id is a UUID's own text, so it may stand in the statement: both statements then cost one round trip.
    async with transaction(f"BEGIN; SELECT set_config('app.account_id', '{account_id}', true)") as connection:
        yield connection


@contextlib.asynccontextmanager
async def rows_entered(statement: str, *arguments: object) -> AsyncIterator[asyncpg.Record]:
    """Open a transaction whose first statement checks the caller and sets the tenant; yield that statement's row."""
    async with transaction("BEGIN") as connection:
        (row,) = await connection.fetch(statement, *arguments)
        yield row


@contextlib.asynccontextmanager
async def transaction(begin: str = "BEGIN") -> AsyncIterator[PoolConnectionProxy]:
    """Open a transaction without a tenant: for identity tables, which belong to no account, and for the two above.

    Piccolo's own transaction loses its connection when the task is cancelled at the wrong await. Here the end is
    shielded from cancellation, and a connection that could not be ended cleanly is closed rather than returned.

    Raises:
        DatabaseAwayError: the database is away, or went away meanwhile; if that was while it committed, nobody knows whether it has.
        SlowStatementError: a statement took longer than it may, or all of them longer than those of a request may.
    """
    current = cast("ContextVar[Any]", engine().current_transaction)
    if current.get() is not None:
        raise RuntimeError("A transaction is already open here, and transactions do not nest.")
    pool = open_pool()
    connection = await acquired(pool)
    end, closed = "ROLLBACK", False
    opened = Transaction(connection)
    token = current.set(opened)
    try:
        try:
            async with asyncio.timeout(allowance()):
                await connection.execute(begin)
                yield connection
            end = "COMMIT"
        finally:
            current.reset(token)
            with CancelScope(shield=True):
                closed = is_gone(connection)
                try:
                    await ended(connection, end)
                except BaseException as error:
                    closed = closed or is_gone(connection) or isinstance(error, TimeoutError)
                    with contextlib.suppress(asyncpg.InterfaceError):
                        connection.terminate()
                    # What the block ended by goes on: a cancellation that is lost would be waited for without end.
                    if end == "COMMIT" or not isinstance(error, PERHAPS):
                        raise
                finally:
                    await let_go(pool, connection)
    except PERHAPS as error:
        judge(error, closed=closed)
        raise
    for tell in opened.afterwards:
        tell()


async def ended(connection: PoolConnectionProxy, end: str) -> None:
    """Commit or roll back.

    Raises:
        RuntimeError: a statement of the block failed, and the block took no notice.
        asyncpg.InterfaceError: the connection is gone, and with it what the block wrote.
    """
    if end == "ROLLBACK" and is_gone(connection):
        return
    seconds = REST_SECONDS if end == "ROLLBACK" else allowance()
    if await connection.execute(end, timeout=seconds) != end:
        # PostgreSQL answers COMMIT after a failed statement by a quiet ROLLBACK.
        raise RuntimeError("A statement failed and the block went on, so its transaction was rolled back.")


def is_gone(connection: PoolConnectionProxy) -> bool:
    """Whether a borrowed connection is closed; of one that broke off, the pool may have taken back what stands for it."""
    try:
        closed: bool = connection.is_closed()
    except asyncpg.InterfaceError:
        return True
    return closed


async def let_go(pool: asyncpg.Pool, connection: PoolConnectionProxy) -> None:
    """Give a connection back; one that does not come to rest in time is closed."""
    with contextlib.suppress(*PERHAPS):  # asyncpg has closed it then
        await pool.release(connection, timeout=REST_SECONDS)


async def answers(connection: PoolConnectionProxy) -> bool:
    """Whether a connection on which a statement was given up still answers."""
    try:
        await connection.execute("SELECT 1", timeout=REST_SECONDS)
    except PERHAPS:
        return False
    return True


def after_commit(tell: Callable[[], None]) -> None:
    """Call `tell` when the open transaction has been committed, and not if it is rolled back."""
    open_transaction().afterwards.append(tell)


async def read(statement: str, *arguments: object) -> list[asyncpg.Record]:
    """Run one statement that sets its own tenant, in one round trip: for the hot reads.

    Raises:
        DatabaseAwayError: the database is away, or went away meanwhile.
        SlowStatementError: the statement took longer than it may.
    """
    pool = open_pool()
    connection = await acquired(pool)
    try:
        return await connection.fetch(statement, *arguments, timeout=allowance())
    except PERHAPS as error:
        closed = is_gone(connection) or (isinstance(error, TimeoutError) and not await answers(connection))
        judge(error, closed=closed)
        raise
    finally:
        await let_go(pool, connection)


def open_pool() -> asyncpg.Pool:
    """Return the pool.

    Raises:
        SetupRefused: it is not open.
    """
    pool = engine().pool
    if pool is None:
        raise SetupRefused("The database pool is not open.")
    return pool


async def acquired(pool: asyncpg.Pool) -> PoolConnectionProxy:
    """Borrow a connection: a request waits for a moment, work in the background for longer.

    Raises:
        DatabaseAwayError: the database cannot be reached, or no connection became free in time.
    """
    seconds = WORK_SECONDS if current_request.get() is None else engine().patience
    try:
        async with asyncio.timeout(seconds):
            return await pool.acquire()
    except PERHAPS as error:
        raise DatabaseAwayError from error


def allowance() -> float | None:
    """How many seconds the caller's transaction may take: a request's few, or None, where each statement has a minute."""
    return None if current_request.get() is None else engine().allowance


def current_connection() -> PoolConnectionProxy:
    """Return the connection of the open transaction: for statements that are too hot for Piccolo's builder.

    Raises:
        RuntimeError: no transaction is open in this task.
    """
    return cast(PoolConnectionProxy, open_transaction().connection)


def open_transaction() -> Transaction:
    """Return the transaction that is open in this task.

    Raises:
        RuntimeError: none is.
    """
    transaction_ = cast("Transaction | None", engine().current_transaction.get())
    if transaction_ is None:
        raise RuntimeError("No transaction is open; open rows_of(account) around this.")
    return transaction_
