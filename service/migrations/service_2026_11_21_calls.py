"""The functions of the hot paths: what a request does in one round trip and one transaction.

Each checks the credential and sets the tenant by `enter_account`, and runs as the application's role, so row-level
security decides which rows there are. `verdict` is 200 when it was done; 401, 403 and 404 as everywhere; what else it may
be stands with each function. The rules (which status may become which, whether inputs fit) stay in the service: the
functions are told what to expect and do nothing where it does not hold.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-21T13:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "start_instance, cancel_instance, enqueue_advance"

FORWARDS = """
-- The one writer of jobs. The payload is the worker's: account, instance, reason, number of the wait.
CREATE FUNCTION enqueue_advance(of_account uuid, of_instance uuid, reason text, wait integer) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO pgqueuer (priority, entrypoint, payload, status)
    VALUES (0, 'advance', convert_to(json_build_array(of_account, of_instance, reason, wait)::text, 'UTF8'), 'queued');
END
$$;

-- Start an instance if the workflow is active, not paused, and its published version is the expected one, for which
-- the caller has checked the inputs. 400: it takes no triggers, `workflow_status` says why. 412: another version is
-- published, `published` says which; nothing was started.
CREATE FUNCTION start_instance(
    credential bytea, requested uuid, required text[], of_workflow uuid, expected uuid,
    new_id uuid, new_name text, inputs jsonb, new_tags text[], steps integer, new_access_id uuid, new_secret_hash bytea,
    OUT verdict integer, OUT workflow_status text, OUT published uuid
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    caller record;
    target record;
BEGIN
    caller := enter_account(credential, requested, required);
    verdict := caller.verdict;
    IF verdict <> 200 THEN
        RETURN;
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
    INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_by, started_by_name,
                          trigger_inputs, tags, total_steps, workflow_created_by, access_id, access_secret_hash)
    VALUES (new_id, requested, of_workflow, published, target.version, new_name, 'pending', caller.principal_id,
            caller.principal_name, inputs, new_tags, steps, target.created_by, new_access_id, new_secret_hash);
    INSERT INTO event (account_id, workflow_id, instance_id, type, actor)
    VALUES (requested, of_workflow, new_id, 'instance.triggered', caller.principal_id);
    PERFORM enqueue_advance(requested, new_id, 'start', 0);
END
$$;

-- End an instance whose status is one of those that may become the new one. 409: it is another, told as `present`.
CREATE FUNCTION cancel_instance(
    credential bytea, requested uuid, required text[], of_workflow uuid, wanted uuid, allowed text[], becomes text,
    OUT verdict integer, OUT present text
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    caller record;
    moment timestamptz;
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
    moment := clock_timestamp();  -- of the write; the transaction may have waited for the lock
    UPDATE instance SET status = becomes, ended_at = moment, canceled_at = moment, last_modified_at = moment,
           canceled_by = caller.principal_id::text, sequence = sequence + 1, state = NULL
    WHERE id = wanted;
    PERFORM let_go(wanted);
    INSERT INTO event (account_id, workflow_id, instance_id, type, actor)
    VALUES (requested, of_workflow, wanted, 'instance.' || becomes, caller.principal_id);
END
$$;

-- Delete what an ended instance waited for.
CREATE FUNCTION let_go(ended uuid) RETURNS void LANGUAGE sql VOLATILE BEGIN ATOMIC
    DELETE FROM timer WHERE instance_id = ended;
    DELETE FROM signal WHERE instance_id = ended;
END;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
