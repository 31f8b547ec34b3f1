"""In which transaction an event was written: the order in which events can be read without missing any."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T01:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = (
    "Events know their transaction, so that they can be read in an order that later commits do not change"
)

# A stable default is evaluated once for the rows that are there, so nothing is rewritten; they keep the order of their ids.
FORWARDS = """
ALTER TABLE event ADD COLUMN written_in xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX event_settled ON event (account_id, written_in, id);
DROP INDEX event_by_instance;
CREATE INDEX event_by_instance ON event (account_id, instance_id, written_in, id);
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
