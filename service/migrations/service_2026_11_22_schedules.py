"""How workers find schedules that are due, and indexes for events, children and schedules."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-22T11:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "due_schedules; indexes of children that have ended, of listeners and schedules"

FORWARDS = """
-- Whoever awaits a child reads it when it has ended, too.
DROP INDEX instance_by_parent;
CREATE INDEX instance_by_parent ON instance (account_id, parent_id, parent_wait) WHERE parent_id IS NOT NULL;

-- Those who listen are read page by page, in the order of their ids.
DROP INDEX listener_by_type;
CREATE INDEX listener_by_type ON listener (account_id, type, instance_id);

CREATE INDEX schedule_on ON schedule (account_id) WHERE kind = 'on' AND NOT paused;

CREATE POLICY claim_by_owner ON schedule FOR SELECT TO CURRENT_USER USING (true);

-- Name the schedules of every account that are due, first one of each account, so that one with many does not stand
-- before all others. It takes nothing: that is done account by account, in the transaction that starts the instance.
CREATE FUNCTION due_schedules(most integer, of_each integer) RETURNS TABLE (account_id uuid, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT due.account_id, due.id
    FROM (SELECT schedule.account_id, schedule.id, row_number() OVER (PARTITION BY schedule.account_id ORDER BY next_at) AS place
          FROM schedule WHERE next_at <= now() AND NOT paused) AS due
    WHERE place <= of_each ORDER BY place LIMIT most;
END;
REVOKE EXECUTE ON FUNCTION due_schedules(integer, integer) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
