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
-- claim does not wait for the disk.
CREATE FUNCTION claim_jobs(of_lane text, most integer, of_each integer, after uuid, without uuid[], lease interval)
    RETURNS TABLE (id bigint, account_id uuid, instance_id uuid, reason text, wait integer, payload bytea, attempts integer)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp SET synchronous_commit = off
    SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    present uuid := after;
    wrapped boolean := false;
    missing integer := most;
    found_now integer;
BEGIN
    FOR hop IN 1 .. 256 LOOP
        SELECT job.account_id INTO present FROM job
        WHERE job.lane = of_lane AND job.account_id > present ORDER BY job.account_id LIMIT 1;
        IF present IS NULL THEN
            EXIT WHEN wrapped;
            wrapped := true;
            present := '00000000-0000-0000-0000-000000000000';
            CONTINUE;
        END IF;
        EXIT WHEN wrapped AND present > after;
        CONTINUE WHEN present = ANY (without);
        RETURN QUERY
            UPDATE job SET leased_until = clock_timestamp() + lease, attempts = job.attempts + 1
            WHERE job.id IN (
                SELECT free.id FROM job AS free
                WHERE free.lane = of_lane AND free.account_id = present
                  AND (free.leased_until IS NULL OR free.leased_until < clock_timestamp())
                ORDER BY free.id LIMIT least(of_each, missing) FOR UPDATE SKIP LOCKED)
            RETURNING job.id, job.account_id, job.instance_id, job.reason, job.wait, job.payload, job.attempts;
        GET DIAGNOSTICS found_now = ROW_COUNT;
        missing := missing - found_now;
        EXIT WHEN missing <= 0;
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION claim_jobs(text, integer, integer, uuid, uuid[], interval) FROM PUBLIC;

-- Renew leases, or give jobs back until then.
CREATE FUNCTION lease_jobs(leased bigint[], lease interval) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp SET synchronous_commit = off
BEGIN ATOMIC
    UPDATE job SET leased_until = clock_timestamp() + lease WHERE id = ANY (leased);
END;
REVOKE EXECUTE ON FUNCTION lease_jobs(bigint[], interval) FROM PUBLIC;

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
    IF fired > 0 THEN
        PERFORM pg_notify('tutti_jobs', 'advance'), pg_notify('tutti_jobs', 'perform');
    END IF;
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
