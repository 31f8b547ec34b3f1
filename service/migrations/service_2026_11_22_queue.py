"""How workers get their jobs: fair claims, leases, due timers."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-22T10:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "claim_jobs, lease_jobs, claim_due_timers"

FORWARDS = """
CREATE POLICY claim_by_owner ON job TO CURRENT_USER USING (true);

-- Lease jobs of every account in turn, beginning behind the given one; the index is hopped from account to account, so
-- how many jobs an account has queued makes no difference to the others. Losing a lease in a crash loses nothing: the
-- claim does not wait for the disk. The last row is no job (id NULL): its account is the one that the claim came to, and
-- its `attempts` 1 if there may be more behind it.
CREATE FUNCTION claim_jobs(of_lane text, accounts integer, of_each integer, after uuid, without uuid[], lease interval)
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
            WHERE job.lane = of_lane AND job.account_id = present
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
REVOKE EXECUTE ON FUNCTION claim_jobs(text, integer, integer, uuid, uuid[], interval) FROM PUBLIC;

-- Renew leases, or give jobs back until then; those that somebody else has claimed meanwhile are left alone.
CREATE FUNCTION lease_jobs(leased bigint[], claimed integer[], lease interval) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp SET synchronous_commit = off
BEGIN ATOMIC
    UPDATE job SET leased_until = clock_timestamp() + lease
    FROM unnest(leased, claimed) AS held (id, attempts)
    WHERE job.id = held.id AND job.attempts = held.attempts;
END;
REVOKE EXECUTE ON FUNCTION lease_jobs(bigint[], integer[], interval) FROM PUBLIC;

-- Turn due timers of every account into jobs, in one transaction; says how many there were.
DROP FUNCTION claim_due_timers(integer);
CREATE FUNCTION fire_due_timers(most integer) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    fired integer;
BEGIN
    WITH due AS (
        DELETE FROM timer USING (
            SELECT id FROM timer WHERE due_at <= now() ORDER BY due_at LIMIT most FOR UPDATE SKIP LOCKED
        ) AS chosen
        WHERE timer.id = chosen.id
        RETURNING timer.account_id, timer.instance_id, timer.wait, timer.reason
    )
    INSERT INTO job (account_id, instance_id, lane, reason, wait)
    SELECT account_id, instance_id, CASE reason WHEN 'due' THEN 'perform' ELSE 'advance' END, reason, wait FROM due;
    GET DIAGNOSTICS fired = ROW_COUNT;
    RETURN fired;
END
$$;
REVOKE EXECUTE ON FUNCTION fire_due_timers(integer) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
