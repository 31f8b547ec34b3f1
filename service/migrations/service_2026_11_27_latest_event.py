"""What is written of an instance looks for the event before it where there can be one, and at one row."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-27T05:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "attribute_event: an instance's latest event alone"

FORWARDS = """
-- As before, but the event of a trigger, which is an instance's first, looks for none before it, and the others look at the latest
-- one: whether any is later has no answer in an index alone.
CREATE OR REPLACE FUNCTION attribute_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    caller text;
BEGIN
    IF NEW.at = now() THEN
        NEW.at := clock_timestamp();
    END IF;
    IF NEW.type <> 'instance.triggered' AND NEW.written_in < (
        SELECT event.written_in FROM event
        WHERE event.account_id = NEW.account_id AND event.instance_id = NEW.instance_id
        ORDER BY event.written_in DESC LIMIT 1
    ) THEN
        NEW.written_in := (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)::text::xid8;
    END IF;
    IF NEW.actor IS NULL THEN
        NEW.actor_kind := 'engine';
    ELSIF NEW.actor = '00000000-0000-0000-0000-000000000000' THEN
        NEW.actor_kind := 'operator';
    ELSE  -- a caller, or somebody whose wish is carried out later
        caller := nullif(current_setting('app.caller_kind', true), '');
        NEW.actor_kind := split_part(caller, ' ', 1);
        NEW.acting_client := nullif(split_part(caller, ' ', 2), '')::uuid;
        IF NEW.actor_kind IS NULL THEN
            NEW.actor_kind := CASE WHEN EXISTS (
                SELECT FROM client WHERE client.account_id = NEW.account_id AND client.id = NEW.actor
            ) THEN 'client' ELSE 'user' END;
        END IF;
    END IF;
    IF NEW.request_id IS NULL THEN
        NEW.request_id := nullif(current_setting('app.request_id', true), '')::uuid;
    END IF;
    IF NEW.after IS NOT NULL THEN
        RETURN NEW;
    END IF;
    IF NEW.type IN ('instance.suspended', 'instance.resumed', 'instance.completed', 'instance.faulted',
                    'instance.cancelled') THEN
        SELECT CASE WHEN previous_status IS NOT NULL THEN jsonb_build_object('status', previous_status) END,
               jsonb_build_object('status', status)
        INTO NEW.before, NEW.after
        FROM instance WHERE instance.account_id = NEW.account_id AND instance.id = NEW.instance_id;
    ELSIF NEW.type IN ('work_item.opened', 'work_item.decided', 'work_item.cancelled') THEN
        NEW.before := CASE WHEN NEW.type <> 'work_item.opened' THEN '{"status": "open"}'::jsonb END;
        NEW.after := jsonb_build_object('status', CASE NEW.type WHEN 'work_item.opened' THEN 'open'
            WHEN 'work_item.decided' THEN 'completed' ELSE 'cancelled' END);
    END IF;
    RETURN NEW;
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
