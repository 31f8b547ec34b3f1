"""Suspended instances take no step, and what comes for them is held; cancellations have reasons; bulk actions."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T03:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "hold_jobs, load_instances, store_advances, cancelled, cancel_instance, claim_bulk_action"

TABLES = ("bulk_action", "bulk_target")

POLICY = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON {table} USING (account_id = (SELECT current_account()));
"""

FORWARDS = """
ALTER TABLE bulk_action ADD CONSTRAINT bulk_action_account
    FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE;
ALTER TABLE bulk_target ADD CONSTRAINT bulk_target_bulk_action
    FOREIGN KEY (account_id, bulk_action_id) REFERENCES bulk_action (account_id, id) ON DELETE CASCADE;
CREATE INDEX bulk_action_newest ON bulk_action (account_id, created_at DESC, id DESC);
CREATE INDEX bulk_action_running ON bulk_action (leased_until) WHERE status = 'running';
ALTER TABLE bulk_target SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- Jobs of suspended instances are in no worker's lane.
CREATE INDEX job_held ON job (account_id, instance_id) WHERE lane = 'held';

-- Hold jobs whose instances are suspended, until those are resumed; the others go back to their lanes at once. Whoever
-- suspends or resumes locks the instance too, so nothing is held that nobody would let go. What a job has come to already
-- (`answer`) is kept in it: it then tells its instance of that, and is not done again.
CREATE FUNCTION hold_jobs(of_account uuid, jobs bigint[], answer bytea) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM set_config('app.account_id', of_account::text, true);
    PERFORM FROM instance
    WHERE account_id = of_account AND id = ANY (ARRAY(SELECT instance_id FROM job WHERE job.id = ANY (jobs)))
    ORDER BY id FOR NO KEY UPDATE;
    UPDATE job SET leased_until = NULL, attempts = 0, payload = coalesce(answer, job.payload),
           reason = CASE WHEN answer IS NULL THEN job.reason ELSE 'answer' END,
           lane = CASE WHEN instance.status = 'suspended' THEN 'held' WHEN answer IS NULL THEN job.lane ELSE 'advance' END
    FROM instance
    WHERE job.id = ANY (jobs) AND instance.account_id = of_account AND instance.id = job.instance_id;
END
$$;

-- As before, and with the status; of suspended instances nothing is told but that they are.
DROP FUNCTION load_instances(uuid, uuid[]);
CREATE FUNCTION load_instances(of_account uuid, wanted uuid[]) RETURNS TABLE (
    id uuid, workflow_id uuid, version_id uuid, name text, sequence integer, state bytea, trigger_inputs jsonb,
    started_at timestamptz, started_by uuid, started_by_name text, depth integer, schedule_id uuid,
    signals uuid[], events bytea[], passing uuid[], status text
) LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM set_config('app.account_id', of_account::text, true);
    RETURN QUERY
        SELECT instance.id, instance.workflow_id, instance.version_id, instance.name, instance.sequence,
               CASE WHEN instance.status <> 'suspended' THEN instance.state END,
               instance.trigger_inputs, instance.started_at, instance.started_by, instance.started_by_name,
               instance.depth, instance.schedule_id, coalesce(waiting.signals, '{}'), coalesce(waiting.events, '{}'),
               coalesce(waiting.passing, '{}'), instance.status
        FROM instance, LATERAL (
            SELECT array_agg(signal.id ORDER BY received_at, signal.id) AS signals,
                   array_agg(signal.event ORDER BY received_at, signal.id) AS events,
                   array_agg(signal.id) FILTER (WHERE NOT signal.kept) AS passing
            FROM signal WHERE signal.account_id = of_account AND signal.instance_id = instance.id
                          AND instance.status <> 'suspended'
        ) AS waiting
        WHERE instance.account_id = of_account AND instance.id = ANY (wanted) AND instance.ended_at IS NULL;
END
$$;

-- As before; what is suspended takes no step, whatever the sequence is.
CREATE OR REPLACE FUNCTION store_advances(
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
    RETURN coalesce(stored, '{}');
END
$$;

-- End an instance that has been locked. Its state stays, so that it can be restarted from where it was.
DROP FUNCTION cancelled(uuid, uuid, text, text);
CREATE FUNCTION cancelled(of_account uuid, wanted uuid, becomes text, by_whom text, why text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    moment timestamptz := clock_timestamp();  -- of the write; the transaction may have waited for the lock
BEGIN
    UPDATE instance SET status = becomes, ended_at = moment, canceled_at = moment, last_modified_at = moment,
           canceled_by = by_whom, cancel_reason = why, sequence = sequence + 1, suspended_at = NULL
    WHERE account_id = of_account AND id = wanted;
    DELETE FROM job WHERE account_id = of_account AND instance_id = wanted AND lane = 'held';
    PERFORM let_go(of_account, ARRAY[wanted]);
END
$$;

-- End an instance whose status is one of those that may become the new one. 409: it is another, told as `present`.
DROP FUNCTION cancel_instance(bytea, uuid, text[], uuid, uuid, text[], text);
CREATE FUNCTION cancel_instance(
    credential bytea, requested uuid, required text[], of_workflow uuid, wanted uuid, allowed text[], becomes text,
    why text DEFAULT NULL, OUT verdict integer, OUT present text
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
    PERFORM cancelled(requested, wanted, becomes, caller.principal_id::text, why);
    INSERT INTO event (account_id, workflow_id, instance_id, type, actor, data)
    VALUES (requested, of_workflow, wanted, 'instance.' || becomes, caller.principal_id,
            CASE WHEN why IS NULL THEN '{}' ELSE jsonb_build_object('reason', why) END);
END
$$;

CREATE POLICY claim_by_owner ON bulk_action TO CURRENT_USER USING (true);

-- Lease the bulk action that has waited longest for its next batch, whosever it is; of each account's the oldest, so that
-- an account with many gets no more than one with a single one. No row: there is nothing to do.
CREATE FUNCTION claim_bulk_action(lease interval) RETURNS TABLE (account_id uuid, id uuid)
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    UPDATE bulk_action SET leased_until = clock_timestamp() + lease
    WHERE bulk_action.id = (
        SELECT one.id FROM bulk_action AS one
        WHERE one.status = 'running' AND one.leased_until <= clock_timestamp() AND NOT EXISTS (
            SELECT FROM bulk_action AS older
            WHERE older.account_id = one.account_id AND older.status = 'running' AND older.id < one.id)
        ORDER BY one.leased_until LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING bulk_action.account_id, bulk_action.id;
END;
REVOKE EXECUTE ON FUNCTION claim_bulk_action(interval) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql("".join(POLICY.format(table=table) for table in TABLES) + FORWARDS)

    manager.add_raw(run)
    return manager
