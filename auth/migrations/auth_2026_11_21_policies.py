"""Row-level security of clients, and the one function that checks a credential and sets the tenant."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-21T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Row-level security of clients; enter_account"

FORWARDS = """
ALTER TABLE client ENABLE ROW LEVEL SECURITY;
ALTER TABLE client FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON client USING (account_id = (SELECT current_account()));
CREATE POLICY read_by_owner ON client FOR SELECT TO CURRENT_USER USING (true);

CREATE INDEX access_token_grant ON access_token (grant_id);
CREATE INDEX oauth_grant_user ON oauth_grant (user_id);
CREATE INDEX oauth_grant_client ON oauth_grant (client_id);

-- No row: the credential does not hold (401). A row without account_id: it holds, but not for this account (404).
-- Otherwise the tenant is set for the rest of the transaction, and the row says who calls and what they may do.
CREATE FUNCTION enter_account(credential bytea, requested uuid)
    RETURNS TABLE (account_id uuid, principal_id uuid, principal_name text, role text, scopes text[])
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 1 SET search_path = public, pg_temp
AS $$
DECLARE
    token record;
BEGIN
    SELECT access_token.scopes, oauth_grant.user_id, oauth_grant.narrowed_to,
           app_user.name AS user_name, app_user.status AS user_status,
           client.id AS client_id, client.account_id AS client_account, client.name AS client_name, client.status AS client_status
    INTO token
    FROM access_token
    JOIN oauth_grant ON oauth_grant.id = access_token.grant_id
    LEFT JOIN app_user ON app_user.id = oauth_grant.user_id
    LEFT JOIN client ON client.id = oauth_grant.client_id
    WHERE access_token.token_hash = credential AND access_token.revoked_at IS NULL
      AND access_token.expires_at > now() AND oauth_grant.revoked_at IS NULL;
    IF NOT FOUND OR token.user_status <> 'active' OR token.client_status <> 'active'
       OR (token.user_id IS NULL AND token.client_id IS NULL) THEN
        RETURN;
    END IF;

    enter_account.scopes := token.scopes;
    IF token.user_id IS NULL THEN
        principal_id := token.client_id;
        principal_name := token.client_name;
        role := 'machine';
        SELECT account.id INTO enter_account.account_id FROM account
        WHERE account.id = requested AND account.id = token.client_account AND account.status = 'active';
    ELSE
        principal_id := token.user_id;
        principal_name := token.user_name;
        SELECT membership.account_id, membership.role INTO enter_account.account_id, enter_account.role
        FROM membership JOIN account ON account.id = membership.account_id
        WHERE membership.user_id = token.user_id AND membership.account_id = requested
          AND membership.status = 'active' AND account.status = 'active'
          AND (token.narrowed_to IS NULL OR token.narrowed_to = requested);
    END IF;
    PERFORM set_config('app.account_id', coalesce(enter_account.account_id::text, ''), true);
    RETURN NEXT;
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="auth", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
