"""Triggers that come again: row-level security of their keys, `start_instance` that goes by them, what forgets them."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T05:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security of trigger keys; earlier_trigger, start_instance, forget_trigger_keys, sweep_trigger_keys"

FORWARDS = """
ALTER TABLE trigger_key ENABLE ROW LEVEL SECURITY;
ALTER TABLE trigger_key FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON trigger_key USING (account_id = (SELECT current_account()));
CREATE POLICY swept_by_owner ON trigger_key TO CURRENT_USER USING (true);
-- None to the instance: what starts nothing a second time outlives what it has started.
ALTER TABLE trigger_key ADD CONSTRAINT trigger_key_workflow
    FOREIGN KEY (account_id, workflow_id) REFERENCES workflow (account_id, id) ON DELETE CASCADE;
ALTER TABLE trigger_key SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- What an earlier trigger of the same key came to; `verdict` is NULL if there was none. 208: it started `earlier_id`.
-- 422: its body was another. 425: an SDK's, and so young that its answer may still be on its way.
CREATE FUNCTION earlier_trigger(
    of_account uuid, of_workflow uuid, of_caller uuid, wanted bytea, body bytea,
    OUT verdict integer, OUT earlier_id uuid, OUT earlier_access_id uuid, OUT earlier_seed bytea, OUT key_id bigint
) LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN fingerprint <> body THEN 422
                WHEN NOT kept AND made_at > clock_timestamp() - interval '1 second' THEN 425
                ELSE 208 END,
           instance_id, access_id, seed, id
    FROM trigger_key
    WHERE account_id = of_account AND workflow_id = of_workflow AND caller_id = of_caller AND key_hash = wanted
      AND expires_at > clock_timestamp()
$$;

-- As before, and of a trigger that has a key what an earlier one of the same key came to, if there was one: see
-- earlier_trigger. A key that another transaction is just storing is waited for, 3 seconds at the most.
DROP FUNCTION start_instance(bytea, uuid, text[], uuid, uuid, uuid, text, jsonb, text[], integer, uuid, bytea,
    timestamptz, text, integer, bytea, integer, text, timestamptz, boolean, bytea, bytea, json);
CREATE FUNCTION start_instance(
    credential bytea, requested uuid, required text[], of_workflow uuid, expected uuid,
    new_id uuid, new_name text, inputs jsonb, new_tags text[], steps integer, new_access_id uuid, new_secret_hash bytea,
    began timestamptz, new_status text, new_sequence integer, new_state bytea, step integer, step_name text,
    new_expires_at timestamptz, has_ended boolean, new_output bytea, new_fault bytea, effects json,
    new_key bytea DEFAULT NULL, body bytea DEFAULT NULL, new_seed bytea DEFAULT NULL, keep boolean DEFAULT NULL,
    keep_for interval DEFAULT NULL,
    OUT verdict integer, OUT workflow_status text, OUT published uuid, OUT caller_id uuid, OUT caller_name text,
    OUT earlier_id uuid, OUT earlier_access_id uuid, OUT earlier_seed bytea, OUT key_id bigint
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    caller record;
    target record;
    moment timestamptz := greatest(clock_timestamp(), began);  -- clocks differ
BEGIN
    caller := enter_account(credential, requested, required);
    verdict := caller.verdict;
    IF verdict <> 200 THEN
        RETURN;
    END IF;
    caller_id := caller.principal_id;
    caller_name := caller.principal_name;
    IF new_key IS NOT NULL THEN
        -- A look at the key alone before the function, which most triggers can do without.
        PERFORM FROM trigger_key
        WHERE account_id = requested AND workflow_id = of_workflow AND trigger_key.caller_id = caller.principal_id
          AND key_hash = new_key;
        IF FOUND THEN
            SELECT * INTO verdict, earlier_id, earlier_access_id, earlier_seed, key_id
            FROM earlier_trigger(requested, of_workflow, caller.principal_id, new_key, body);
            IF verdict = 208 THEN  -- the answer is on its way once more
                UPDATE trigger_key SET made_at = clock_timestamp() WHERE id = key_id AND NOT kept;
            END IF;
            IF verdict IS NOT NULL THEN
                RETURN;
            END IF;
        END IF;
    END IF;
    SELECT CASE WHEN workflow.paused THEN 'paused' ELSE workflow.status END AS status, workflow.active_version_id,
           workflow.created_by, workflow_version.version
    INTO target
    FROM workflow LEFT JOIN workflow_version ON workflow_version.id = workflow.active_version_id
    WHERE workflow.id = of_workflow;
    IF NOT FOUND THEN
        verdict := 404;
        RETURN;
    END IF;
    workflow_status := target.status;
    published := target.active_version_id;
    verdict := CASE WHEN target.status <> 'active' THEN 400 WHEN expected IS DISTINCT FROM published THEN 412 ELSE 200 END;
    IF verdict <> 200 THEN
        RETURN;
    END IF;
    IF new_key IS NOT NULL THEN
        PERFORM set_config('lock_timeout', '3000', true);
        INSERT INTO trigger_key AS one (account_id, workflow_id, caller_id, key_hash, fingerprint, kept, instance_id,
                                        access_id, seed, made_at, expires_at)
        VALUES (requested, of_workflow, caller.principal_id, new_key, body, keep, new_id, new_access_id, new_seed,
                clock_timestamp(), clock_timestamp() + keep_for)
        ON CONFLICT ON CONSTRAINT trigger_key_caller DO UPDATE
        SET fingerprint = excluded.fingerprint, kept = excluded.kept, instance_id = excluded.instance_id,
            access_id = excluded.access_id, seed = excluded.seed, made_at = excluded.made_at,
            expires_at = excluded.expires_at
        WHERE one.expires_at <= clock_timestamp()
        RETURNING one.id INTO key_id;
        IF NOT FOUND THEN  -- somebody was faster
            SELECT * INTO verdict, earlier_id, earlier_access_id, earlier_seed, key_id
            FROM earlier_trigger(requested, of_workflow, caller_id, new_key, body);
            verdict := coalesce(verdict, 425);  -- and has forgotten it since
            RETURN;
        END IF;
    END IF;
    INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_by, started_by_name,
                          trigger_inputs, tags, total_steps, workflow_created_by, access_id, access_secret_hash,
                          started_at, sequence, state, last_completed_step, last_completed_step_name, expires_at,
                          last_modified_at, ended_at, output, fault)
    VALUES (new_id, requested, of_workflow, published, target.version, new_name, new_status, caller.principal_id,
            caller.principal_name, inputs, new_tags, steps, target.created_by, new_access_id, new_secret_hash,
            began, new_sequence, new_state, step, step_name, new_expires_at,
            moment, CASE WHEN has_ended THEN moment END, new_output, new_fault);
    INSERT INTO event (account_id, workflow_id, instance_id, type, actor)
    VALUES (requested, of_workflow, new_id, 'instance.triggered', caller.principal_id);
    PERFORM write_effects(requested, effects);
END
$$;

-- Forget triggers whose answers have been handed over, of any account: an identical one is meant to start anew.
CREATE FUNCTION forget_trigger_keys(answered bigint[]) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    DELETE FROM trigger_key WHERE id = ANY (answered) AND NOT kept;
END;
REVOKE EXECUTE ON FUNCTION forget_trigger_keys(bigint[]) FROM PUBLIC;

-- Delete keys of every account whose time is over; says how many there were.
CREATE FUNCTION sweep_trigger_keys(most integer) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH old AS MATERIALIZED (
        SELECT id FROM trigger_key WHERE expires_at < now() ORDER BY expires_at LIMIT most FOR UPDATE SKIP LOCKED
    ), gone AS (DELETE FROM trigger_key USING old WHERE trigger_key.id = old.id RETURNING 1)
    SELECT count(*) FROM gone;
END;
REVOKE EXECUTE ON FUNCTION sweep_trigger_keys(integer) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
