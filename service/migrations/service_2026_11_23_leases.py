"""Leases are renewed without waiting for jobs that are just being finished."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "lease_jobs, job_event"

FORWARDS = """
CREATE INDEX job_event ON job (account_id, instance_id) WHERE reason = 'event' AND leased_until IS NULL;

-- Renew leases, or give jobs back until then; those that somebody else has claimed meanwhile are left alone, as are those
-- that a transaction is just deleting: it may want another one of these.
CREATE OR REPLACE FUNCTION lease_jobs(leased bigint[], claimed integer[], lease interval) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp SET synchronous_commit = off
BEGIN ATOMIC
    UPDATE job SET leased_until = clock_timestamp() + lease
    FROM (
        SELECT job.id FROM job JOIN unnest(leased, claimed) AS ours (id, attempts)
               ON job.id = ours.id AND job.attempts = ours.attempts
        ORDER BY job.id FOR UPDATE OF job SKIP LOCKED) AS held
    WHERE job.id = held.id;
END;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
