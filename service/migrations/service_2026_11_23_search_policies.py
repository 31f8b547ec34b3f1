"""What searches over instances are read along: by name, by the last change; the tasks that failed, by name."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T05:02:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Indexes of searches over instances"

FORWARDS = """
-- By code points, so that names with the same beginning stand together whatever the database's language.
CREATE INDEX instance_by_name ON instance (account_id, name COLLATE "C", id);
CREATE INDEX instance_by_change ON instance (account_id, last_modified_at, id);
CREATE INDEX task_run_faulted ON task_run (account_id, name, instance_id) WHERE status = 'faulted';
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
