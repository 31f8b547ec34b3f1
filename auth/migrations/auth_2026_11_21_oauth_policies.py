"""What the OAuth server may ask across accounts, one narrow function each; and `enter_account` beside suspended owners."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-21T14:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Functions of the OAuth server; indexes of its tables"

FORWARDS = """
ALTER TABLE throttle SET UNLOGGED;  -- forgetting failures in a crash harms nobody
ALTER TABLE consent ADD CONSTRAINT consent_is_somebodys CHECK (user_id IS NOT NULL OR narrowed_to IS NOT NULL);

CREATE UNIQUE INDEX consent_of_user ON consent (user_id, client_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX consent_of_account ON consent (narrowed_to, client_id) WHERE user_id IS NULL;
CREATE INDEX consent_client ON consent (client_id);
CREATE INDEX authorization_code_grant ON authorization_code (grant_id);
CREATE INDEX refresh_token_grant ON refresh_token (grant_id);
CREATE INDEX refresh_token_parent ON refresh_token (parent_id);
CREATE INDEX access_token_issued_with ON access_token (issued_with) WHERE issued_with IS NOT NULL;
CREATE INDEX login_session_user ON login_session (user_id);
CREATE INDEX known_device_user ON known_device (user_id);
CREATE INDEX authorization_request_client ON authorization_request (client_id);
CREATE INDEX client_origins ON client USING gin (origins);

-- What has ended is swept away by its time.
CREATE INDEX oauth_grant_created ON oauth_grant (created_at);
CREATE INDEX access_token_expires ON access_token (expires_at);
CREATE INDEX refresh_token_expires ON refresh_token (expires_at);
CREATE INDEX known_device_seen ON known_device (seen_at);
CREATE INDEX login_session_expires ON login_session (expires_at);
CREATE INDEX authorization_request_expires ON authorization_request (expires_at);
CREATE INDEX used_assertion_expires ON used_assertion (expires_at);
CREATE INDEX throttle_window ON throttle (window_start);

-- A client that may do anything at all, whichever account it belongs to: it is active, and so is its account.
CREATE FUNCTION live_client(wanted uuid)
RETURNS TABLE (id uuid, account_id uuid, account_name text, name text, kind text, secret_hash bytea,
               redirect_uris text[], scopes text[], public_keys text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT client.id, account.id, account.name, client.name, client.kind, client.secret_hash,
           client.redirect_uris::text[], client.scopes::text[], client.public_keys::text[]
    FROM client JOIN account ON account.id = client.account_id
    WHERE client.id = wanted AND client.status = 'active' AND account.status = 'active'
$$;

-- The accounts that a person may enter, oldest membership first; none of somebody who is suspended.
CREATE FUNCTION live_memberships(person uuid) RETURNS TABLE (account_id uuid, account_name text, role text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT account.id, account.name, membership.role
    FROM app_user JOIN membership ON membership.user_id = app_user.id JOIN account ON account.id = membership.account_id
    WHERE app_user.id = person AND app_user.status = 'active' AND membership.status = 'active'
      AND account.status = 'active'
    ORDER BY membership.created_at, membership.id
$$;

-- Whether anything of a grant still holds: it, its client, its user, and the account or accounts that it is for.
CREATE FUNCTION grant_is_live(wanted uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM oauth_grant
        WHERE oauth_grant.id = wanted AND oauth_grant.revoked_at IS NULL
          AND (oauth_grant.client_id IS NULL OR EXISTS (SELECT FROM live_client(oauth_grant.client_id)))
          AND (oauth_grant.user_id IS NULL OR EXISTS (
              SELECT FROM live_memberships(oauth_grant.user_id) AS own
              WHERE oauth_grant.narrowed_to IS NULL OR oauth_grant.narrowed_to = own.account_id))
    )
$$;

-- Whether scripts from an origin may read the answers of the token endpoint (CORS): some client's pages live there.
CREATE FUNCTION origin_is_known(wanted text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM client JOIN account ON account.id = client.account_id
                   WHERE client.origins @> ARRAY[wanted] AND client.status = 'active' AND account.status = 'active')
$$;

REVOKE EXECUTE ON FUNCTION live_client(uuid), live_memberships(uuid), grant_is_live(uuid), origin_is_known(text)
    FROM PUBLIC;

-- As before, and a client whose own account is suspended can do nothing, whoever it acts for.
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
    WHERE access_token.token_hash = credential AND access_token.revoked_at IS NULL
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
    ELSIF NOT token.scopes @> required THEN
        account_id := NULL;
        verdict := 403;
    ELSE
        verdict := 200;
        PERFORM set_config('app.account_id', requested::text, true);
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
