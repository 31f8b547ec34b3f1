"""Row-level security, composite keys and indexes of history, jobs, listeners, work items, secrets and schedules."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-22T10:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security, composite foreign keys and indexes of the engine's tables"

TABLES = ("task_run", "job", "listener", "work_item", "decision", "secret", "schedule")

POLICY = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON {table} USING (account_id = (SELECT current_account()));
"""

FORWARDS = """
ALTER TABLE task_run ADD CONSTRAINT task_run_instance
    FOREIGN KEY (account_id, instance_id) REFERENCES instance (account_id, id) ON DELETE CASCADE;
ALTER TABLE listener ADD CONSTRAINT listener_instance
    FOREIGN KEY (account_id, instance_id) REFERENCES instance (account_id, id) ON DELETE CASCADE;
ALTER TABLE work_item ADD CONSTRAINT work_item_instance
    FOREIGN KEY (account_id, instance_id) REFERENCES instance (account_id, id) ON DELETE CASCADE;
ALTER TABLE decision ADD CONSTRAINT decision_work_item
    FOREIGN KEY (account_id, work_item_id) REFERENCES work_item (account_id, id) ON DELETE CASCADE;
ALTER TABLE schedule ADD CONSTRAINT schedule_version
    FOREIGN KEY (account_id, workflow_id, version_id) REFERENCES workflow_version (account_id, workflow_id, id) ON DELETE CASCADE;
ALTER TABLE secret ADD CONSTRAINT secret_account FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE;

-- Workers go from account to account, and within one from the oldest job to the newest.
CREATE INDEX job_by_lane ON job (lane, account_id, id);
CREATE INDEX listener_by_type ON listener (account_id, type);
CREATE INDEX listener_by_instance ON listener (account_id, instance_id);
CREATE INDEX instance_by_parent ON instance (account_id, parent_id) WHERE parent_id IS NOT NULL AND ended_at IS NULL;
CREATE INDEX work_item_newest ON work_item (account_id, opened_at DESC, id DESC);
CREATE INDEX work_item_open ON work_item (account_id, opened_at DESC, id DESC) WHERE status = 'open';

-- Few rows that change all the time: vacuumed early, and updated in place.
ALTER TABLE job SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, fillfactor = 70);
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql("".join(POLICY.format(table=table) for table in TABLES) + FORWARDS)

    manager.add_raw(run)
    return manager
