"""Row-level security, composite keys and indexes of the workflow tables; the functions of the hot paths."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-21T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security, composite foreign keys, indexes, claim_due_timers"

TABLES = ("workflow", "workflow_version", "instance", "timer", "signal", "event")

POLICY = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON {table} USING (account_id = (SELECT current_account()));
"""

FORWARDS = """
ALTER TABLE workflow_version ADD CONSTRAINT workflow_version_workflow
    FOREIGN KEY (account_id, workflow_id) REFERENCES workflow (account_id, id) ON DELETE CASCADE;
ALTER TABLE workflow ADD CONSTRAINT workflow_active_version
    FOREIGN KEY (account_id, id, active_version_id) REFERENCES workflow_version (account_id, workflow_id, id);
ALTER TABLE workflow ADD CONSTRAINT workflow_latest_version
    FOREIGN KEY (account_id, id, latest_version_id) REFERENCES workflow_version (account_id, workflow_id, id);
ALTER TABLE instance ADD CONSTRAINT instance_version
    FOREIGN KEY (account_id, workflow_id, version_id) REFERENCES workflow_version (account_id, workflow_id, id) ON DELETE CASCADE;
ALTER TABLE timer ADD CONSTRAINT timer_instance
    FOREIGN KEY (account_id, instance_id) REFERENCES instance (account_id, id) ON DELETE CASCADE;
ALTER TABLE signal ADD CONSTRAINT signal_instance
    FOREIGN KEY (account_id, instance_id) REFERENCES instance (account_id, id) ON DELETE CASCADE;

CREATE INDEX workflow_by_creation ON workflow (account_id, created_at DESC, id DESC);
-- The lists page by (started_at, id), newest first, within the account, narrowed by one filter.
CREATE INDEX instance_by_start ON instance (account_id, started_at DESC, id DESC);
CREATE INDEX instance_by_workflow ON instance (account_id, workflow_id, started_at DESC, id DESC);
CREATE INDEX instance_by_status ON instance (account_id, status, started_at DESC, id DESC) WHERE ended_at IS NOT NULL;
CREATE INDEX instance_by_workflow_status ON instance (account_id, workflow_id, status, started_at DESC, id DESC)
    WHERE ended_at IS NOT NULL;
CREATE INDEX instance_in_progress ON instance (account_id, workflow_id, started_at DESC, id DESC) WHERE ended_at IS NULL;
CREATE INDEX instance_in_progress_by_start ON instance (account_id, started_at DESC, id DESC) WHERE ended_at IS NULL;
CREATE INDEX instance_by_starter ON instance (account_id, started_by, started_at DESC, id DESC);
CREATE INDEX event_by_instance ON event (account_id, instance_id, id);

CREATE POLICY claim_by_owner ON timer TO CURRENT_USER USING (true);

-- Take due timers of every account: the worker wakes their instances in the same transaction.
CREATE FUNCTION claim_due_timers(most integer)
    RETURNS TABLE (account_id uuid, instance_id uuid, wait integer)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    DELETE FROM timer USING (
        SELECT id FROM timer WHERE due_at <= now() ORDER BY due_at LIMIT most FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE timer.id = due.id
    RETURNING timer.account_id, timer.instance_id, timer.wait;
END;
REVOKE EXECUTE ON FUNCTION claim_due_timers(integer) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql("".join(POLICY.format(table=table) for table in TABLES) + FORWARDS)

    manager.add_raw(run)
    return manager
