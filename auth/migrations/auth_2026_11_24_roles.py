"""Members have one of four roles, and `enter_account` also holds the caller's role against what the operation needs."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-24T01:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "enter_account asks for a role too"

FORWARDS = """
-- As before. `required` are the scopes that the token needs and, last, the roles any of which the caller needs, as one
-- text. The verdict 1403 says that the scopes suffice and the role does not.
CREATE OR REPLACE FUNCTION enter_account(
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
    WHERE access_token.token_hash = substr(credential, 1, 32) AND access_token.revoked_at IS NULL
      AND access_token.expires_at > now() AND oauth_grant.revoked_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF token.client_id IS NOT NULL THEN
        SELECT client.id, client.name, 'machine', client.account_id INTO principal_id, principal_name, role, account_id
        FROM client JOIN account ON account.id = client.account_id
        WHERE client.id = token.client_id AND client.status = 'active' AND account.status = 'active';
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
    ELSIF NOT token.scopes @> required[:cardinality(required) - 1] THEN
        account_id := NULL;
        verdict := 403;
    ELSIF role <> ALL (string_to_array(required[cardinality(required)], ' ')) THEN
        account_id := NULL;
        verdict := 1403;
    ELSE
        verdict := 200;
        PERFORM set_config('app.account_id', requested::text, true),
                set_config('app.caller_kind', CASE role WHEN 'machine' THEN 'client' ELSE 'user' END, true),
                set_config('app.request_id', encode(substr(credential, 33, 16), 'hex'), true);
    END IF;
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="auth", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
