"""Row-level security of invitations, and what deletes those that nobody answered; clients are listed along an index."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-24T09:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security of invitations; sweep_invitations; indexes of lists"

FORWARDS = """
ALTER TABLE invitation ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitation FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON invitation USING (account_id = (SELECT current_account()));
CREATE POLICY swept_by_owner ON invitation TO CURRENT_USER USING (true);
ALTER TABLE invitation ADD CONSTRAINT invitation_role CHECK (role IN ('admin', 'manager', 'sender', 'viewer'));

CREATE INDEX invitation_by_time ON invitation (account_id, created_at, id);
CREATE INDEX invitation_expires ON invitation (expires_at);
CREATE INDEX client_by_time ON client (account_id, created_at, id);

-- Delete invitations of every account that nobody answered in time, as they hold e-mail addresses; says how many there were.
CREATE FUNCTION sweep_invitations(most integer) RETURNS bigint
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH ended AS MATERIALIZED (
        SELECT id FROM invitation WHERE expires_at <= now() LIMIT most FOR UPDATE SKIP LOCKED
    ), gone AS (DELETE FROM invitation USING ended WHERE invitation.id = ended.id RETURNING 1)
    SELECT count(*) FROM gone;
END;
REVOKE EXECUTE ON FUNCTION sweep_invitations(integer) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="auth", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
