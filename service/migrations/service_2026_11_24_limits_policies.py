"""Whose limits and settings are whose; how processes share a bucket of requests; what has been kept long enough."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-24T03:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = (
    "request_bucket, changed_limits, lease_requests, claim_measurement, claim_retention, forget_events"
)

TABLES = ("account_settings", "account_limits", "request_bucket")

POLICY = """
ALTER TABLE {table} ADD CONSTRAINT {table}_account FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE;
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON {table} USING (account_id = (SELECT current_account()));
"""

# How many requests an account may still make. A crash of the server empties it, which leaves every bucket full.
BUCKET = """
CREATE UNLOGGED TABLE request_bucket (
    account_id uuid PRIMARY KEY, level double precision NOT NULL, filled_at timestamptz NOT NULL
) WITH (fillfactor = 50);
"""

FORWARDS = """
CREATE POLICY claim_by_owner ON account_settings TO CURRENT_USER USING (true);
CREATE POLICY claim_by_owner ON account_limits TO CURRENT_USER USING (true);

ALTER TABLE account_settings
    ADD CHECK (instance_retention_days BETWEEN 1 AND 36500), ADD CHECK (event_retention_days BETWEEN 30 AND 36500);
-- The transaction that wrote a row last, by which processes find what they have not read.
ALTER TABLE account_limits ADD COLUMN changed_in xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX account_limits_changed ON account_limits (changed_in);
CREATE INDEX account_limits_measured ON account_limits (measure_at) WHERE stored_bytes IS NOT NULL;

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_in := pg_current_xact_id();
    RETURN NEW;
END
$$;
-- Not that somebody is about to measure it.
CREATE TRIGGER changed BEFORE UPDATE OF requests_per_second, burst, running_instances, stored_bytes, measured_bytes
    ON account_limits FOR EACH ROW EXECUTE FUNCTION note_change();

-- Name the limits, of every account, that may have changed since a horizon; the last row is none (account_id NULL), and its
-- `horizon` the one to ask with the next time. A horizon that lies ahead is another database's, and is not gone by.
CREATE FUNCTION changed_limits(since text) RETURNS TABLE (
    account_id uuid, requests_per_second integer, burst integer, running_instances integer, stored_bytes bigint,
    measured_bytes bigint, horizon text
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT one.account_id, one.requests_per_second, one.burst, one.running_instances, one.stored_bytes,
           one.measured_bytes, NULL
    FROM account_limits AS one
    WHERE one.changed_in >= least(since::xid8, pg_snapshot_xmin(pg_current_snapshot()))
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, pg_snapshot_xmin(pg_current_snapshot())::text;
END;
REVOKE EXECUTE ON FUNCTION changed_limits(text) FROM PUBLIC;

-- Take up to `most` requests out of an account's bucket, or half of what is in it: so that processes share what is scarce.
-- `back` is what the process has not used of its last lease, or, below 0, what it has used beyond it. `level` is what is left.
CREATE FUNCTION lease_requests(
    of_account uuid, rate integer, capacity integer, most integer, back integer,
    OUT granted integer, OUT level double precision
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    filled timestamptz;
    moment timestamptz;
BEGIN
    PERFORM set_config('app.account_id', of_account::text, true);
    INSERT INTO request_bucket VALUES (of_account, capacity, clock_timestamp()) ON CONFLICT DO NOTHING;
    SELECT bucket.level, bucket.filled_at INTO level, filled FROM request_bucket AS bucket
    WHERE account_id = of_account FOR UPDATE;
    moment := clock_timestamp();
    level := greatest(-capacity, least(
        capacity, level + back + rate * greatest(0, extract(epoch FROM moment - filled))::double precision));
    granted := CASE WHEN level >= 1 THEN least(most, greatest(1, floor(level / 2))) ELSE 0 END;
    level := level - granted;
    IF granted > 0 OR back <> 0 THEN
        UPDATE request_bucket AS bucket SET level = lease_requests.level, filled_at = moment WHERE account_id = of_account;
    END IF;
END
$$;

-- Count the instances of an account that have not ended, up to `most` of them; in an order, so that it goes along an index.
CREATE FUNCTION count_running(of_account uuid, most bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM set_config('app.account_id', of_account::text, true);
    RETURN (SELECT count(*) FROM (
        SELECT FROM instance WHERE account_id = of_account AND ended_at IS NULL
        ORDER BY started_at DESC, id DESC LIMIT most) AS running);
END
$$;

-- Name the account whose stored bytes have waited longest to be measured, whosever it is, and keep others from it.
CREATE FUNCTION claim_measurement(lease interval) RETURNS TABLE (account_id uuid)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    UPDATE account_limits SET measure_at = clock_timestamp() + lease
    WHERE account_limits.account_id = (
        SELECT one.account_id FROM account_limits AS one
        WHERE one.stored_bytes IS NOT NULL AND one.measure_at <= clock_timestamp()
        ORDER BY one.measure_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING account_limits.account_id;
END;
REVOKE EXECUTE ON FUNCTION claim_measurement(interval) FROM PUBLIC;

-- Name the account whose turn it is to have removed what it does not keep, and keep others from it.
CREATE FUNCTION claim_retention(lease interval) RETURNS TABLE (account_id uuid)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    UPDATE account_settings SET sweep_at = clock_timestamp() + lease
    WHERE account_settings.account_id = (
        SELECT one.account_id FROM account_settings AS one WHERE one.sweep_at <= clock_timestamp()
        ORDER BY one.sweep_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING account_settings.account_id;
END;
REVOKE EXECUTE ON FUNCTION claim_retention(interval) FROM PUBLIC;

-- Delete the oldest events of the present account, as far as it does not keep them and no webhook has still to read them;
-- says how many. Nobody else deletes events, and these only as its settings say, which is 30 days at the least.
CREATE FUNCTION forget_events(most integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    kept timestamptz;
    gone bigint;
BEGIN
    SELECT now() - make_interval(days => event_retention_days) INTO kept
    FROM account_settings WHERE account_settings.account_id = current_account();
    IF kept IS NULL THEN
        RETURN 0;
    END IF;
    WITH old AS MATERIALIZED (
        SELECT event.id FROM event
        WHERE event.account_id = current_account() AND event.at < kept AND NOT EXISTS (
            SELECT FROM webhook
            WHERE webhook.account_id = current_account() AND webhook.enabled
              AND (webhook.read_in, webhook.read_to) < (event.written_in, event.id))
        ORDER BY event.at, event.id LIMIT most FOR UPDATE OF event SKIP LOCKED
    )
    DELETE FROM event USING old WHERE event.account_id = current_account() AND event.id = old.id;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;
REVOKE EXECUTE ON FUNCTION forget_events(integer) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(BUCKET + "".join(POLICY.format(table=table) for table in TABLES) + FORWARDS)

    manager.add_raw(run)
    return manager
