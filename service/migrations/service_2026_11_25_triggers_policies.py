"""Whose event triggers are whose, and what deletes those that are of no use any more."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-25T05:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security of event triggers; sweep_event_triggers"

FORWARDS = """
ALTER TABLE event_trigger ENABLE ROW LEVEL SECURITY;
ALTER TABLE event_trigger FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON event_trigger USING (account_id = (SELECT current_account()));
CREATE POLICY swept_by_owner ON event_trigger TO CURRENT_USER USING (true);
ALTER TABLE trigger_occurrence ENABLE ROW LEVEL SECURITY;
ALTER TABLE trigger_occurrence FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON trigger_occurrence USING (account_id = (SELECT current_account()));
CREATE POLICY swept_by_owner ON trigger_occurrence TO CURRENT_USER USING (true);

ALTER TABLE event_trigger ADD CONSTRAINT event_trigger_workflow
    FOREIGN KEY (account_id, workflow_id) REFERENCES workflow (account_id, id) ON DELETE CASCADE;
ALTER TABLE trigger_occurrence ADD CONSTRAINT trigger_occurrence_trigger
    FOREIGN KEY (account_id, trigger_id) REFERENCES event_trigger (account_id, id) ON DELETE CASCADE;
ALTER TABLE trigger_occurrence ADD CONSTRAINT trigger_occurrence_instance
    FOREIGN KEY (account_id, instance_id) REFERENCES instance (account_id, id) ON DELETE CASCADE;

CREATE INDEX event_trigger_taking ON event_trigger (account_id, event) WHERE deleted_at IS NULL;
CREATE INDEX event_trigger_list ON event_trigger (account_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX event_trigger_workflow_id ON event_trigger (account_id, workflow_id);
CREATE INDEX event_trigger_deleted ON event_trigger (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX trigger_occurrence_list ON trigger_occurrence (account_id, trigger_id, at, id);
CREATE INDEX trigger_occurrence_instance_id ON trigger_occurrence (account_id, instance_id) WHERE instance_id IS NOT NULL;
CREATE INDEX trigger_occurrence_failed ON trigger_occurrence (at) WHERE instance_id IS NULL;

-- Delete occurrences of every account that started nothing long ago, and triggers that were deleted as long ago and have
-- left none; says how many rows there were. What started an instance goes with that.
CREATE FUNCTION sweep_event_triggers(most integer, age interval) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH old AS MATERIALIZED (
        SELECT id FROM trigger_occurrence WHERE instance_id IS NULL AND at < now() - age
        ORDER BY at LIMIT most FOR UPDATE SKIP LOCKED
    ), gone AS (DELETE FROM trigger_occurrence USING old WHERE trigger_occurrence.id = old.id RETURNING 1),
    unused AS MATERIALIZED (
        SELECT id FROM event_trigger AS past
        WHERE deleted_at < now() - age AND NOT EXISTS (
            SELECT FROM trigger_occurrence AS left_over
            WHERE left_over.account_id = past.account_id AND left_over.trigger_id = past.id)
        ORDER BY deleted_at LIMIT most FOR UPDATE SKIP LOCKED
    ), left_behind AS (DELETE FROM event_trigger USING unused WHERE event_trigger.id = unused.id RETURNING 1)
    SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM left_behind);
END;
REVOKE EXECUTE ON FUNCTION sweep_event_triggers(integer, interval) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
