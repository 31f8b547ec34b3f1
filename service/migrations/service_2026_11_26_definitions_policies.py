"""Whose keys of definitions are whose, and of which workflow."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-26T03:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security of definitions' keys"

FORWARDS = """
ALTER TABLE definition_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE definition_key FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON definition_key USING (account_id = (SELECT current_account()));

ALTER TABLE definition_key ADD CONSTRAINT definition_key_workflow
    FOREIGN KEY (account_id, workflow_id) REFERENCES workflow (account_id, id) ON DELETE CASCADE;

CREATE INDEX definition_key_workflow_id ON definition_key (account_id, workflow_id);
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
