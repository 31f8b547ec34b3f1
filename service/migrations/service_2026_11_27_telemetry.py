"""What operators are told of all accounts together: counts and ages, at a cost that does not grow with the tables."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-27T02:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "count_for_operators"

# Each part ends at a number of rows that stands in it, and finds them along an index. `job` is read account by account, as
# workers claim: the first ones, and those behind a place that is another one each time.
FIGURES = """
    SELECT 'instances', one.status, count(*)::double precision FROM (
        SELECT instance.status FROM instance WHERE instance.ended_at IS NULL
        ORDER BY instance.account_id, instance.started_at DESC, instance.id DESC LIMIT 10000) AS one
    GROUP BY one.status
    UNION ALL
    SELECT 'depth', lane.name, (SELECT count(*) FROM (
        SELECT FROM job WHERE job.lane = lane.name ORDER BY job.lane, job.account_id, job.id LIMIT 10000) AS one)
    FROM (VALUES ('advance'), ('perform'), ('held')) AS lane (name)
    UNION ALL
    SELECT told.figure, served.lane, CASE told.figure WHEN 'taken' THEN max(first.taken::integer)
           ELSE coalesce(extract(epoch FROM clock_timestamp() - min(first.since)), 0) END
    FROM (
        WITH RECURSIVE hop (lane, account_id, place) AS (
            SELECT lane.name, (SELECT job.account_id FROM job WHERE job.lane = lane.name AND job.account_id > begin.at
                               ORDER BY job.lane, job.account_id, job.id LIMIT 1), 1
            FROM (VALUES ('advance'), ('perform')) AS lane (name),
                 (VALUES ('00000000-0000-0000-0000-000000000000'::uuid), (gen_random_uuid())) AS begin (at)
            UNION ALL
            SELECT hop.lane, (SELECT job.account_id FROM job WHERE job.lane = hop.lane AND job.account_id > hop.account_id
                              ORDER BY job.lane, job.account_id, job.id LIMIT 1), hop.place + 1
            FROM hop WHERE hop.account_id IS NOT NULL AND hop.place < 64
        )
        SELECT hop.lane, hop.account_id FROM hop WHERE hop.account_id IS NOT NULL
    ) AS served, LATERAL (
        SELECT CASE WHEN coalesce(job.leased_until, '-infinity') < clock_timestamp()
                    THEN greatest(job.queued_at, job.leased_until) END AS since,
               coalesce(job.leased_until, '-infinity') >= clock_timestamp() AS taken
        FROM job WHERE job.lane = served.lane AND job.account_id = served.account_id
        ORDER BY job.lane, job.account_id, job.id LIMIT 64
    ) AS first, (VALUES ('oldest_due_seconds'), ('taken')) AS told (figure)
    GROUP BY told.figure, served.lane
    UNION ALL
    SELECT 'depth', 'timer', (SELECT count(*) FROM (
        SELECT FROM timer WHERE timer.due_at <= now() ORDER BY timer.due_at LIMIT 10000) AS one)
    UNION ALL
    SELECT 'oldest_due_seconds', 'timer', greatest(0, extract(epoch FROM clock_timestamp() - (
        SELECT timer.due_at FROM timer ORDER BY timer.due_at LIMIT 1)))
    UNION ALL
    SELECT 'depth', 'webhook', (SELECT count(*) FROM (
        SELECT FROM webhook_delivery AS one WHERE one.next_at IS NOT NULL
        ORDER BY one.account_id, one.webhook_id, one.next_at LIMIT 10000) AS one)
    UNION ALL
    SELECT 'oldest_due_seconds', 'webhook', coalesce(extract(epoch FROM clock_timestamp() - min(first.next_at)), 0)
    FROM (SELECT webhook.account_id, webhook.id FROM webhook WHERE webhook.enabled ORDER BY webhook.id LIMIT 500) AS asked,
    LATERAL (
        SELECT one.next_at FROM webhook_delivery AS one
        WHERE one.account_id = asked.account_id AND one.webhook_id = asked.id AND one.next_at <= now()
        ORDER BY one.account_id, one.webhook_id, one.next_at LIMIT 1) AS first
"""

# So that the planner takes those indexes whatever it believes of the tables.
ALONG_INDEXES = ("enable_seqscan", "enable_bitmapscan", "enable_sort")

FORWARDS = f"""
CREATE POLICY counted_by_owner ON instance FOR SELECT TO CURRENT_USER USING (true);

CREATE FUNCTION count_for_operators() RETURNS TABLE (figure text, label text, value double precision)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
    {" ".join(f"SET {setting} = off" for setting in ALONG_INDEXES)}
BEGIN ATOMIC
{FIGURES};
END;
REVOKE EXECUTE ON FUNCTION count_for_operators() FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
