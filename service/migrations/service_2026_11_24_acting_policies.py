"""`enter_account` says which client acts for a user, and events of its transaction tell it."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-24T13:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "enter_account and attribute_event: the client that acts for a user"

# Both at once: one without the other would take the client's id for a part of the actor's kind.
FORWARDS = """
-- As before, and the setting app.caller_kind of a user for whom a client acts names that client behind a blank. `required` are the scopes that the token needs and, last, the roles any of which the caller needs, as one
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
                set_config('app.caller_kind', CASE WHEN role = 'machine' THEN 'client'
                    ELSE concat_ws(' ', 'user', token.client_id) END, true),
                set_config('app.request_id', encode(substr(credential, 33, 16), 'hex'), true);
    END IF;
END
$$;

-- As before (see the order of an instance's events there), and who acts for a caller is told.
CREATE OR REPLACE FUNCTION attribute_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    caller text;
BEGIN
    IF NEW.at = now() THEN
        NEW.at := clock_timestamp();
    END IF;
    IF NEW.instance_id IS NOT NULL AND EXISTS (
        SELECT FROM event WHERE event.account_id = NEW.account_id AND event.instance_id = NEW.instance_id
                            AND event.written_in > NEW.written_in
    ) THEN
        NEW.written_in := (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)::text::xid8;
    END IF;
    IF NEW.actor IS NULL THEN
        NEW.actor_kind := 'engine';
    ELSIF NEW.actor = '00000000-0000-0000-0000-000000000000' THEN
        NEW.actor_kind := 'operator';
    ELSE  -- a caller, or somebody whose wish is carried out later
        caller := nullif(current_setting('app.caller_kind', true), '');
        NEW.actor_kind := split_part(caller, ' ', 1);
        NEW.acting_client := nullif(split_part(caller, ' ', 2), '')::uuid;
        IF NEW.actor_kind IS NULL THEN
            NEW.actor_kind := CASE WHEN EXISTS (
                SELECT FROM client WHERE client.account_id = NEW.account_id AND client.id = NEW.actor
            ) THEN 'client' ELSE 'user' END;
        END IF;
    END IF;
    IF NEW.request_id IS NULL THEN
        NEW.request_id := nullif(current_setting('app.request_id', true), '')::uuid;
    END IF;
    IF NEW.after IS NOT NULL THEN
        RETURN NEW;
    END IF;
    IF NEW.type IN ('instance.suspended', 'instance.resumed', 'instance.completed', 'instance.faulted',
                    'instance.cancelled') THEN
        SELECT CASE WHEN previous_status IS NOT NULL THEN jsonb_build_object('status', previous_status) END,
               jsonb_build_object('status', status)
        INTO NEW.before, NEW.after
        FROM instance WHERE instance.account_id = NEW.account_id AND instance.id = NEW.instance_id;
    ELSIF NEW.type IN ('work_item.opened', 'work_item.decided', 'work_item.cancelled') THEN
        NEW.before := CASE WHEN NEW.type <> 'work_item.opened' THEN '{"status": "open"}'::jsonb END;
        NEW.after := jsonb_build_object('status', CASE NEW.type WHEN 'work_item.opened' THEN 'open'
            WHEN 'work_item.decided' THEN 'completed' ELSE 'cancelled' END);
    END IF;
    RETURN NEW;
END
$$;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
