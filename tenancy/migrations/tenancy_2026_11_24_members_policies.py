"""The members of an account are listed in the order in which they joined, all of them or those of a role."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-24T09:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Indexes of the list of members"

FORWARDS = """
CREATE INDEX membership_by_time ON membership (account_id, created_at, id);
CREATE INDEX membership_by_role ON membership (account_id, role, created_at, id);
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="tenancy", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
