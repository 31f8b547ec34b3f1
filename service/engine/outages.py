"""What goes wrong with the database and not with what is asked of it: the next time it may go well."""

import asyncpg

from tenancy.errors import SetupRefused
from tenancy.faults import SAYS_SO

# A statement that took too long is not here: it would again.
OUTAGE = (*SAYS_SO, OSError, asyncpg.InterfaceError, SetupRefused)
