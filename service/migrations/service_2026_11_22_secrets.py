"""How a rotation of keys finds the accounts that have secrets."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-22T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "accounts_with_secrets"

FORWARDS = """
CREATE POLICY listed_by_owner ON secret FOR SELECT TO CURRENT_USER USING (true);

-- Name the accounts that have secrets; the secrets themselves are read account by account, as ever.
CREATE FUNCTION accounts_with_secrets() RETURNS TABLE (account_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT DISTINCT secret.account_id FROM secret ORDER BY 1;
END;
REVOKE EXECUTE ON FUNCTION accounts_with_secrets() FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
