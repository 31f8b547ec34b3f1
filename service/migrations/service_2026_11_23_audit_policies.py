"""Who an event's actor is and what became of an instance's status, told by the database; the indexes of the audit."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T11:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Events are attributed by the database; indexes by time and request"

FORWARDS = """
-- Of the events that are there already, who of their actors were clients and who the operator.
ALTER TABLE event NO FORCE ROW LEVEL SECURITY;
UPDATE event SET actor_kind = CASE
    WHEN actor = '00000000-0000-0000-0000-000000000000' THEN 'operator'
    WHEN EXISTS (SELECT FROM client WHERE client.account_id = event.account_id AND client.id = event.actor) THEN 'client'
    ELSE 'user' END
WHERE actor IS NOT NULL;
ALTER TABLE event FORCE ROW LEVEL SECURITY;

CREATE FUNCTION keep_previous_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.previous_status := OLD.status;
    RETURN NEW;
END
$$;
CREATE TRIGGER status_changed BEFORE UPDATE OF status ON instance FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION keep_previous_status();

-- Whoever writes an event names its actor; of which kind that is, which request asked, and what the status of an instance
-- or a work item was and is, is known here. The instance is changed before the event that tells of it is written.
CREATE FUNCTION attribute_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
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
CREATE TRIGGER attributed BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION attribute_event();

-- The audit is read by time; what it tells of accounts, people and workflows is not looked for among all instances' events.
CREATE INDEX event_by_time ON event (account_id, at DESC, id DESC);
CREATE INDEX event_of_no_instance ON event (account_id, at DESC, id DESC) WHERE instance_id IS NULL;
CREATE INDEX event_by_request ON event (account_id, request_id) WHERE request_id IS NOT NULL;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
