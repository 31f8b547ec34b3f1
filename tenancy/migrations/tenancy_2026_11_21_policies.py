"""Row-level security of accounts and memberships.

The policy fails closed: without a tenant the setting is NULL or '', and nothing equals NULL. The setting is read in a
sub-select so that it is evaluated once for a statement and not once for a row. The owner may read: the function that
checks credentials runs as the owner, before any tenant is known.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-21T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security of accounts and memberships"

FORWARDS = """
CREATE FUNCTION current_account() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.account_id', true), '')::uuid;

ALTER TABLE account ENABLE ROW LEVEL SECURITY;
ALTER TABLE account FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON account USING (id = (SELECT current_account()));
CREATE POLICY read_by_owner ON account FOR SELECT TO CURRENT_USER USING (true);

ALTER TABLE membership ENABLE ROW LEVEL SECURITY;
ALTER TABLE membership FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON membership USING (account_id = (SELECT current_account()));
CREATE POLICY read_by_owner ON membership FOR SELECT TO CURRENT_USER USING (true);

CREATE INDEX membership_user ON membership (user_id, account_id);
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="tenancy", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
