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
    workflow_created_by = UUID(default=None, null=False)
    access_id = UUID(default=None, null=False, help_text="mtid of the instance's URL")
    access_secret_hash = Bytea(default=None, null=False, secret=True, help_text="SHA-256 of mtsec")
    sequence = Integer(default=0)
    state = Bytea(null=True, default=None)
    output = Bytea(null=True, default=None, help_text="JSON text; bytes, as JSON may hold what jsonb refuses")
    fault = Bytea(null=True, default=None, help_text="JSON text of the DSL's error object")

    instance_account_id = Unique([account_id, id])


class Timer(Table):
    """When a waiting instance wants to be woken. `wait` is the interpreter's number of the wait; 0 is the expiry."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    instance_id = UUID(default=None, null=False)
    wait = Integer(default=0)
    due_at = Timestamptz(default=None, null=False, index=True)

    timer_account_instance_wait = Unique([account_id, instance_id, wait])


class Signal(Table):
    """An event sent to one instance that no `listen` has taken yet."""

    id = UUID(primary_key=True)
    account_id = UUID(default=None, null=False)
    instance_id = UUID(default=None, null=False)
    event_key = Text(help_text="source and id of the event, so that a repeated one is kept once")
    event = Bytea(default=None, null=False, help_text="JSON text of the CloudEvent")
    received_at = Timestamptz(default=TimestamptzNow())

    signal_account_instance_event = Unique([account_id, instance_id, event_key])


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
    data = JSONB(default="{}")
