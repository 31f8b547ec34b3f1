"""Whoever started an instance is told what happened to it after it was deleted too."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-24T11:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "first_actor; followed_events tells the starters of instances that are gone"

FORWARDS = """
-- Who started an instance that is gone, as the first of its events tells; one row along an index.
CREATE FUNCTION first_actor(of_account uuid, of_instance uuid) RETURNS uuid LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT actor FROM event WHERE account_id = of_account AND instance_id = of_instance
    ORDER BY written_in, id LIMIT 1;
END;

-- As before, with the starters of instances that are gone.
CREATE OR REPLACE FUNCTION followed_events(accounts uuid[], transactions text[], ids bigint[], of_each integer)
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
                   event.type, event.at, event.actor, event.data,
                   coalesce(instance.started_by, first_actor(event.account_id, event.instance_id))
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
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
