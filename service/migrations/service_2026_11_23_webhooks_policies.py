"""Whose webhooks are whose; how events become deliveries, and how processes share them."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T09:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "webhooks_behind, claim_webhook_deliveries, finish_webhook_attempt, sweep_webhook_deliveries"

FORWARDS = """
ALTER TABLE webhook ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON webhook USING (account_id = (SELECT current_account()));
CREATE POLICY looked_at_by_owner ON webhook FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY swept_by_owner ON webhook FOR DELETE TO CURRENT_USER USING (true);
ALTER TABLE webhook_delivery ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_delivery FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON webhook_delivery USING (account_id = (SELECT current_account()));
CREATE POLICY claim_by_owner ON webhook_delivery TO CURRENT_USER USING (true);
ALTER TABLE webhook_attempt ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_attempt FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON webhook_attempt USING (account_id = (SELECT current_account()));
CREATE POLICY webhooks_look_ahead ON event FOR SELECT TO CURRENT_USER USING (true);

ALTER TABLE webhook_delivery ADD CONSTRAINT webhook_delivery_webhook
    FOREIGN KEY (account_id, webhook_id) REFERENCES webhook (account_id, id) ON DELETE CASCADE;
ALTER TABLE webhook_attempt ADD CONSTRAINT webhook_attempt_delivery
    FOREIGN KEY (account_id, delivery_id) REFERENCES webhook_delivery (account_id, id) ON DELETE CASCADE;

-- How far an endpoint's events have been read, and the snapshot since which they concern it: what that could not see.
ALTER TABLE webhook ADD COLUMN read_in xid8 NOT NULL DEFAULT pg_snapshot_xmin(pg_current_snapshot());
ALTER TABLE webhook ADD COLUMN read_to bigint NOT NULL DEFAULT 0;
ALTER TABLE webhook ADD COLUMN since pg_snapshot NOT NULL DEFAULT pg_current_snapshot();

CREATE INDEX webhook_enabled ON webhook (id) WHERE enabled;
CREATE INDEX webhook_delivery_due ON webhook_delivery (account_id, webhook_id, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_delivery_chain ON webhook_delivery (account_id, webhook_id, instance_id, place)
    WHERE status = 'pending' AND NOT aside;
CREATE INDEX webhook_delivery_log ON webhook_delivery (account_id, webhook_id, created_at, id);
CREATE INDEX webhook_delivery_by_status ON webhook_delivery (account_id, webhook_id, status, created_at, id);
ALTER TABLE webhook_delivery SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- Name endpoints, of every account, for which there are events that nobody has read for them. It asks for the first such
-- event of each, which is found in the index wherever it stands; EXISTS would become a join that reads every event.
CREATE FUNCTION webhooks_behind(after uuid, most integer) RETURNS TABLE (account_id uuid, id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT webhook.account_id, webhook.id FROM webhook
    WHERE webhook.enabled AND webhook.id > after AND (
        SELECT true FROM event
        WHERE event.account_id = webhook.account_id AND (event.written_in, event.id) > (webhook.read_in, webhook.read_to)
          AND event.written_in < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY event.account_id, event.written_in, event.id LIMIT 1)
    ORDER BY webhook.id LIMIT most;
END;
REVOKE EXECUTE ON FUNCTION webhooks_behind(uuid, integer) FROM PUBLIC;

-- Name the accounts that have endpoints, for whoever encrypts their secrets anew.
CREATE FUNCTION accounts_with_webhooks() RETURNS TABLE (account_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT DISTINCT webhook.account_id FROM webhook WHERE webhook.deleted_at IS NULL ORDER BY webhook.account_id;
END;
REVOKE EXECUTE ON FUNCTION accounts_with_webhooks() FROM PUBLIC;

-- Lease deliveries of every account in turn, beginning behind the given one: at most `of_account` of each, and of each of
-- its endpoints `of_endpoint`, or one where the last attempt failed. `without` names accounts and `busy` endpoints that
-- have their share already. Losing a lease in a crash loses nothing. The last row is no delivery (id NULL): its account is
-- the one that the claim came to, and its `attempts` 1 if there may be more behind it.
CREATE FUNCTION claim_webhook_deliveries(
    moment timestamptz, lease interval, most integer, of_account integer, of_endpoint integer, after uuid,
    without uuid[], busy uuid[]
) RETURNS TABLE (id uuid, account_id uuid, webhook_id uuid, attempts integer, failing boolean)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp SET synchronous_commit = off
AS $$
DECLARE
    present uuid := after;
    following uuid;
    wrapped boolean := false;
    missing integer := most;
    chosen uuid[];
    more boolean := false;
BEGIN
    FOR hop IN 1 .. 256 LOOP
        more := more OR hop = 256;
        SELECT waiting.account_id INTO following FROM webhook_delivery AS waiting
        WHERE waiting.next_at IS NOT NULL AND waiting.account_id > present
        ORDER BY waiting.account_id, waiting.webhook_id, waiting.next_at LIMIT 1;
        IF following IS NULL THEN
            EXIT WHEN wrapped;
            wrapped := true;
            present := '00000000-0000-0000-0000-000000000000';
            CONTINUE;
        END IF;
        EXIT WHEN wrapped AND following > after;
        present := following;
        CONTINUE WHEN present = ANY (without);
        SELECT array_agg(due.id ORDER BY random()) INTO chosen FROM webhook, LATERAL (
            SELECT one.id FROM webhook_delivery AS one
            WHERE one.account_id = present AND one.webhook_id = webhook.id AND one.next_at <= moment
            ORDER BY one.account_id, one.webhook_id, one.next_at
            LIMIT CASE WHEN webhook.failing_since IS NULL THEN of_endpoint ELSE 1 END FOR UPDATE SKIP LOCKED) AS due
        WHERE webhook.account_id = present AND webhook.enabled AND webhook.id <> ALL (busy);
        CONTINUE WHEN chosen IS NULL;
        chosen := chosen[1 : least(of_account, missing)];
        RETURN QUERY
            UPDATE webhook_delivery AS taken
            SET next_at = moment + lease, leased_until = moment + lease, attempts = taken.attempts + 1
            FROM webhook WHERE taken.id = ANY (chosen) AND webhook.id = taken.webhook_id
            RETURNING taken.id, taken.account_id, taken.webhook_id, taken.attempts, webhook.failing_since IS NOT NULL;
        more := true;
        missing := missing - cardinality(chosen);
        EXIT WHEN missing <= 0;
    END LOOP;
    RETURN QUERY SELECT NULL::uuid, present, NULL::uuid, more::integer, NULL::boolean;
END
$$;
REVOKE EXECUTE ON FUNCTION claim_webhook_deliveries(timestamptz, interval, integer, integer, integer, uuid, uuid[], uuid[])
    FROM PUBLIC;

-- Let the first delivery of an instance that still waits be claimed from now on.
CREATE FUNCTION release_next_delivery(of_account uuid, to_webhook uuid, of_instance uuid, moment timestamptz) RETURNS void
LANGUAGE sql VOLATILE BEGIN ATOMIC
    UPDATE webhook_delivery SET next_at = moment
    WHERE next_at IS NULL AND account_id = of_account AND id = (
        SELECT first.id FROM webhook_delivery AS first
        WHERE first.account_id = of_account AND first.webhook_id = to_webhook AND first.instance_id = of_instance
          AND first.status = 'pending' AND NOT first.aside
        ORDER BY first.place LIMIT 1);
END;

-- Write down an attempt and what it means: for its delivery (`becomes` delivered, failed, or pending until `again_at`), for
-- the next one of the instance, for the endpoint. An endpoint that is gone, or that has failed `enough` times and for as
-- long as `patience` on end, is disabled, and an event tells so; `blamed` says whether a failure is the endpoint's.
-- Whoever puts deliveries behind others holds the endpoint's row as this does, so neither misses the other.
CREATE FUNCTION finish_webhook_attempt(
    of_account uuid, wanted uuid, claimed integer, began timestamptz, ended timestamptz, code integer, reason text, told text,
    becomes text, again_at timestamptz, blamed boolean, is_gone boolean, patience interval, enough integer
) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    endpoint webhook%ROWTYPE;
    delivery record;
    because text;
BEGIN
    PERFORM set_config('app.account_id', of_account::text, true);
    SELECT webhook.* INTO endpoint FROM webhook
    WHERE webhook.account_id = of_account
      AND webhook.id = (SELECT one.webhook_id FROM webhook_delivery AS one WHERE one.account_id = of_account AND one.id = wanted)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO webhook_attempt (account_id, delivery_id, number, at, duration_ms, status_code, error, answer)
    VALUES (of_account, wanted, claimed, began, extract(epoch FROM ended - began) * 1000, code, reason, told)
    ON CONFLICT (account_id, delivery_id, number) DO NOTHING;
    UPDATE webhook_delivery
    SET status = becomes, next_at = again_at, leased_until = NULL,
        tries = tries + (becomes <> 'delivered')::integer, ended_at = CASE WHEN becomes <> 'pending' THEN ended END
    WHERE account_id = of_account AND id = wanted AND attempts = claimed AND status = 'pending'
    RETURNING instance_id, aside INTO delivery;
    IF NOT FOUND THEN
        RETURN NULL;  -- its lease was over, and another has it
    END IF;
    IF becomes <> 'pending' AND delivery.instance_id IS NOT NULL AND NOT delivery.aside THEN
        PERFORM release_next_delivery(of_account, endpoint.id, delivery.instance_id, ended);
    END IF;
    IF becomes = 'delivered' THEN
        UPDATE webhook SET failures = 0, failing_since = NULL
        WHERE account_id = of_account AND id = endpoint.id AND failing_since IS NOT NULL;
    ELSIF blamed THEN
        endpoint.failures := endpoint.failures + 1;
        endpoint.failing_since := coalesce(endpoint.failing_since, began);
        because := CASE WHEN NOT endpoint.enabled THEN NULL WHEN is_gone THEN 'gone'
                        WHEN endpoint.failures >= enough AND ended - endpoint.failing_since >= patience THEN 'failing' END;
        UPDATE webhook
        SET failures = endpoint.failures, failing_since = endpoint.failing_since, enabled = enabled AND because IS NULL,
            disabled_because = coalesce(because, disabled_because),
            disabled_at = CASE WHEN because IS NULL THEN disabled_at ELSE ended END
        WHERE account_id = of_account AND id = endpoint.id;
        IF because IS NOT NULL THEN
            INSERT INTO event (account_id, type, data)
            VALUES (of_account, 'webhook.disabled', jsonb_build_object(
                'webhook_id', endpoint.id, 'reason', because, 'failures', endpoint.failures,
                'failing_since', to_char(endpoint.failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')));
        END IF;
    END IF;
    RETURN because;
END
$$;

-- Delete deliveries of every account that ended long ago, those that wait at a disabled endpoint for as long, and what
-- deleted endpoints have left; says how many rows there were.
CREATE FUNCTION sweep_webhook_deliveries(most integer, age interval) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH old AS MATERIALIZED (
        SELECT past.id FROM webhook, LATERAL (
            SELECT one.id FROM webhook_delivery AS one
            WHERE one.account_id = webhook.account_id AND one.webhook_id = webhook.id
              AND (webhook.deleted_at IS NOT NULL
                   OR one.created_at < now() - age AND (one.status <> 'pending' OR NOT webhook.enabled))
            ORDER BY one.account_id, one.webhook_id, one.created_at LIMIT most FOR UPDATE SKIP LOCKED) AS past
    ), gone AS (DELETE FROM webhook_delivery USING old WHERE webhook_delivery.id = old.id RETURNING 1),
    left_behind AS (
        DELETE FROM webhook WHERE deleted_at IS NOT NULL AND NOT EXISTS (
            SELECT FROM webhook_delivery AS one WHERE one.account_id = webhook.account_id AND one.webhook_id = webhook.id)
        RETURNING 1)
    SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM left_behind);
END;
REVOKE EXECUTE ON FUNCTION sweep_webhook_deliveries(integer, interval) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
