"""What starts and ends instances is planned once for a connection, not anew for each call."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-27T05:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "start_instance, cancel_instance, let_go: generic plans"

# PostgreSQL guesses that a list of ids is long, thinks a plan made for a list of one far cheaper, and so plans the ten statements
# of let_go each time: 1.1 ms of a cancel's 2.3 ms in the database, where it is 0.3 ms of 1.1 ms with plans that are kept.
FORWARDS = """
DO $$
DECLARE
    one regprocedure;
BEGIN
    FOR one IN SELECT oid FROM pg_proc
        WHERE proname IN ('start_instance', 'cancel_instance', 'let_go') AND pronamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', one);
    END LOOP;
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
