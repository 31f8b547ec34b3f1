"""The events of an instance stand in the order in which they were written, for whoever reads them by transaction or by time."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-24T05:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "attribute_event: an instance's events in one order"

FORWARDS = """
-- As before, and it sees to the order of an instance's events. Who writes them holds the instance's row, so they are written
-- one after the other; but a transaction may have got its number, and has got its time, before it had to wait for that row.
-- Readers go by (written_in, id): an event that would stand before an earlier one is given the number of the transaction that
-- was the last to begin. That is none that anybody has read past, as no reader goes past a transaction that is open, and this
-- one is; and no endpoint that is there already takes it for one of the time before.
CREATE OR REPLACE FUNCTION attribute_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.at = now() THEN
        NEW.at := clock_timestamp();
    END IF;
    IF NEW.instance_id IS NOT NULL AND EXISTS (
        SELECT FROM event WHERE event.account_id = NEW.account_id AND event.instance_id = NEW.instance_id
                            AND event.written_in > NEW.written_in
    ) THEN
        NEW.written_in := (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)::text::xid8;
    END IF;
    IF NEW.actor IS NULL THEN
        NEW.actor_kind := 'engine';
    ELSIF NEW.actor = '00000000-0000-0000-0000-000000000000' THEN
        NEW.actor_kind := 'operator';
    ELSE  -- a caller, or somebody whose wish is carried out later
        NEW.actor_kind := nullif(current_setting('app.caller_kind', true), '');
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
