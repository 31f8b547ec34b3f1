"""The workflow product's rows. Every table is account-owned: row-level security is forced on all of them.

Unique keys and foreign keys begin with `account_id`; the composite ones that Piccolo has no words for stand in the
migrations. Instances and what belongs to them refer to the account through those alone: a foreign key of their own would
lock the account's row in every transaction. Identifiers are UUIDs; the ones made in bulk are version 7, so that new rows stay together in their indexes.
"""

from piccolo.columns import (
    JSON,
    JSONB,
    UUID,
    Array,
    BigInt,
    BigSerial,
    Boolean,
    Bytea,
    ForeignKey,
    Integer,
    Text,
    Timestamptz,
)
from piccolo.columns.base import OnDelete
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.constraints import Unique
from piccolo.table import Table

from tenancy.tables import Account


class Workflow(Table):
    """A workflow: one (namespace, name) of an account, with versions below it."""

    id = UUID(primary_key=True)
    account_id = ForeignKey(Account, null=False, default=None, on_delete=OnDelete.cascade)
    namespace = Text()
    name = Text(help_text="document.name")
    title = Text(help_text="what the dialects show as its name: document.title, else document.name")
    status = Text(default="inactive", help_text="inactive, active or archived")
    paused = Boolean(default=False)
    trigger_id = UUID(default=None, null=False)
    active_version_id = UUID(null=True, default=None, help_text="the version that a trigger starts")
    latest_version_id = UUID(null=True, default=None, help_text="the version that the next publish activates")
    created_at = Timestamptz(default=TimestamptzNow())
    created_by = UUID(default=None, null=False)
    modified_at = Timestamptz(default=TimestamptzNow())
    modified_by = UUID(default=None, null=False)

    workflow_account_id = Unique([account_id, id])
    workflow_account_name = Unique([account_id, namespace, name])


class WorkflowVersion(Table):
    """One definition of a workflow; immutable once published. `number` orders them as they were stored."""

    id = UUID(primary_key=True)
    account_id = ForeignKey(Account, null=False, default=None, on_delete=OnDelete.cascade)
    workflow_id = UUID(default=None, null=False)
    number = Integer(default=None, null=False)
    version = Text(help_text="document.version")
    document = JSON(help_text="the definition as JSON, its keys in the author's order")
    source = Text(help_text="the author's own text")
    source_format = Text(default="json", help_text="json or yaml")
    created_at = Timestamptz(default=TimestamptzNow())
    created_by = UUID(default=None, null=False)
    published_at = Timestamptz(null=True, default=None)
    warnings = JSON(
        default="[]", help_text="what the check found odd: problems with code, message and pointer"
    )

    workflow_version_account_workflow_id = Unique([account_id, workflow_id, id])
    workflow_version_number = Unique([account_id, workflow_id, number])
    workflow_version_name = Unique([account_id, workflow_id, version])


class Instance(Table):
    """One run of a workflow version. `state` belongs to the interpreter, `sequence` counts its changes."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    workflow_id = UUID(default=None, null=False)
    version_id = UUID(default=None, null=False)
    version = Text()
    name = Text()
    status = Text(
        help_text="a phase of the DSL: pending, running, waiting, suspended, completed, faulted, cancelled"
    )
    started_at = Timestamptz(default=TimestamptzNow())
    started_by = UUID(default=None, null=False)
    started_by_name = Text()
    started_by_role = Text(default="Preparer")
    ended_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(null=True, default=None)
    last_modified_at = Timestamptz(default=TimestamptzNow())
    canceled_at = Timestamptz(null=True, default=None)
    canceled_by = Text(null=True, default=None)
    trigger_inputs = JSONB(default="{}")
    tags = Array(base_column=Text(), default=list)
    total_steps = Integer(default=0)
    last_completed_step = Integer(default=0)
    last_completed_step_name = Text(null=True, default=None)
    current_step = Text(
        null=True,
        default=None,
        help_text="the task of the root list at which it is, failed or was stopped; none when completed",
    )
    workflow_created_by = UUID(default=None, null=False)
    access_id = UUID(default=None, null=False, help_text="mtid of the instance's URL")
    access_secret_hash = Bytea(default=None, null=False, secret=True, help_text="SHA-256 of mtsec")
    sequence = Integer(default=0)
    state = Bytea(null=True, default=None)
    output = Bytea(null=True, default=None, help_text="JSON text; bytes, as JSON may hold what jsonb refuses")
    fault = Bytea(null=True, default=None, help_text="JSON text of the DSL's error object")
    parent_id = UUID(null=True, default=None, help_text="the instance whose `run` task awaits this one")
    parent_wait = Integer(null=True, default=None, help_text="the number under which it awaits this one")
    depth = Integer(default=0, help_text="how many workflows stand above this one")
    schedule_id = UUID(null=True, default=None, help_text="the schedule that started it")
    suspended_at = Timestamptz(
        null=True, default=None, help_text="since when it is suspended; none if it is not"
    )
    cancel_reason = Text(null=True, default=None)
    restarted_from = UUID(null=True, default=None, help_text="the instance that this one repeats")
    restarted_as = UUID(
        null=True, default=None, help_text="the instance that repeats this one, the latest of them"
    )
    previous_status = Text(
        null=True, default=None, help_text="written by the database when the status changes"
    )

    instance_account_id = Unique([account_id, id])


class TaskRun(Table):
    """The history: one row for each task that an instance entered, numbered in the order in which they began.

    Large values are cut: `cut` then names the field, how many bytes it had, and the field holds a text, its beginning.
    """

    id = BigSerial(primary_key=True)
    account_id = UUID(default=None, null=False)
    instance_id = UUID(default=None, null=False)
    number = Integer(default=None, null=False)
    name = Text()
    kind = Text(help_text="the task's key in the definition: call, do, emit, for, ...")
    pointer = Text(help_text="JSON Pointer into the definition")
    iteration = Integer(null=True, default=None)
    attempt = Integer(default=1)
    status = Text(help_text="running, skipped, completed, faulted or cancelled")
    input = JSON(null=True, default=None)
    output = JSON(null=True, default=None)
    error = JSON(null=True, default=None)
    cut = JSON(null=True, default=None, help_text="field: bytes that it had")
    started_at = Timestamptz(default=None, null=False)
    ended_at = Timestamptz(null=True, default=None)

    task_run_number = Unique([account_id, instance_id, number])


class Job(Table):
    """What a worker is to do next: advance an instance, or perform what it wants from outside.

    `leased_until` keeps it from others while one works on it, and from all until then when it is to be tried again later.
    It is deleted by the transaction that stores what came of it.
    """

    id = BigSerial(primary_key=True)
    account_id = UUID(default=None, null=False)
    instance_id = UUID(null=True, default=None)
    lane = Text(
        help_text="advance: the interpreter's; perform: what goes outside and may take its time; held: nobody's, as the"
        " instance is suspended"
    )
    reason = Text()
    wait = Integer(default=0)
    payload = Bytea(null=True, default=None, help_text="JSON text")
    position = UUID(null=True, default=None, help_text="publish: the last instance that was given the event")
    attempts = Integer(default=0)
    leased_until = Timestamptz(null=True, default=None)
    queued_at = Timestamptz(default=TimestamptzNow())


class Listener(Table):
    """That a waiting instance takes events of the account: of this type, or of any."""

    id = BigSerial(primary_key=True)
    account_id = UUID(default=None, null=False)
    instance_id = UUID(default=None, null=False)
    wait = Integer(default=0)
    type = Text(null=True, default=None)


class WorkItem(Table):
    """What an instance asks of people: an approval or a form, open until it is decided or no longer wanted."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    workflow_id = UUID(default=None, null=False)
    instance_id = UUID(default=None, null=False)
    wait = Integer(default=None, null=False, help_text="the number under which the instance awaits it")
    kind = Text(help_text="approval or form")
    task = Text(help_text="the task's name")
    pointer = Text(help_text="JSON Pointer of the task")
    title = Text()
    description = Text(null=True, default=None)
    users = Array(base_column=Text(), default=list, help_text="ids or e-mail addresses, in lower case")
    roles = Array(base_column=Text(), default=list)
    outcomes = JSON(default="[]", help_text="name, label and comment of each; the first is the positive one")
    minimum = Integer(default=1)
    data = JSON(null=True, default=None)
    form = JSON(null=True, default=None, help_text="JSON Schema of the fields that an answer carries")
    due_at = Timestamptz(null=True, default=None)
    overdue = Boolean(default=False)
    overdue_outcome = Text(null=True, default=None, help_text="what the passing of the date decides")
    excluded = UUID(null=True, default=None, help_text="who may not decide: the starter")
    claimed_by = UUID(null=True, default=None, help_text="the user who alone may answer it")
    claimed_by_name = Text(null=True, default=None)
    claimed_at = Timestamptz(null=True, default=None)
    status = Text(default="open", help_text="open, completed or cancelled")
    outcome = Text(null=True, default=None)
    output = JSON(null=True, default=None, help_text="the task's output")
    opened_at = Timestamptz(default=TimestamptzNow())
    ended_at = Timestamptz(null=True, default=None)

    work_item_account_id = Unique([account_id, id])
    work_item_wait = Unique([account_id, instance_id, wait])


class WorkItemAssignee(Table):
    """One user or role that a work item is assigned to, written by the database itself whenever the work item changes.

    People's lists are read along it, as no index of arrays gives rows in an order.
    """

    id = BigSerial(primary_key=True)
    account_id = UUID(default=None, null=False)
    work_item_id = UUID(default=None, null=False)
    workflow_id = UUID(default=None, null=False)
    assignee = Text(help_text="user: and an id or e-mail address, or role: and a role")
    state = Text(help_text="the work item's status; overdue for one that is open and late")
    opened_at = Timestamptz(default=None, null=False)
    due_at = Timestamptz(default=None, null=False, help_text="the end of 9999 where there is no date")
    excluded = UUID(null=True, default=None)

    work_item_assignee_once = Unique([account_id, work_item_id, assignee])


class Decision(Table):
    """One person's answer to a work item."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    work_item_id = UUID(default=None, null=False)
    user_id = UUID(default=None, null=False)
    user_name = Text()
    user_email = Text(null=True, default=None)
    outcome = Text(null=True, default=None)
    comment = Text(null=True, default=None)
    fields = JSON(null=True, default=None)
    at = Timestamptz(default=TimestamptzNow())

    decision_person = Unique([account_id, work_item_id, user_id])


class Secret(Table):
    """A value that definitions of the account may use and nobody may read."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    name = Text()
    ciphertext = Bytea(default=None, null=False, secret=True)
    created_at = Timestamptz(default=TimestamptzNow())
    modified_at = Timestamptz(default=TimestamptzNow())

    secret_name = Unique([account_id, name])


class Schedule(Table):
    """When a workflow's published version starts by itself."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    workflow_id = UUID(default=None, null=False)
    version_id = UUID(default=None, null=False)
    kind = Text(help_text="every, cron, after or on")
    next_at = Timestamptz(null=True, default=None, index=True)
    pause = Text(null=True, default=None, help_text="after: the ISO 8601 duration after an instance's end")
    state = Bytea(null=True, default=None, help_text="on: JSON text of what has been taken so far")
    types = Array(
        base_column=Text(),
        null=True,
        default=None,
        help_text="on: the types of events it wants; none for any",
    )
    paused = Boolean(default=False, help_text="that its workflow is")
    started_by = UUID(default=None, null=False)
    started_by_name = Text()

    schedule_workflow = Unique([account_id, workflow_id])


class Timer(Table):
    """When a waiting instance wants to be woken. `wait` is the interpreter's number of the wait; 0 is the expiry."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    instance_id = UUID(default=None, null=False)
    wait = Integer(default=0)
    due_at = Timestamptz(default=None, null=False, index=True)
    reason = Text(default="timer", help_text="timer, or due: a work item's date")

    timer_account_instance_wait = Unique([account_id, instance_id, wait])


class Signal(Table):
    """An event sent to one instance that no `listen` has taken yet.

    One that was sent to the instance itself is kept until one does, one of the account is offered once.
    """

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    instance_id = UUID(default=None, null=False)
    event_key = Text(help_text="source and id of the event, so that a repeated one is kept once")
    event = Bytea(default=None, null=False, help_text="JSON text of the CloudEvent")
    kept = Boolean(default=True, help_text="false: to be dropped when the instance has looked at it")
    received_at = Timestamptz(default=TimestamptzNow())

    signal_account_instance_event = Unique([account_id, instance_id, event_key])


class TakenEvent(Table):
    """That an instance has taken an event, so that the same one again is not given to it; the latest 1,000 are known."""

    id = BigSerial(primary_key=True)
    account_id = UUID(default=None, null=False)
    instance_id = UUID(default=None, null=False)
    event_key = Text(help_text="source and id of the event, as a signal has them")

    taken_event_key = Unique([account_id, instance_id, event_key])


class TriggerKey(Table):
    """What a trigger is recognised by when it comes again; see `operations.idempotency`."""

    id = BigSerial(primary_key=True)
    account_id = UUID(default=None, null=False)
    workflow_id = UUID(default=None, null=False)
    caller_id = UUID(default=None, null=False, help_text="the user or client that triggered")
    key_hash = Bytea(default=None, null=False, help_text="SHA-256 of the key, or of what an SDK sends again")
    fingerprint = Bytea(default=None, null=False, help_text="SHA-256 of the request's body")
    kept = Boolean(default=True, help_text="false: only until the answer has been handed over")
    instance_id = UUID(default=None, null=False)
    access_id = UUID(default=None, null=False)
    seed = Bytea(default=None, null=False, secret=True, help_text="half of what makes the URL's secret")
    made_at = Timestamptz(default=TimestamptzNow())
    expires_at = Timestamptz(default=None, null=False, index=True)

    trigger_key_caller = Unique([account_id, workflow_id, caller_id, key_hash])


class BulkAction(Table):
    """One verb for many instances, done in the background; `total` counts them, the others how far it is."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    verb = Text(help_text="cancel or restart")
    options = JSONB(default="{}", help_text="the verb's: a reason, or a version and a task")
    filters = JSONB(default="{}", help_text="what its instances were chosen by, as the caller said it")
    status = Text(default="running", help_text="running, completed or cancelled")
    total = Integer(default=0)
    done = Integer(default=0)
    skipped = Integer(default=0, help_text="whose state did not allow it any more")
    failed = Integer(default=0, help_text="where something went wrong, which the log tells")
    created_by = UUID(default=None, null=False)
    created_by_name = Text()
    created_at = Timestamptz(default=TimestamptzNow())
    ended_at = Timestamptz(null=True, default=None)
    leased_until = Timestamptz(
        default=TimestamptzNow(), help_text="before which no worker takes a batch of it"
    )

    bulk_action_account_id = Unique([account_id, id])


class BulkTarget(Table):
    """An instance that a bulk action has still to do."""

    id = BigSerial(primary_key=True)
    account_id = UUID(default=None, null=False)
    bulk_action_id = UUID(default=None, null=False)
    instance_id = UUID(default=None, null=False)

    bulk_target_instance = Unique([account_id, bulk_action_id, instance_id])


class Event(Table):
    """What happened, written in the transaction that did it: history, audit and outbox read it.

    It refers to nothing by a foreign key: what it tells of may be deleted, the telling stays.
    """

    id = BigSerial(primary_key=True)
    account_id = UUID(default=None, null=False)
    workflow_id = UUID(null=True, default=None)
    instance_id = UUID(null=True, default=None)
    type = Text()
    at = Timestamptz(default=TimestamptzNow())
    actor = UUID(null=True, default=None, help_text="user or client; none for the engine itself")
    actor_kind = Text(
        default="engine", help_text="user, client, operator or engine; the database finds out which"
    )
    acting_client = UUID(null=True, default=None, help_text="the client that acted for the user")
    request_id = UUID(null=True, default=None, help_text="the request that asked for it")
    data = JSONB(default="{}")
    before = JSONB(null=True, default=None, help_text="of the fields that changed, what they were")
    after = JSONB(null=True, default=None, help_text="what they are")


class Webhook(Table):
    """An endpoint of the account's own that is told of events.

    The database alone keeps how far its events have been read (`read_in`, `read_to`), and the snapshot since which they
    concern it (`since`). A deleted one stays, seen by nobody, until its deliveries are gone.
    """

    id = UUID(primary_key=True)
    account_id = ForeignKey(Account, null=False, default=None, on_delete=OnDelete.cascade)
    url = Text()
    description = Text(null=True, default=None)
    format = Text(help_text="standard or connect")
    event_types = Array(base_column=Text(), default=list, help_text="none for all")
    workflow_ids = Array(base_column=UUID(), default=list, help_text="none for all")
    secret = Bytea(default=None, null=False, secret=True, help_text="sealed")
    previous_secret = Bytea(null=True, default=None, secret=True, help_text="sealed")
    previous_until = Timestamptz(null=True, default=None, help_text="until when the one before signs too")
    enabled = Boolean(default=True)
    disabled_at = Timestamptz(null=True, default=None)
    disabled_because = Text(null=True, default=None, help_text="asked, failing or gone")
    failures = Integer(default=0, help_text="attempts that have failed since the last that did not")
    failing_since = Timestamptz(null=True, default=None)
    deleted_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    created_by = UUID(default=None, null=False)
    modified_at = Timestamptz(default=TimestamptzNow())
    modified_by = UUID(default=None, null=False)

    webhook_account_id = Unique([account_id, id])


class WebhookDelivery(Table):
    """One event on its way to one endpoint, and the log of it when it has ended.

    `next_at` says when it may be claimed; none while an earlier one of its instance is to be sent, and when it has ended.
    """

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    webhook_id = UUID(default=None, null=False)
    place = BigSerial(help_text="the order of an instance's deliveries to an endpoint")
    workflow_id = UUID(null=True, default=None)
    instance_id = UUID(null=True, default=None)
    type = Text()
    at = Timestamptz(default=None, null=False, help_text="of the event")
    data = JSON(default="{}", help_text="the event's")
    status = Text(default="pending", help_text="pending, delivered or failed")
    aside = Boolean(default=False, help_text="that nothing waits for it: a ping, or one that is sent again")
    attempts = Integer(default=0, help_text="how often it has been claimed")
    tries = Integer(default=0, help_text="how many attempts have failed since it was last asked for")
    next_at = Timestamptz(null=True, default=None)
    leased_until = Timestamptz(null=True, default=None)
    created_at = Timestamptz(default=TimestamptzNow())
    ended_at = Timestamptz(null=True, default=None)

    webhook_delivery_account_id = Unique([account_id, id])


class WebhookAttempt(Table):
    """One attempt to deliver: what came of it, and how an answer began that was no success."""

    id = BigSerial(primary_key=True)
    account_id = UUID(default=None, null=False)
    delivery_id = UUID(default=None, null=False)
    number = Integer(default=None, null=False)
    at = Timestamptz(default=None, null=False)
    duration_ms = Integer(default=0)
    status_code = Integer(null=True, default=None)
    error = Text(null=True, default=None, help_text="status, communication, timeout, authorization, ...")
    answer = Text(null=True, default=None, help_text="at most 1,024 characters")

    webhook_attempt_number = Unique([account_id, delivery_id, number])


class AccountSettings(Table):
    """What an account's administrators have set; no row: everything is kept for ever.

    The database alone keeps when its rows are looked at next for what has been kept long enough (`sweep_at`).
    """

    account_id = UUID(primary_key=True, default=None)
    instance_retention_days = Integer(null=True, default=None, help_text="after an instance's end")
    event_retention_days = Integer(null=True, default=None)
    sweep_at = Timestamptz(default=TimestamptzNow(), index=True)


class AccountLimits(Table):
    """What the operator has limited an account to; null: it is not limited. Processes read what has changed lately."""

    account_id = UUID(primary_key=True, default=None)
    requests_per_second = Integer(null=True, default=None)
    burst = Integer(null=True, default=None, help_text="requests that may come at once")
    running_instances = Integer(null=True, default=None)
    stored_bytes = BigInt(null=True, default=None)
    measured_bytes = BigInt(null=True, default=None, help_text="what was stored when it was last measured")
    measured_at = Timestamptz(null=True, default=None)
    measure_at = Timestamptz(default=TimestamptzNow(), help_text="before which nobody measures it")


class EventTrigger(Table):
    """What starts an instance of a workflow whenever an event of a kind comes. A deleted one stays for its occurrences."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    workflow_id = UUID(default=None, null=False)
    name = Text(null=True, default=None)
    event = Text(help_text="the type of the events it takes")
    version = Text(null=True, default=None, help_text="of the events; none for any")
    filter = Text(null=True, default=None, help_text="an expression of expr-lang over `event`")
    vars = JSON(default="{}", help_text="the expression of each variable that the workflow gets")
    created_at = Timestamptz(default=TimestamptzNow())
    created_by = UUID(default=None, null=False)
    created_by_name = Text(help_text="in whose name instances are started")
    deleted_at = Timestamptz(null=True, default=None)

    event_trigger_account_id = Unique([account_id, id])


class TriggerOccurrence(Table):
    """That a trigger has met an event: the instance that it started, or why it started none."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    trigger_id = UUID(default=None, null=False)
    event_key = Text(help_text="what the event is recognised by when it comes again")
    event = JSON(default="{}", help_text="the whole envelope")
    at = Timestamptz(default=TimestamptzNow())
    instance_id = UUID(null=True, default=None)
    error = Text(null=True, default=None)

    trigger_occurrence_event = Unique([account_id, trigger_id, event_key])


class DefinitionKey(Table):
    """What a definition of the Keyfactor dialect is for: a type of workflow and a key, of which one definition has each."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    workflow_id = UUID(default=None, null=False)
    workflow_type = Text(help_text="Enrollment, Revocation, ...")
    key = Text(help_text="of a template, a collection or an alert, as whoever starts instances names it")

    definition_key_key = Unique([account_id, workflow_type, key])
