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

-- verdict 200: the tenant is set for the rest of the transaction, and the rest of the row says who calls as what.
-- 401: the credential does not hold. 404: it holds, but not for this account. 403: it lacks a scope that is required.
-- Anything but 200 sets no tenant. Each look-up goes along a unique index, so one plan serves every call.
CREATE FUNCTION enter_account(
    credential bytea, requested uuid, required text[],
    OUT verdict integer, OUT account_id uuid, OUT principal_id uuid, OUT principal_name text, OUT role text
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    token record;
BEGIN
    verdict := 401;
    SELECT access_token.scopes, oauth_grant.user_id, oauth_grant.client_id, oauth_grant.narrowed_to INTO token
    FROM access_token JOIN oauth_grant ON oauth_grant.id = access_token.grant_id
    WHERE access_token.token_hash = credential AND access_token.revoked_at IS NULL
      AND access_token.expires_at > now() AND oauth_grant.revoked_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF token.client_id IS NOT NULL THEN
        SELECT client.id, client.name, 'machine', client.account_id INTO principal_id, principal_name, role, account_id
        FROM client WHERE client.id = token.client_id AND client.status = 'active';
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF token.user_id IS NOT NULL THEN  -- a client that acts for a user is that user
        SELECT app_user.id, app_user.name, membership.role, membership.account_id
        INTO principal_id, principal_name, role, account_id
        FROM app_user LEFT JOIN membership
          ON membership.user_id = app_user.id AND membership.account_id = requested AND membership.status = 'active'
        WHERE app_user.id = token.user_id AND app_user.status = 'active';
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF account_id IS DISTINCT FROM requested OR token.narrowed_to <> requested
       OR NOT EXISTS (SELECT FROM account WHERE account.id = requested AND account.status = 'active') THEN
        account_id := NULL;
        verdict := 404;
    ELSIF NOT token.scopes @> required THEN
        account_id := NULL;
        verdict := 403;
    ELSE
        verdict := 200;
        PERFORM set_config('app.account_id', requested::text, true);
    END IF;
END
$$;
REVOKE EXECUTE ON FUNCTION enter_account(bytea, uuid, text[]) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="auth", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
