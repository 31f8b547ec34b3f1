"""What lists of work items are read along, newest first: by workflow, by the way they ended, those that are late."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-22T11:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Indexes of the lists of work items"

FORWARDS = """
CREATE INDEX work_item_by_workflow ON work_item (account_id, workflow_id, opened_at DESC, id DESC);
CREATE INDEX work_item_ended ON work_item (account_id, status, opened_at DESC, id DESC) WHERE status <> 'open';
CREATE INDEX work_item_overdue ON work_item (account_id, opened_at DESC, id DESC) WHERE status = 'open' AND overdue;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
