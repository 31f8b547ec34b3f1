"""A claim reads the jobs of one account, whatever the planner thinks of the table."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-27T05:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "claim_jobs: the jobs of an account in the order of job_by_lane alone"

FORWARDS = """
-- As before, but the account is a range of one. Where it is equal to a value, jobs in the order of their ids are in the order that is
-- asked for too, and a planner that last saw the queue empty may read every account's jobs along the primary key.
CREATE OR REPLACE FUNCTION claim_jobs(of_lane text, accounts integer, of_each integer, after uuid, without uuid[], lease interval)
    RETURNS TABLE (id bigint, account_id uuid, instance_id uuid, reason text, wait integer, payload bytea, attempts integer)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp SET synchronous_commit = off
AS $$
DECLARE
    present uuid := after;
    following uuid;
    wrapped boolean := false;
    missing integer := accounts;
    chosen bigint[];
    more boolean := false;
BEGIN
    FOR hop IN 1 .. 256 LOOP
        more := more OR hop = 256;
        SELECT job.account_id INTO following FROM job
        WHERE job.lane = of_lane AND job.account_id > present ORDER BY job.lane, job.account_id LIMIT 1;
        IF following IS NULL THEN
            EXIT WHEN wrapped;
            wrapped := true;
            present := '00000000-0000-0000-0000-000000000000';
            CONTINUE;
        END IF;
        EXIT WHEN wrapped AND following > after;
        present := following;
        CONTINUE WHEN present = ANY (without);
        SELECT array_agg(free.id) INTO chosen FROM (
            SELECT job.id FROM job
            WHERE job.lane = of_lane AND job.account_id >= present AND job.account_id <= present
              AND (job.leased_until IS NULL OR job.leased_until < clock_timestamp())
            ORDER BY job.lane, job.account_id, job.id LIMIT of_each FOR UPDATE SKIP LOCKED) AS free;
        CONTINUE WHEN chosen IS NULL;
        RETURN QUERY
            UPDATE job SET leased_until = clock_timestamp() + lease, attempts = job.attempts + 1
            WHERE job.id = ANY (chosen)
            RETURNING job.id, job.account_id, job.instance_id, job.reason, job.wait, job.payload, job.attempts;
        more := more OR cardinality(chosen) = of_each;
        missing := missing - 1;
        IF missing <= 0 THEN
            more := true;
            EXIT;
        END IF;
    END LOOP;
    RETURN QUERY SELECT NULL::bigint, present, NULL::uuid, NULL::text, NULL::integer, NULL::bytea, more::integer;
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
