"""When the database is away: it cannot be reached, has no connection to spare, or has broken one off.

Nobody's request was wrong then, and the same one may succeed in a moment: callers are told so (`tenancy.errors.Unavailable`),
and work in the background is tried again.
"""

import logging
import time

import asyncpg

from tenancy.errors import Unavailable

TELL_EVERY = 1.0  # seconds; requests that fail for the same reason come by the thousand
logger = logging.getLogger("tutti.database")

# What an error says by itself; a statement that was cancelled is about the statement.
SAYS_SO = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,  # of a server that another one has taken over from
    asyncpg.TransactionRollbackError,  # a deadlock, say: nothing was done, and the next time it may go well
    asyncpg.InternalClientError,  # of a statement on a connection that is just being broken off
    ConnectionError,
    TimeoutError,
)
# What may be the consequence of a connection that has gone, or of a mistake of ours.
PERHAPS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class DatabaseAwayError(ConnectionError):
    """The database is away; the cause says how."""


def is_away(error: BaseException, *, closed: bool) -> bool:
    """Whether an error comes of the database being away; `closed` says whether its connection is gone."""
    return isinstance(error, SAYS_SO) or (closed and isinstance(error, PERHAPS))


class Complaints:
    """Writes a reason down at most once a second, with how often it came since."""

    def __init__(self) -> None:
        self._count = 0
        self._told_at = 0.0

    def add(self, error: BaseException) -> None:
        """Note a reason for which a request is not served."""
        self._count += 1
        if time.monotonic() - self._told_at < TELL_EVERY:
            return
        cause = error.__cause__ or error
        code = getattr(cause, "sqlstate", None) or getattr(cause, "errno", None)  # the text may quote rows
        logger.warning("not served: %s %s (%d requests)", type(cause).__name__, code or "", self._count)
        self._count, self._told_at = 0, time.monotonic()


_complaints = Complaints()


def unavailable(error: BaseException) -> Unavailable:
    """Make the refusal of a request that cannot be served because something is away; the log says what."""
    _complaints.add(error)
    return Unavailable()
