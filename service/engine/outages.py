"""What goes wrong with the database and not with what is asked of it: the next time it may go well."""

import asyncpg

from tenancy.errors import SetupRefused

# asyncpg's internal errors are what it makes of a statement on a connection that the server is just breaking off. A statement
# that took too long or too much is not here: it would again.
OUTAGE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.TransactionRollbackError,
    SetupRefused,
)
