"""When the database is away: it cannot be reached, has no connection to spare, has broken one off, or says nothing.

Nobody's request was wrong then, and the same one may succeed in a moment: callers are told so (`tenancy.errors.Unavailable`),
and work in the background is tried again. A statement that takes too long on a server that lives is another matter: callers
are told the same, but it would take too long the next time too.
"""

import logging
import time

import asyncpg

from tenancy.errors import SetupRefused, Unavailable

TELL_EVERY = 1.0  # seconds; requests that fail for the same reason come by the thousand
logger = logging.getLogger("tutti.database")

# What an error says by itself.
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
# What goes wrong with the database and not with what is asked of it: the next time it may go well.
OUTAGE = (*SAYS_SO, OSError, asyncpg.InterfaceError, SetupRefused)
TOO_LONG = (TimeoutError, asyncpg.QueryCanceledError)
# What may be the consequence of a connection that has gone, or of a mistake of ours.
PERHAPS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class DatabaseAwayError(ConnectionError):
    """The database is away; the cause says how."""


class SlowStatementError(Exception):
    """A statement, or a request's transaction, took longer than it may, on a server that lives; the cause says how."""


UNSERVED = (DatabaseAwayError, SlowStatementError)  # for which a request cannot be served


def judge(error: BaseException, *, closed: bool) -> None:
    """Raise what an error comes to; `closed` says whether its connection is gone, or does not answer any more.

    Raises:
        SlowStatementError: its statement took too long.
        DatabaseAwayError: the database is away.
    """
    if not closed and isinstance(error, TOO_LONG):
        raise SlowStatementError("The database took too long for a statement.") from error
    if isinstance(error, SAYS_SO) or (closed and isinstance(error, PERHAPS)):
        raise DatabaseAwayError from error


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
