"""Where instances are: written by whatever advances them, and in the order of lists of each status."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-26T01:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "store_advances and start_instance write current_step; indexes of lists in its order"

# Of what is under way, whichever account's: the task of the root list that began last.
FILL = """
UPDATE instance SET current_step = (
    SELECT left(task_run.name, 255) FROM task_run
    WHERE task_run.account_id = instance.account_id AND task_run.instance_id = instance.id
      AND task_run.pointer ~ '^/do/[0-9]+/[^/]+$'
    ORDER BY task_run.number DESC LIMIT 1)
WHERE instance.ended_at IS NULL AND instance.current_step IS NULL;
"""

FORWARDS = f"""
ALTER TABLE instance NO FORCE ROW LEVEL SECURITY;
ALTER TABLE task_run NO FORCE ROW LEVEL SECURITY;
{FILL}
ALTER TABLE instance FORCE ROW LEVEL SECURITY;
ALTER TABLE task_run FORCE ROW LEVEL SECURITY;
CREATE INDEX instance_by_step ON instance (account_id, status, current_step COLLATE "C", id);
CREATE INDEX instance_of_starter_by_step ON instance (account_id, started_by, status, current_step COLLATE "C", id);
CREATE INDEX instance_restarted_by_step ON instance (account_id, status, current_step COLLATE "C", id)
    WHERE restarted_as IS NOT NULL;

-- As before, and with where the instance is; an advance that does not say so leaves it where it was.
DROP FUNCTION store_advances(uuid, uuid[], integer[], text[], bytea[], integer[], text[], timestamptz[], boolean[], bytea[],
    bytea[], boolean[], bigint[], uuid[], bigint[], json);
CREATE FUNCTION store_advances(
    of_account uuid, ids uuid[], sequences integer[], statuses text[], states bytea[], steps integer[],
    step_names text[], current_steps text[], expiries timestamptz[], ends boolean[], outputs bytea[], faults bytea[],
    listening boolean[], done bigint[], seen uuid[], idle bigint[], effects json
) RETURNS uuid[] LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    stored uuid[];
BEGIN
    PERFORM set_config('app.account_id', of_account::text, true);
    IF cardinality(ids) > 1 THEN  -- everyone locks in the order of the ids, so that nobody waits in a circle
        PERFORM FROM instance WHERE account_id = of_account AND id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
    END IF;
    -- last_modified_at is the moment of the write; the transaction may have waited for a lock.
    WITH written AS (
        UPDATE instance SET status = new.status, state = new.state, sequence = instance.sequence + 1,
               last_modified_at = clock_timestamp(), last_completed_step = new.step,
               last_completed_step_name = new.step_name, expires_at = coalesce(new.expires_at, instance.expires_at),
               current_step = CASE WHEN new.status <> 'completed' THEN coalesce(new.current_step, instance.current_step) END,
               ended_at = CASE WHEN new.ended THEN clock_timestamp() END, output = new.output, fault = new.fault
        FROM unnest(ids, sequences, statuses, states, steps, step_names, current_steps, expiries, ends, outputs,
                    faults)
             AS new (id, sequence, status, state, step, step_name, current_step, expires_at, ended, output, fault)
        WHERE instance.account_id = of_account AND instance.id = new.id AND instance.sequence = new.sequence
          AND instance.ended_at IS NULL AND instance.status <> 'suspended'
        RETURNING instance.id
    )
    SELECT array_agg(written.id) INTO stored FROM written;
    IF stored IS NOT NULL AND effects IS NOT NULL THEN
        PERFORM write_effects(of_account, effects, stored);
    END IF;
    -- An event that came while an advance was under way: its own job has found the state from before, in which nobody may
    -- have listened for it. A sender locks the instance's row, so either this sees the event or its job sees the new state.
    INSERT INTO job (account_id, instance_id, lane, reason)
    SELECT DISTINCT of_account, signal.instance_id, 'advance', 'event'
    FROM unnest(ids, listening) AS listener (instance, listens) JOIN signal
         ON signal.account_id = of_account AND signal.instance_id = listener.instance
    WHERE listener.listens AND listener.instance = ANY (stored) AND signal.id <> ALL (seen);
    IF FOUND THEN
        PERFORM pg_notify('tutti_jobs', 'advance');
    END IF;
    DELETE FROM job USING unnest(ids, done) AS pair (instance, job)
    WHERE job.id = pair.job AND pair.instance = ANY (stored);
    IF cardinality(idle) > 0 THEN
        DELETE FROM job WHERE id = ANY (idle);
    END IF;
    RETURN coalesce(stored, '{{}}');
END
$$;

-- As before, and with where the instance is.
DROP FUNCTION start_instance(bytea, uuid, text[], uuid, uuid, uuid, text, jsonb, text[], integer, uuid, bytea,
    timestamptz, text, integer, bytea, integer, text, timestamptz, boolean, bytea, bytea, json, bytea, bytea, bytea, boolean,
    interval);
CREATE FUNCTION start_instance(
    credential bytea, requested uuid, required text[], of_workflow uuid, expected uuid,
    new_id uuid, new_name text, inputs jsonb, new_tags text[], steps integer, new_access_id uuid, new_secret_hash bytea,
    began timestamptz, new_status text, new_sequence integer, new_state bytea, step integer, step_name text,
    new_current_step text, new_expires_at timestamptz, has_ended boolean, new_output bytea, new_fault bytea, effects json,
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
                          started_at, sequence, state, last_completed_step, last_completed_step_name,
                          current_step, expires_at, last_modified_at, ended_at, output, fault)
    VALUES (new_id, requested, of_workflow, published, target.version, new_name, new_status, caller.principal_id,
            caller.principal_name, inputs, new_tags, steps, target.created_by, new_access_id, new_secret_hash,
            began, new_sequence, new_state, step, step_name, new_current_step,
            new_expires_at, moment, CASE WHEN has_ended THEN moment END, new_output, new_fault);
    INSERT INTO event (account_id, workflow_id, instance_id, type, actor)
    VALUES (requested, of_workflow, new_id, 'instance.triggered', caller.principal_id);
    PERFORM write_effects(requested, effects);
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
