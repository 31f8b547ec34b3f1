"""What a statement ends in while its connection is cut, the server stops, or has no place for another one."""

import asyncpg
import pytest

BROKEN = [
    asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    asyncpg.TooManyConnectionsError("sorry, too many clients already"),
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    asyncpg.InterfaceError("connection is closed"),
    ConnectionRefusedError(),
]
EACH_OUTAGE = pytest.mark.parametrize("outage", BROKEN, ids=lambda outage: type(outage).__name__)
