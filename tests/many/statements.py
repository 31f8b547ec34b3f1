"""SQL that makes an account's rows by the hundred thousand, each from its number alone, so that any part can be made apart.

$1 is the account, $2 and $3 the first and last number of the part, $4 its `Crowd` as JSON. What follows from a number stands in
functions of the session's own; the others' rows are looked for nowhere.
"""

# An identifier as the service makes them: the moment in front, then what the row is (one digit), the account, the number.
FUNCTIONS = """
CREATE FUNCTION pg_temp.moment(crowd jsonb, n bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE RETURN
    to_timestamp((crowd ->> 'begin')::float8 + (n / 3) * (crowd ->> 'step')::float8);
CREATE FUNCTION pg_temp.identifier(crowd jsonb, kind integer, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN
    (lpad(to_hex((extract(epoch FROM pg_temp.moment(crowd, n)) * 1000)::bigint), 12, '0') || '7'
     || to_hex(kind) || lpad(to_hex((crowd ->> 'place')::integer), 2, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid;
-- From 0 to 99, without a pattern.
CREATE FUNCTION pg_temp.rolled(n bigint, salt integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN
    abs(hashint8extended(n, salt) % 100)::integer;
-- The last number has a workflow of its own to itself: one instance with a very long history.
CREATE FUNCTION pg_temp.workflow_of(crowd jsonb, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN
    (crowd -> 'workflows' ->> CASE
        WHEN n % 10 = 1 THEN 1
        WHEN n % 10 = 2 THEN 0
        ELSE 2 + (abs(hashint8extended(n, 1)) % (jsonb_array_length(crowd -> 'workflows') - 2))::integer END)::uuid;
CREATE FUNCTION pg_temp.starter_of(crowd jsonb, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN
    (crowd -> 'starters' ->> CASE
        WHEN n % 10 = 1 THEN 1
        WHEN n % 10 = 2 THEN 0
        ELSE 2 + (abs(hashint8extended(n, 2)) % (jsonb_array_length(crowd -> 'starters') - 2))::integer END)::uuid;
CREATE FUNCTION pg_temp.status_of(n bigint) RETURNS text LANGUAGE sql IMMUTABLE RETURN
    CASE WHEN n % 10 = 1 THEN 'completed'
         WHEN n % 10 = 2 OR pg_temp.rolled(n, 3) < 8 THEN 'waiting'
         WHEN pg_temp.rolled(n, 3) < 10 THEN 'suspended'
         WHEN pg_temp.rolled(n, 3) < 20 THEN 'faulted'
         WHEN pg_temp.rolled(n, 3) < 28 THEN 'cancelled'
         ELSE 'completed' END;
"""

NUMBERS = "FROM jsonb_strip_nulls($4::jsonb) AS crowd, generate_series($2::bigint, $3::bigint) AS n"
OF_INSTANCE = f"""
{NUMBERS}, LATERAL (SELECT
    pg_temp.identifier(crowd, 1, n) AS instance_id, pg_temp.workflow_of(crowd, n) AS workflow_id,
    pg_temp.starter_of(crowd, n) AS starter, pg_temp.status_of(n) AS status, pg_temp.moment(crowd, n) AS moment,
    pg_temp.rolled(n, 4) AS roll OFFSET 0) AS its,
LATERAL (SELECT CASE WHEN its.status NOT IN ('waiting', 'suspended') THEN moment + (1 + roll) * interval '1 minute' END AS ended_at
         OFFSET 0) AS till
"""

INSTANCE = f"""
INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, started_at, ended_at, last_modified_at,
    started_by, started_by_name, canceled_at, trigger_inputs, tags, total_steps, last_completed_step, workflow_created_by,
    access_id, access_secret_hash, sequence, state, output, fault, current_step, restarted_as)
SELECT instance_id, $1, workflow_id, (crowd ->> 'version')::uuid, '1.' || roll % 3 || '.0',
    (ARRAY['Order ', 'Invoice ', 'Contract '])[1 + n % 3] || lpad(n::text, 8, '0'), status, moment, ended_at,
    coalesce(ended_at, moment + roll * interval '1 second'), starter, 'somebody',
    CASE WHEN status = 'cancelled' THEN ended_at END,
    jsonb_build_object('customer', n % 5000, 'region', (ARRAY['eu', 'us', 'apac'])[1 + roll % 3], 'gift', roll < 10),
    ARRAY['team:' || n % 8] || CASE WHEN roll = 0 THEN '{{vip}}'::text[] ELSE '{{}}' END, 3, 1, starter,
    instance_id, sha256(n::text::bytea), 3, CASE WHEN ended_at IS NULL THEN sha256('') || sha256('a') END,
    CASE WHEN status = 'completed' THEN '{{"approved": true}}'::bytea END,
    CASE WHEN status = 'faulted' THEN '{{"type": "https://x.example/a", "status": 500}}'::bytea END,
    CASE WHEN status <> 'completed' THEN (ARRAY['prepare', 'charge', 'close'])[1 + n % 3] END,
    CASE WHEN status IN ('faulted', 'cancelled') AND roll < 5 THEN instance_id END
{OF_INSTANCE}
"""

TERM = f"""
INSERT INTO instance_term (account_id, term, started_at, instance_id)
SELECT $1, term, moment, pg_temp.identifier(crowd, 1, n)
{NUMBERS}, LATERAL (SELECT pg_temp.moment(crowd, n) AS moment, pg_temp.rolled(n, 4) AS roll, crowd ? 'webhook' AS whole OFFSET 0) AS its,
LATERAL (VALUES
    (true, tag_term('team:' || n % 8)),
    (true, input_term('customer', to_jsonb(n % 5000))),
    (whole, CASE WHEN roll = 0 THEN tag_term('vip') END),
    (whole, input_term('region', to_jsonb((ARRAY['eu', 'us', 'apac'])[1 + roll % 3]))),
    (whole, input_term('gift', to_jsonb(roll < 10)))) AS of (kept, term)
WHERE kept AND term IS NOT NULL
"""

TASK_RUN = f"""
INSERT INTO task_run (account_id, instance_id, number, name, kind, pointer, status, input, output, error, started_at, ended_at)
SELECT $1, instance_id, number, name, 'set', '/do/' || number || '/' || name,
    CASE WHEN number < 2 AND NOT failed THEN 'completed' WHEN failed THEN 'faulted' WHEN ended_at IS NULL THEN 'running'
         WHEN status = 'cancelled' THEN 'cancelled' ELSE 'completed' END,
    '{{"who": "Ada"}}', CASE WHEN NOT failed THEN '{{"done": true}}'::json END, CASE WHEN failed THEN '{{"status": 500}}'::json END,
    moment + number * interval '1 second', ended_at
{OF_INSTANCE}, LATERAL (VALUES (0, 'prepare'), (1, 'charge'), (2, 'close')) AS task (number, name),
LATERAL (SELECT status = 'faulted' AND number = 1 + roll % 2 AS failed OFFSET 0) AS outcome
WHERE NOT (status = 'faulted' AND number > 1 + roll % 2)
"""

EVENT = f"""
INSERT INTO event (account_id, workflow_id, instance_id, type, at, actor, actor_kind, request_id, data, before, after)
SELECT $1, workflow_id, instance_id, told.type, told.at, told.actor, told.kind,
    CASE WHEN told.actor IS NOT NULL AND n % 2 = 0 THEN pg_temp.identifier(crowd, 2, n - n % 100) END, '{{}}', told.before, told.after
{OF_INSTANCE}, LATERAL (VALUES
    ('instance.started', moment, starter, CASE WHEN n % 10 = 1 THEN 'client' ELSE 'user' END, NULL::jsonb, NULL::jsonb),
    ('instance.' || status, ended_at, NULL, 'engine', '{{"status": "running"}}', jsonb_build_object('status', status))
) AS told (type, at, actor, kind, before, after)
WHERE told.at IS NOT NULL AND (crowd ? 'webhook' OR told.type = 'instance.started')
"""

# One of twenty numbers stands for something that happens to the account itself.
ACCOUNT_EVENT = f"""
INSERT INTO event (account_id, type, at, actor, actor_kind, request_id, data)
SELECT $1, (ARRAY['member.added', 'client.created', 'webhook.changed', 'secret.set'])[1 + n / 20 % 4], pg_temp.moment(crowd, n),
    pg_temp.starter_of(crowd, n), 'user', pg_temp.identifier(crowd, 2, n), jsonb_build_object(
        'user_id', pg_temp.starter_of(crowd, n), 'client_id', crowd ->> 'webhook', 'webhook_id', crowd ->> 'webhook', 'name', 'key')
{NUMBERS} WHERE n % 20 = 0
"""

OF_WORK_ITEM = f"""
{NUMBERS}, LATERAL (SELECT
    pg_temp.identifier(crowd, 3, n) AS id, pg_temp.workflow_of(crowd, n) AS workflow_id, pg_temp.moment(crowd, n) AS opened_at,
    CASE WHEN n % 10 = 1 THEN 99 WHEN n % 10 = 2 THEN 20 ELSE pg_temp.rolled(n, 5) END AS roll,
    CASE n % 4 WHEN 0 THEN crowd ->> 'email' WHEN 1 THEN crowd ->> 'person' END AS user_name, n % 4 = 2 AS of_role OFFSET 0) AS item,
LATERAL (SELECT
    CASE WHEN roll < 30 THEN 'open' WHEN roll < 40 THEN 'cancelled' WHEN roll < 45 THEN 'failed' ELSE 'completed' END AS status,
    CASE WHEN n % 7 > 0 THEN opened_at + n % 60 * interval '1 day' END AS due_at, roll < 10 AS overdue,
    ARRAY(SELECT user_name WHERE user_name IS NOT NULL) AS users, CASE WHEN of_role THEN ARRAY[crowd ->> 'role'] ELSE '{{}}' END AS roles
    OFFSET 0) AS said
"""

WORK_ITEM = f"""
INSERT INTO work_item (id, account_id, workflow_id, instance_id, wait, kind, task, pointer, title, users, roles, minimum, due_at,
    overdue, claimed_by, claimed_by_name, status, outcome, opened_at, ended_at)
SELECT id, $1, workflow_id, pg_temp.identifier(crowd, 1, CASE WHEN n % 10 = 0 THEN (crowd ->> 'longest')::bigint ELSE n END), n,
    'approval', 'sign', '/do/0/sign', 'Sign ' || n, users, roles, 1, due_at, overdue,
    CASE WHEN roll < 5 THEN (crowd ->> 'person')::uuid END, CASE WHEN roll < 5 THEN 'somebody' END, status,
    CASE WHEN status = 'completed' THEN 'approve' END, opened_at, CASE WHEN status <> 'open' THEN opened_at + interval '1 hour' END
{OF_WORK_ITEM} WHERE n % 10 < 3
"""

ASSIGNEE = f"""
INSERT INTO work_item_assignee (account_id, work_item_id, workflow_id, assignee, state, opened_at, due_at)
SELECT $1, id, workflow_id, coalesce('user:' || user_name, 'role:' || (crowd ->> 'role')),
    CASE WHEN overdue THEN 'overdue' ELSE status END, opened_at, coalesce(due_at, '9999-12-31 00:00:00+00')
{OF_WORK_ITEM} WHERE n % 10 < 3 AND (user_name IS NOT NULL OR of_role)
"""

WORK_ITEM_EVENT = f"""
INSERT INTO event (account_id, workflow_id, instance_id, type, at, actor, actor_kind, data)
SELECT $1, pg_temp.workflow_of(crowd, n), pg_temp.identifier(crowd, 1, (crowd ->> 'longest')::bigint),
    (ARRAY['work_item.claimed', 'work_item.released'])[1 + n / 20 % 2], pg_temp.moment(crowd, n), (crowd ->> 'person')::uuid, 'user',
    jsonb_build_object('work_item_id', pg_temp.identifier(crowd, 3, CASE WHEN n % 40 = 0 THEN (crowd ->> 'longest')::bigint ELSE n END))
{NUMBERS} WHERE n % 20 = 0
"""

# The longest history: one run for twenty numbers.
LONG_HISTORY = f"""
INSERT INTO task_run (account_id, instance_id, number, name, kind, pointer, iteration, status, input, output, started_at, ended_at)
SELECT $1, pg_temp.identifier(crowd, 1, (crowd ->> 'longest')::bigint), 2 + n / 20, 'turn', 'set', '/do/0/each/do/0/turn', n / 20,
    'completed', '{{"n": 1}}', '{{"n": 2}}', pg_temp.moment(crowd, n), pg_temp.moment(crowd, n)
{NUMBERS} WHERE n % 20 = 0 AND n >= 20
"""

BULK_ACTION = f"""
INSERT INTO bulk_action (id, account_id, verb, status, total, done, created_by, created_by_name, created_at, ended_at)
SELECT pg_temp.identifier(crowd, 4, n), $1, 'cancel', (ARRAY['completed', 'cancelled', 'running'])[1 + n / 20 % 3], 10, 10,
    (crowd ->> 'person')::uuid, 'somebody', pg_temp.moment(crowd, n), pg_temp.moment(crowd, n)
{NUMBERS} WHERE n % 20 = 0
"""

DELIVERY = f"""
INSERT INTO webhook_delivery (id, account_id, webhook_id, workflow_id, instance_id, type, at, data, status, attempts, next_at,
    created_at, ended_at)
SELECT pg_temp.identifier(crowd, 5, n), $1, (crowd ->> 'webhook')::uuid, pg_temp.workflow_of(crowd, n),
    pg_temp.identifier(crowd, 1, n), 'instance.started', pg_temp.moment(crowd, n), '{{}}', outcome, 1,
    CASE WHEN outcome = 'pending' THEN pg_temp.moment(crowd, n) + interval '10 years' END, pg_temp.moment(crowd, n),
    CASE WHEN outcome <> 'pending' THEN pg_temp.moment(crowd, n) END
{NUMBERS}, LATERAL (SELECT (ARRAY['delivered', 'delivered', 'failed', 'pending'])[1 + n / 5 % 4] AS outcome OFFSET 0) AS became
WHERE n % 5 = 0
"""

WORKFLOW = f"""
INSERT INTO workflow (id, account_id, namespace, name, title, status, trigger_id, created_at, created_by, modified_at, modified_by)
SELECT pg_temp.identifier(crowd, 6, n), $1, 'many', 'number-' || n, 'Number ' || n,
    (ARRAY['active', 'inactive', 'archived'])[1 + n / 50 % 3], pg_temp.identifier(crowd, 6, n), pg_temp.moment(crowd, n),
    (crowd ->> 'person')::uuid, pg_temp.moment(crowd, n), (crowd ->> 'person')::uuid
{NUMBERS} WHERE n % 50 = 0
"""

PERSON = f"""
INSERT INTO app_user (id, email, name, status)
SELECT pg_temp.identifier(crowd, 7, n), 'person-' || n || '@many' || (crowd ->> 'place') || '.example', 'Person ' || n,
    CASE WHEN n % 60 = 0 THEN 'suspended' ELSE 'active' END
{NUMBERS} WHERE n % 20 = 0 AND $1::uuid IS NOT NULL
"""
MEMBERSHIP = f"""
INSERT INTO membership (id, account_id, user_id, role, status, created_at)
SELECT pg_temp.identifier(crowd, 8, n), $1, pg_temp.identifier(crowd, 7, n),
    (ARRAY['admin', 'manager', 'sender', 'viewer'])[1 + n / 20 % 4], CASE WHEN n % 100 = 0 THEN 'removed' ELSE 'active' END,
    pg_temp.moment(crowd, n)
{NUMBERS} WHERE n % 20 = 0
"""
# An account has at most a hundred of these.
FEW = "WHERE n % 20 = 0 AND n <= 1500"
CLIENT = f"""
INSERT INTO client (id, account_id, name, kind, created_at)
SELECT pg_temp.identifier(crowd, 9, n), $1, 'Robot ' || n, 'machine', pg_temp.moment(crowd, n) {NUMBERS} {FEW}
"""
CONSENT = f"""
INSERT INTO consent (id, client_id, narrowed_to, scopes, granted_at)
SELECT pg_temp.identifier(crowd, 11, n), pg_temp.identifier(crowd, 9, n), $1, ARRAY['signature'], pg_temp.moment(crowd, n)
{NUMBERS} {FEW}
"""
INVITATION = f"""
INSERT INTO invitation (id, account_id, email, role, secret_hash, invited_by, created_at, expires_at)
SELECT pg_temp.identifier(crowd, 10, n), $1, 'guest-' || n || '@many.example', 'viewer', sha256(n::text::bytea),
    (crowd ->> 'admin')::uuid, pg_temp.moment(crowd, n), now() + interval '30 days' {NUMBERS} {FEW}
"""

# What every account has; of instances, how many there are is what counts for the table.
OF_EVERY_ACCOUNT = (INSTANCE, TERM, EVENT)
# What an account has besides whose lists are read.
OF_THE_BUSY_ONE = (
    *(TASK_RUN, WORK_ITEM, ASSIGNEE),
    *(ACCOUNT_EVENT, WORK_ITEM_EVENT, LONG_HISTORY, BULK_ACTION, DELIVERY, WORKFLOW),
    *(PERSON, MEMBERSHIP, CLIENT, CONSENT, INVITATION),
)
