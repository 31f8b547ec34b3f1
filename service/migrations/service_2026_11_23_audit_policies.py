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

-- Whoever writes an event names its actor; of which kind that is, which request asked, and what an instance's status was
-- and is, is known here. The instance is changed before the event that tells of it is written.
CREATE FUNCTION attribute_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.actor_kind := CASE
        WHEN NEW.actor IS NULL THEN 'engine'
        WHEN NEW.actor = '00000000-0000-0000-0000-000000000000' THEN 'operator'
        WHEN EXISTS (SELECT FROM client WHERE client.account_id = NEW.account_id AND client.id = NEW.actor) THEN 'client'
        ELSE 'user' END;
    NEW.request_id := coalesce(NEW.request_id, nullif(current_setting('app.request_id', true), '')::uuid);
    IF NEW.after IS NULL AND NEW.type IN ('instance.triggered', 'instance.suspended', 'instance.resumed',
                                          'instance.completed', 'instance.faulted', 'instance.cancelled') THEN
        SELECT CASE WHEN previous_status IS NOT NULL THEN jsonb_build_object('status', previous_status) END,
               jsonb_build_object('status', status)
        INTO NEW.before, NEW.after
        FROM instance WHERE instance.account_id = NEW.account_id AND instance.id = NEW.instance_id;
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
