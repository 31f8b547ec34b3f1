"""The functions that write what becomes of instances: their history and what follows, their start, their end."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-22T10:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "write_effects, load_instances, store_advances, let_go, start_instance, cancel_instance; PgQueuer's jobs move"

FORWARDS = """
-- Write what follows advances of one account. `what` holds lists of rows, each naming its instance: runs (history), ends
-- (of tasks that an earlier advance began), timers, forgotten (waits that are over), jobs, events, ended (instances).
-- `chosen` names the instances whose rows count; NULL: all of them.
CREATE FUNCTION write_effects(of_account uuid, what json, chosen uuid[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF what -> 'runs' IS NOT NULL THEN
        INSERT INTO task_run (account_id, instance_id, number, name, kind, pointer, iteration, attempt, status,
                              started_at, ended_at, input, output, error, cut)
        SELECT of_account, run.* FROM json_to_recordset(what -> 'runs') AS run (
            instance_id uuid, number integer, name text, kind text, pointer text, iteration integer, attempt integer,
            status text, started_at timestamptz, ended_at timestamptz, input json, output json, error json, cut json)
        WHERE chosen IS NULL OR run.instance_id = ANY (chosen);
    END IF;
    IF what -> 'ends' IS NOT NULL THEN
        UPDATE task_run SET status = run.status, ended_at = run.ended_at, output = run.output, error = run.error,
               cut = CASE WHEN run.cut IS NULL THEN task_run.cut
                          ELSE (coalesce(task_run.cut::jsonb, '{}') || run.cut)::json END
        FROM json_to_recordset(what -> 'ends') AS run (
            instance_id uuid, number integer, status text, ended_at timestamptz, output json, error json, cut jsonb)
        WHERE task_run.account_id = of_account AND task_run.instance_id = run.instance_id
          AND task_run.number = run.number AND (chosen IS NULL OR run.instance_id = ANY (chosen));
    END IF;
    IF what -> 'timers' IS NOT NULL THEN
        INSERT INTO timer (id, account_id, instance_id, wait, due_at)
        SELECT gen_random_uuid(), of_account, timer.* FROM json_to_recordset(what -> 'timers') AS timer (
            instance_id uuid, wait integer, due_at timestamptz)
        WHERE chosen IS NULL OR timer.instance_id = ANY (chosen)
        ON CONFLICT (account_id, instance_id, wait) DO UPDATE SET due_at = excluded.due_at;
    END IF;
    IF what -> 'forgotten' IS NOT NULL THEN
        DELETE FROM timer USING json_to_recordset(what -> 'forgotten') AS past (instance_id uuid, wait integer)
        WHERE timer.account_id = of_account AND timer.instance_id = past.instance_id AND timer.wait = past.wait
          AND (chosen IS NULL OR past.instance_id = ANY (chosen));
        INSERT INTO job (account_id, instance_id, lane, reason)
        SELECT of_account, child.id, 'perform', 'cancel'
        FROM json_to_recordset(what -> 'forgotten') AS past (instance_id uuid, wait integer)
        JOIN instance AS child ON child.account_id = of_account AND child.parent_id = past.instance_id
             AND child.parent_wait = past.wait AND child.ended_at IS NULL
        WHERE chosen IS NULL OR past.instance_id = ANY (chosen);
        IF FOUND THEN
            PERFORM pg_notify('tutti_jobs', 'perform');
        END IF;
    END IF;
    IF what -> 'events' IS NOT NULL THEN
        INSERT INTO event (account_id, workflow_id, instance_id, type, data)
        SELECT of_account, told.* FROM json_to_recordset(what -> 'events') AS told (
            workflow_id uuid, instance_id uuid, type text, data jsonb)
        WHERE chosen IS NULL OR told.instance_id = ANY (chosen);
    END IF;
    IF what -> 'jobs' IS NOT NULL THEN
        INSERT INTO job (account_id, instance_id, lane, reason, wait, payload)
        SELECT of_account, new.instance_id, new.lane, new.reason, new.wait, convert_to(new.payload::text, 'UTF8')
        FROM json_to_recordset(what -> 'jobs') AS new (
            instance_id uuid, lane text, reason text, wait integer, payload json)
        WHERE chosen IS NULL OR new.instance_id = ANY (chosen);
    END IF;
    IF what -> 'ended' IS NOT NULL THEN
        PERFORM let_go(of_account, ARRAY(
            SELECT one::uuid FROM json_array_elements_text(what -> 'ended') AS one
            WHERE chosen IS NULL OR one::uuid = ANY (chosen)));
    END IF;
END
$$;

-- Read instances that have not ended, and the events that wait for them, oldest first; in one round trip, tenant included.
CREATE FUNCTION load_instances(of_account uuid, wanted uuid[]) RETURNS TABLE (
    id uuid, workflow_id uuid, version_id uuid, name text, sequence integer, state bytea, trigger_inputs jsonb,
    started_at timestamptz, started_by uuid, started_by_name text, depth integer, schedule_id uuid,
    signals uuid[], events bytea[], passing uuid[]
) LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM set_config('app.account_id', of_account::text, true);
    RETURN QUERY
        SELECT instance.id, instance.workflow_id, instance.version_id, instance.name, instance.sequence, instance.state,
               instance.trigger_inputs, instance.started_at, instance.started_by, instance.started_by_name,
               instance.depth, instance.schedule_id, coalesce(waiting.signals, '{}'), coalesce(waiting.events, '{}'),
               coalesce(waiting.passing, '{}')
        FROM instance, LATERAL (
            SELECT array_agg(signal.id ORDER BY received_at, signal.id) AS signals,
                   array_agg(signal.event ORDER BY received_at, signal.id) AS events,
                   array_agg(signal.id) FILTER (WHERE NOT signal.kept) AS passing
            FROM signal WHERE signal.account_id = of_account AND signal.instance_id = instance.id
        ) AS waiting
        WHERE instance.account_id = of_account AND instance.id = ANY (wanted) AND instance.ended_at IS NULL;
END
$$;

-- Store advances of one account where the instance is still at the sequence that each began from, with what follows and
-- without the jobs that asked for them (`done`, one for each; `idle` are jobs that changed nothing). Says which were stored.
CREATE FUNCTION store_advances(
    of_account uuid, ids uuid[], sequences integer[], statuses text[], states bytea[], steps integer[],
    step_names text[], expiries timestamptz[], ends boolean[], outputs bytea[], faults bytea[],
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
               ended_at = CASE WHEN new.ended THEN clock_timestamp() END, output = new.output, fault = new.fault
        FROM unnest(ids, sequences, statuses, states, steps, step_names, expiries, ends, outputs, faults)
             AS new (id, sequence, status, state, step, step_name, expires_at, ended, output, fault)
        WHERE instance.account_id = of_account AND instance.id = new.id AND instance.sequence = new.sequence
          AND instance.ended_at IS NULL
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
    RETURN coalesce(stored, '{}');
END
$$;

-- What is to be done when instances have ended, however they did: nothing waits for them any more, whoever awaits them
-- hears of it, and those that only they awaited end too.
DROP FUNCTION let_go(uuid);
CREATE FUNCTION let_go(of_account uuid, ended uuid[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM timer WHERE account_id = of_account AND instance_id = ANY (ended);
    DELETE FROM signal WHERE account_id = of_account AND instance_id = ANY (ended);
    DELETE FROM listener WHERE account_id = of_account AND instance_id = ANY (ended);
    DELETE FROM taken_event WHERE account_id = of_account AND instance_id = ANY (ended);
    UPDATE task_run SET status = 'cancelled', ended_at = clock_timestamp()
    WHERE account_id = of_account AND instance_id = ANY (ended) AND status = 'running';
    UPDATE work_item SET status = 'cancelled', ended_at = clock_timestamp()
    WHERE account_id = of_account AND instance_id = ANY (ended) AND status = 'open';
    INSERT INTO job (account_id, instance_id, lane, reason)
    SELECT of_account, id, 'perform', 'cancel' FROM instance
    WHERE account_id = of_account AND parent_id = ANY (ended) AND ended_at IS NULL;
    IF FOUND THEN
        PERFORM pg_notify('tutti_jobs', 'perform');
    END IF;
    INSERT INTO job (account_id, instance_id, lane, reason, wait)
    SELECT of_account, parent_id, 'advance', 'child', parent_wait FROM instance
    WHERE account_id = of_account AND id = ANY (ended) AND parent_id IS NOT NULL;
    IF FOUND THEN
        PERFORM pg_notify('tutti_jobs', 'advance');
    END IF;
    UPDATE schedule SET next_at = clock_timestamp() + schedule.pause::interval
    FROM instance
    WHERE instance.account_id = of_account AND instance.id = ANY (ended) AND schedule.account_id = of_account
      AND schedule.id = instance.schedule_id AND schedule.kind = 'after';
END
$$;

-- Start an instance if the workflow is active, not paused, and its published version is the expected one, for which
-- the caller has checked the inputs. Its first advance may have been made already: then it begins with what came of it.
-- 400: it takes no triggers, `workflow_status` says why. 412: another version is published, `published` says which;
-- nothing was started.
DROP FUNCTION start_instance(bytea, uuid, text[], uuid, uuid, uuid, text, jsonb, text[], integer, uuid, bytea);
CREATE FUNCTION start_instance(
    credential bytea, requested uuid, required text[], of_workflow uuid, expected uuid,
    new_id uuid, new_name text, inputs jsonb, new_tags text[], steps integer, new_access_id uuid, new_secret_hash bytea,
    began timestamptz, new_status text, new_sequence integer, new_state bytea, step integer, step_name text,
    new_expires_at timestamptz, has_ended boolean, new_output bytea, new_fault bytea, effects json,
    OUT verdict integer, OUT workflow_status text, OUT published uuid, OUT caller_id uuid, OUT caller_name text
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

-- End an instance whose status is one of those that may become the new one. 409: it is another, told as `present`.
CREATE OR REPLACE FUNCTION cancel_instance(
    credential bytea, requested uuid, required text[], of_workflow uuid, wanted uuid, allowed text[], becomes text,
    OUT verdict integer, OUT present text
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    caller record;
BEGIN
    caller := enter_account(credential, requested, required);
    verdict := caller.verdict;
    IF verdict <> 200 THEN
        RETURN;
    END IF;
    SELECT status INTO present FROM instance WHERE id = wanted AND workflow_id = of_workflow FOR UPDATE;
    verdict := CASE WHEN NOT FOUND THEN 404 WHEN present <> ALL (allowed) THEN 409 ELSE 200 END;
    IF verdict <> 200 THEN
        RETURN;
    END IF;
    PERFORM cancelled(requested, wanted, becomes, caller.principal_id::text);
    INSERT INTO event (account_id, workflow_id, instance_id, type, actor)
    VALUES (requested, of_workflow, wanted, 'instance.' || becomes, caller.principal_id);
END
$$;

-- End an instance that has been locked.
CREATE FUNCTION cancelled(of_account uuid, wanted uuid, becomes text, by_whom text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    moment timestamptz := clock_timestamp();  -- of the write; the transaction may have waited for the lock
BEGIN
    UPDATE instance SET status = becomes, ended_at = moment, canceled_at = moment, last_modified_at = moment,
           canceled_by = by_whom, sequence = sequence + 1, state = NULL
    WHERE account_id = of_account AND id = wanted;
    PERFORM let_go(of_account, ARRAY[wanted]);
END
$$;

-- Before there was a queue of our own, jobs were PgQueuer's.
DROP FUNCTION enqueue_advance(uuid, uuid, text, integer);
DO $$
BEGIN
    IF to_regclass('pgqueuer') IS NOT NULL THEN
        INSERT INTO job (account_id, instance_id, lane, reason, wait)
        SELECT (told ->> 0)::uuid, (told ->> 1)::uuid, 'advance', told ->> 2, (told ->> 3)::integer
        FROM (SELECT convert_from(payload, 'UTF8')::json AS told FROM pgqueuer WHERE entrypoint = 'advance') AS queued;
        DROP TABLE IF EXISTS pgqueuer, pgqueuer_log, pgqueuer_statistics, pgqueuer_schedules CASCADE;
        DROP FUNCTION IF EXISTS fn_pgqueuer_changed() CASCADE;
        DROP TYPE IF EXISTS pgqueuer_status CASCADE;
    END IF;
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
