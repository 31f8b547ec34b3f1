"""Row-level security, composite keys and indexes of the workflow tables; the functions of the hot paths."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-21T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security, composite foreign keys, indexes, get_instance, claim_due_timers"

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
    FOREIGN KEY (account_id, active_version_id) REFERENCES workflow_version (account_id, id);
ALTER TABLE workflow ADD CONSTRAINT workflow_latest_version
    FOREIGN KEY (account_id, latest_version_id) REFERENCES workflow_version (account_id, id);
ALTER TABLE instance ADD CONSTRAINT instance_workflow
    FOREIGN KEY (account_id, workflow_id) REFERENCES workflow (account_id, id) ON DELETE CASCADE;
ALTER TABLE instance ADD CONSTRAINT instance_version
    FOREIGN KEY (account_id, version_id) REFERENCES workflow_version (account_id, id);
ALTER TABLE timer ADD CONSTRAINT timer_instance
    FOREIGN KEY (account_id, instance_id) REFERENCES instance (account_id, id) ON DELETE CASCADE;
ALTER TABLE signal ADD CONSTRAINT signal_instance
    FOREIGN KEY (account_id, instance_id) REFERENCES instance (account_id, id) ON DELETE CASCADE;

-- The lists page by (started_at, id), newest first, within the account, narrowed by one filter.
CREATE INDEX instance_by_start ON instance (account_id, started_at DESC, id DESC);
CREATE INDEX instance_by_workflow ON instance (account_id, workflow_id, started_at DESC, id DESC);
CREATE INDEX instance_by_status ON instance (account_id, status, started_at DESC, id DESC) WHERE ended_at IS NOT NULL;
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

-- The hot read: credential, tenant, scopes and row in one round trip. It runs as the application's role, so row-level
-- security decides which row there is. `verdict` 401, 403 and 404 come without a row; no row at all is a 404 as well.
CREATE FUNCTION get_instance(credential bytea, requested uuid, required text[], of_workflow uuid, wanted uuid)
    RETURNS TABLE (
        verdict integer, id uuid, account_id uuid, workflow_id uuid, version_id uuid, version text, name text, status text,
        started_at timestamptz, started_by uuid, started_by_name text, started_by_role text, ended_at timestamptz,
        expires_at timestamptz, last_modified_at timestamptz, canceled_at timestamptz, canceled_by text,
        trigger_inputs jsonb, tags text[], total_steps integer, last_completed_step integer,
        last_completed_step_name text, workflow_created_by uuid, output bytea, fault bytea
    )
    LANGUAGE plpgsql VOLATILE ROWS 1
AS $$
DECLARE
    caller record;
BEGIN
    SELECT * INTO caller FROM enter_account(credential, requested);
    verdict := CASE
        WHEN NOT FOUND THEN 401
        WHEN caller.account_id IS NULL THEN 404
        WHEN NOT caller.scopes @> required THEN 403
        ELSE 200 END;
    IF verdict <> 200 THEN
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY SELECT 200, one.id, one.account_id, one.workflow_id, one.version_id, one.version, one.name, one.status,
        one.started_at, one.started_by, one.started_by_name, one.started_by_role, one.ended_at,
        one.expires_at, one.last_modified_at, one.canceled_at, one.canceled_by,
        one.trigger_inputs, one.tags, one.total_steps, one.last_completed_step,
        one.last_completed_step_name, one.workflow_created_by, one.output, one.fault
    FROM instance AS one WHERE one.id = wanted AND one.workflow_id = of_workflow;
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql("".join(POLICY.format(table=table) for table in TABLES) + FORWARDS)

    manager.add_raw(run)
    return manager
