"""Where a token can be used, for dialects whose paths name no account."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-25T03:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "token_reach"

FORWARDS = """
-- The scopes of a token that holds, and the accounts that it can be used on, two at the most: whoever needs the one is
-- told whether there are more. It proves nothing: `enter_account` looks at all of it again.
CREATE FUNCTION token_reach(wanted bytea) RETURNS TABLE (scopes text[], accounts uuid[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT access_token.scopes::text[], ARRAY(
        SELECT own.account_id
        FROM (SELECT live_client.account_id FROM live_client(oauth_grant.client_id) WHERE oauth_grant.user_id IS NULL
              UNION ALL
              SELECT live_memberships.account_id FROM live_memberships(oauth_grant.user_id)) AS own
        WHERE oauth_grant.narrowed_to IS NULL OR oauth_grant.narrowed_to = own.account_id
        LIMIT 2)
    FROM access_token JOIN oauth_grant ON oauth_grant.id = access_token.grant_id
    WHERE access_token.token_hash = wanted AND access_token.revoked_at IS NULL AND access_token.expires_at > now()
      AND oauth_grant.revoked_at IS NULL
$$;
REVOKE EXECUTE ON FUNCTION token_reach(bytea) FROM PUBLIC;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="auth", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
