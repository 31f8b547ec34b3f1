"""A member is an admin, a manager, a sender or a viewer; who was `member` could operate everything and is a manager now."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-24T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Four roles of members"

FORWARDS = """
-- The owner may not write account-owned rows while row-level security is forced on it too.
ALTER TABLE membership NO FORCE ROW LEVEL SECURITY;
UPDATE membership SET role = 'manager' WHERE role = 'member';
ALTER TABLE membership FORCE ROW LEVEL SECURITY;
ALTER TABLE membership ADD CONSTRAINT membership_role CHECK (role IN ('admin', 'manager', 'sender', 'viewer'));
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="tenancy", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
