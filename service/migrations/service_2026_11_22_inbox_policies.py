"""Row-level security of taken events; what deletes events that nobody took; vacuuming of what changes all the time."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-22T12:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security of taken events; sweep_signals; vacuuming of the engine's tables"

FORWARDS = """
ALTER TABLE taken_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE taken_event FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON taken_event USING (account_id = (SELECT current_account()));
ALTER TABLE taken_event ADD CONSTRAINT taken_event_instance
    FOREIGN KEY (account_id, instance_id) REFERENCES instance (account_id, id) ON DELETE CASCADE;

CREATE INDEX signal_kept ON signal (received_at) WHERE kept;
CREATE POLICY swept_by_owner ON signal TO CURRENT_USER USING (true);

-- Delete events of every account that instances were sent long ago and have not taken; says how many there were.
CREATE FUNCTION sweep_signals(most integer, age interval) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH old AS MATERIALIZED (
        SELECT id FROM signal WHERE kept AND received_at < now() - age
        ORDER BY received_at LIMIT most FOR UPDATE SKIP LOCKED
    ), gone AS (DELETE FROM signal USING old WHERE signal.id = old.id RETURNING 1)
    SELECT count(*) FROM gone;
END;
REVOKE EXECUTE ON FUNCTION sweep_signals(integer, interval) FROM PUBLIC;

-- Rows that come and go, or are written a second time soon: vacuumed early, however large the table has become.
ALTER TABLE timer SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
ALTER TABLE signal SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
ALTER TABLE listener SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
ALTER TABLE taken_event SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
ALTER TABLE task_run SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
