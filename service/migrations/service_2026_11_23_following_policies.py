"""What many followers are told by one query: the events of accounts, the statuses of instances; where instances are now."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T01:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "followed_events, awaited_statuses; an index of the tasks that run now"

FORWARDS = """
CREATE INDEX task_run_running ON task_run (account_id, instance_id, number) INCLUDE (pointer) WHERE status = 'running';

-- Read on in the settled events of accounts, each from a place of its own and at most `of_each` events; in one round trip.
-- The rights are the caller's: it becomes the tenant of each account in turn. The last row of each account is no event
-- (id NULL): its `written_in` is the horizon, below which every transaction has ended; NULL if there may be more below it.
CREATE FUNCTION followed_events(accounts uuid[], transactions text[], ids bigint[], of_each integer)
    RETURNS TABLE (account_id uuid, written_in bigint, id bigint, workflow_id uuid, instance_id uuid, type text,
                   at timestamptz, actor uuid, data jsonb, started_by uuid)
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    horizon xid8 := pg_snapshot_xmin(pg_current_snapshot());
    found integer;
BEGIN
    FOR place IN 1 .. cardinality(accounts) LOOP
        PERFORM set_config('app.account_id', accounts[place]::text, true);
        RETURN QUERY
            SELECT event.account_id, event.written_in::text::bigint, event.id, event.workflow_id, event.instance_id,
                   event.type, event.at, event.actor, event.data, instance.started_by
            FROM event LEFT JOIN instance
              ON instance.account_id = event.account_id AND instance.id = event.instance_id
            WHERE event.account_id = accounts[place] AND event.written_in < horizon
              AND (event.written_in, event.id) > (transactions[place]::xid8, ids[place])
            ORDER BY event.written_in, event.id LIMIT of_each;
        GET DIAGNOSTICS found = ROW_COUNT;
        RETURN QUERY
            SELECT accounts[place], CASE WHEN found < of_each THEN horizon::text::bigint END, NULL::bigint, NULL::uuid,
                   NULL::uuid, NULL::text, NULL::timestamptz, NULL::uuid, NULL::jsonb, NULL::uuid;
    END LOOP;
END
$$;

-- Read the statuses of instances of several accounts, in one round trip; those that are gone are left out.
CREATE FUNCTION awaited_statuses(accounts uuid[], instances uuid[])
    RETURNS TABLE (account_id uuid, instance_id uuid, status text)
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    present uuid;
BEGIN
    FOR present IN SELECT DISTINCT unnest(accounts) LOOP
        PERFORM set_config('app.account_id', present::text, true);
        RETURN QUERY
            SELECT instance.account_id, instance.id, instance.status
            FROM unnest(accounts, instances) AS awaited (account, instance_id)
            JOIN instance ON instance.account_id = present AND instance.id = awaited.instance_id
            WHERE awaited.account = present;
    END LOOP;
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
