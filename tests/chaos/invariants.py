"""What must be true when everything has ended, each by a name, a sentence, and a statement that finds what breaks it.

A statement gives rows of an instance's id, if there is one, and what is wrong. It reads the service's tables, and what
those outside have written down (`evidence.py`): acknowledged, sent, called, heard, shown, expected, kind.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec

from service.operations.webhooks import CONNECT
from service.piccolo_app import APP_CONFIG
from tests.chaos.mix import ASK

COLUMNS = {
    table._meta.tablename: {column._meta.db_column_name for column in table._meta.columns}
    for table in APP_CONFIG.table_classes
}
ENDS = "('instance.completed', 'instance.faulted', 'instance.cancelled')"
AFTERWARDS = "('instance.restarted', 'instance.deleted')"
STARTS = "('trigger', 'run')"
DELETED = "EXISTS (SELECT FROM sent WHERE verb = 'delete' AND sent.subject = acknowledged.instance_id::text)"


class Invariant(msgspec.Struct, frozen=True):
    """What must be true, what is held against what to see it, and the statement that finds where it is not."""

    name: str
    sentence: str
    held_against: str
    statement: str


class Violation(msgspec.Struct, frozen=True):
    """Where an invariant does not hold."""

    invariant: str
    instance_id: UUID | None
    told: str


def stranger_rows() -> str:
    """Find rows that belong to another account than the instance or the workflow that they are about."""
    parts = [
        f"SELECT one.{owner}_id, '{name} ' || one.id::text || ' is of another account' FROM {name} AS one"
        f" JOIN {owner} ON {owner}.id = one.{owner}_id WHERE {owner}.account_id <> one.account_id"
        for name, columns in COLUMNS.items()
        for owner in ("instance", "workflow")
        if {"account_id", f"{owner}_id"} <= columns and name != owner
    ]
    return " UNION ALL ".join(parts)


def acknowledged(verbs: str, there: str, told: str) -> str:
    """Find what was acknowledged of some verbs and has not had its effect."""
    return f"""
        SELECT instance_id, verb || ' ' || subject || ' {told}' FROM acknowledged
        WHERE verb IN {verbs} AND NOT EXISTS ({there})"""


INVARIANTS = (
    Invariant(
        "starts-kept",
        "Every acknowledged start has its instance, of its account and workflow, with the inputs that were sent.",
        "the client's log against instances",
        f"""
        SELECT acknowledged.instance_id, 'the start of ' || subject || ' is lost' FROM acknowledged
        WHERE verb IN {STARTS} AND NOT {DELETED} AND NOT EXISTS (
            SELECT FROM instance JOIN kind USING (account_id, workflow_id)
            WHERE instance.account_id = acknowledged.account_id AND instance.id = acknowledged.instance_id
              AND kind.name = acknowledged.kind AND trigger_inputs = acknowledged.inputs)
        UNION ALL
        SELECT NULL, 'the start of ' || subject || ' is lost' FROM acknowledged
        WHERE verb = 'publish' AND NOT EXISTS (
            SELECT FROM instance JOIN kind USING (account_id, workflow_id)
            WHERE instance.account_id = acknowledged.account_id AND kind.name = acknowledged.kind
              AND trigger_inputs = acknowledged.inputs)""",
    ),
    Invariant(
        "one-per-key",
        "No start has two instances, however often its key was sent; nothing was started that nobody asked for.",
        "instances by the number that each start carries, the client's log",
        """
        SELECT min(instance.id::text)::uuid, kind.name || ' ' || (trigger_inputs ->> 'number') || ': ' || count(*)
        FROM instance JOIN kind USING (account_id, workflow_id)
        WHERE parent_id IS NULL AND restarted_from IS NULL
        GROUP BY account_id, kind.name, trigger_inputs ->> 'number' HAVING count(*) > 1
        UNION ALL
        SELECT instance.id, kind.name || ' was not asked for' FROM instance JOIN kind USING (account_id, workflow_id)
        WHERE parent_id IS NULL AND restarted_from IS NULL AND NOT EXISTS (
            SELECT FROM sent WHERE verb IN ('trigger', 'run', 'publish')
              AND subject = kind.name || ' ' || (trigger_inputs ->> 'number'))
        UNION ALL
        SELECT id, 'is a restart that was not asked for' FROM instance
        WHERE restarted_from IS NOT NULL AND NOT EXISTS (
            SELECT FROM sent WHERE verb = 'restart' AND subject = restarted_from::text)""",
    ),
    Invariant(
        "cancels-kept",
        "Every instance whose cancel, abort or stop was acknowledged is cancelled.",
        "the client's log against instances",
        acknowledged(
            "('cancel')",
            "SELECT FROM instance WHERE id = acknowledged.instance_id AND status = 'cancelled'",
            "has not happened",
        ),
    ),
    Invariant(
        "signals-kept",
        "Every instance whose event was acknowledged has gone on by it: nothing else lets it complete.",
        "the client's log against instances",
        acknowledged(
            "('signal')",
            "SELECT FROM instance WHERE id = acknowledged.instance_id AND status = 'completed'",
            "was not taken",
        ),
    ),
    Invariant(
        "decisions-kept",
        "Every acknowledged answer to a work item stands, once, in the name of who gave it, and has decided it.",
        "the client's log against decisions and work items",
        acknowledged(
            "('complete')",
            """SELECT FROM decision JOIN work_item ON work_item.id = work_item_id
               WHERE decision.work_item_id = acknowledged.subject::uuid AND decision.user_id = acknowledged.actor
                 AND decision.outcome = acknowledged.outcome AND work_item.status = 'completed'""",
            "is lost",
        ),
    ),
    Invariant(
        "holds-kept",
        "Every acknowledged suspension and resume has happened.",
        "the client's log against events",
        acknowledged(
            "('suspend', 'resume')",
            """SELECT FROM event WHERE event.instance_id = acknowledged.instance_id
               AND event.type = 'instance.' || acknowledged.verb || CASE verb WHEN 'suspend' THEN 'ed' ELSE 'd' END""",
            "has not happened",
        ),
    ),
    Invariant(
        "restarts-kept",
        "Every acknowledged restart has one new instance, which names the old one, is named by it, and has its inputs.",
        "the client's log against both instances",
        acknowledged(
            "('restart')",
            """SELECT FROM instance JOIN instance AS old ON old.id = instance.restarted_from
               WHERE instance.id = acknowledged.made AND old.id = acknowledged.instance_id
                 AND old.restarted_as = acknowledged.made AND old.trigger_inputs = instance.trigger_inputs""",
            "is lost",
        )
        + """
        UNION ALL
        SELECT restarted_from, 'was restarted ' || count(*) || ' times' FROM instance
        WHERE restarted_from IS NOT NULL GROUP BY restarted_from HAVING count(*) > 1""",
    ),
    Invariant(
        "deletions-kept",
        "Every instance whose deletion was acknowledged is gone, and nothing is left of it but events.",
        "the client's log against instances, history and events",
        """
        SELECT instance_id, 'is still there' FROM acknowledged
        WHERE verb = 'delete' AND (EXISTS (SELECT FROM instance WHERE id = acknowledged.instance_id)
            OR EXISTS (SELECT FROM task_run WHERE task_run.instance_id = acknowledged.instance_id)
            OR NOT EXISTS (SELECT FROM event WHERE event.instance_id = acknowledged.instance_id
                           AND type = 'instance.deleted'))""",
    ),
    Invariant(
        "all-ended",
        "Every instance has come to an end.",
        "instances",
        """
        SELECT id, 'has not ended: ' || status FROM instance
        WHERE ended_at IS NULL OR status NOT IN ('completed', 'faulted', 'cancelled')""",
    ),
    Invariant(
        "ended-as-defined",
        "Every instance ended as its definition and its inputs say: its status, its output, the length of its history.",
        "instances and history against what inputs and definition foretell",
        """
        SELECT instance.id, status || ' with ' || coalesce(convert_from(instance.output, 'UTF8'), 'nothing') || ' and '
               || runs.count || ' rows of history, not ' || array_to_string(statuses, ' or ') || ' with '
               || coalesce(expected.output::text, 'nothing') || ' and ' || coalesce(expected.runs::text, 'any number')
        FROM instance JOIN expected ON expected.instance_id = instance.id
        LEFT JOIN LATERAL (SELECT count(*) FROM task_run WHERE task_run.instance_id = instance.id) AS runs ON true
        WHERE status <> ALL (statuses) OR runs.count <> expected.runs
           OR (foretold AND convert_from(instance.output, 'UTF8')::jsonb IS DISTINCT FROM expected.output)""",
    ),
    Invariant(
        "one-end",
        "Every instance's events tell of one trigger and of one end, which is the status that it has.",
        "events against the instance's status",
        f"""
        SELECT instance.id, instance.status || ': ' || coalesce(string_agg(type, ', ' ORDER BY event.id), 'no event')
        FROM instance LEFT JOIN event ON event.account_id = instance.account_id AND event.instance_id = instance.id
        GROUP BY instance.id
        HAVING count(*) FILTER (WHERE type = 'instance.triggered') <> 1
            OR count(*) FILTER (WHERE type IN {ENDS}) <> 1
            OR count(*) FILTER (WHERE type = 'instance.' || instance.status) <> 1""",
    ),
    Invariant(
        "events-in-order",
        "An instance's events begin with its trigger, alternate between suspensions and resumes, and end with its end.",
        "events in the order of their ids",
        f"""
        WITH told AS (
            SELECT account_id, instance_id, type, id, row_number() OVER whole AS place, count(*) OVER all_of AS most
            FROM event WHERE instance_id IS NOT NULL AND type LIKE 'instance.%' AND type NOT IN {AFTERWARDS}
            WINDOW whole AS (PARTITION BY account_id, instance_id ORDER BY id),
                   all_of AS (PARTITION BY account_id, instance_id)
        ), held AS (
            SELECT instance_id, type, lag(type) OVER (PARTITION BY account_id, instance_id ORDER BY id) AS before
            FROM event WHERE type IN ('instance.suspended', 'instance.resumed')
        )
        SELECT instance_id, type || ' stands at ' || place || ' of ' || most FROM told
        WHERE (type = 'instance.triggered') <> (place = 1) OR (type IN {ENDS}) <> (place = most)
        UNION ALL
        SELECT instance_id, type || ' behind ' || coalesce(before, 'nothing') FROM held
        WHERE type = coalesce(before, 'instance.resumed')
        UNION ALL
        SELECT later.instance_id, later.type || ' behind the end' FROM event AS later
        JOIN told USING (account_id, instance_id)
        WHERE told.type IN {ENDS} AND later.id > told.id AND later.type NOT IN {AFTERWARDS}
          AND later.type NOT IN ('work_item.cancelled')""",
    ),
    Invariant(
        "history-gapless",
        "The tasks that an instance entered are numbered from 1 without a gap.",
        "the history's numbers",
        """
        SELECT instance_id, string_agg(number::text, ',' ORDER BY number) FROM task_run GROUP BY instance_id
        HAVING min(number) <> 1 OR count(*) <> max(number) OR count(DISTINCT number) <> count(*)""",
    ),
    Invariant(
        "no-task-twice",
        "No instance entered a task twice in one iteration and attempt.",
        "the history's positions, iterations and attempts",
        """
        SELECT instance_id, pointer || ' ' || coalesce(iteration::text, '-') || ' ' || attempt || ': ' || count(*)
        FROM task_run GROUP BY instance_id, pointer, iteration, attempt HAVING count(*) > 1""",
    ),
    Invariant(
        "tasks-ended",
        "Every task that was entered has ended, and whatever was not cancelled before it began has entered one.",
        "history against instances",
        """
        SELECT instance_id, pointer || ' is ' || status FROM task_run WHERE ended_at IS NULL OR status = 'running'
        UNION ALL
        SELECT id, 'has no history, and is ' || status FROM instance
        WHERE status <> 'cancelled' AND NOT EXISTS (SELECT FROM task_run WHERE task_run.instance_id = instance.id)""",
    ),
    Invariant(
        "children-once",
        "Every instance has as many children as it started, fewer only where it was cancelled first, each ended before it went on.",
        "instances against the history of their parents",
        """
        SELECT parent.id, coalesce(begun.count, 0) || ' started, ' || coalesce(children.count, 0) || ' there'
        FROM instance AS parent
        LEFT JOIN (SELECT parent_id, count(*) FROM instance GROUP BY parent_id) AS children
            ON children.parent_id = parent.id
        LEFT JOIN (SELECT instance_id, count(*) FROM task_run WHERE kind = 'run' GROUP BY instance_id) AS begun
            ON begun.instance_id = parent.id
        WHERE coalesce(children.count, 0) > coalesce(begun.count, 0)
           OR (coalesce(children.count, 0) < coalesce(begun.count, 0) AND parent.status <> 'cancelled')
        UNION ALL
        SELECT child.id, 'ended behind its parent' FROM instance AS child JOIN instance AS parent ON parent.id = child.parent_id
        WHERE child.ended_at > parent.ended_at AND parent.status = 'completed'""",
    ),
    Invariant(
        "calls-under-one-key",
        "Every call came with an Idempotency-Key that belongs to an instance, and every key with one body.",
        "the callee's log against instances",
        """
        SELECT NULL::uuid, 'a call without a key: ' || body FROM called WHERE key IS NULL
        UNION ALL
        SELECT NULL, key || ' came with ' || count(DISTINCT body) || ' bodies' FROM called WHERE key IS NOT NULL
        GROUP BY key HAVING count(DISTINCT body) > 1
        UNION ALL
        SELECT NULL, key || ' is no instance''s' FROM called
        WHERE NOT EXISTS (SELECT FROM instance WHERE instance.id::text = split_part(key, ':', 1))""",
    ),
    Invariant(
        "calls-made",
        "Every call that the history tells to be completed was made and answered, under the key of that run of its task.",
        "history against the callee's log",
        f"""
        SELECT instance_id, pointer || ' was never answered' FROM task_run
        WHERE kind = 'call' AND name = '{ASK}' AND status = 'completed' AND NOT EXISTS (
            SELECT FROM called WHERE status = 200
              AND key = instance_id || ':' || pointer || ':' || number || ':' || attempt)""",
    ),
    Invariant(
        "work-items-settled",
        "No work item is open, what was decided has one answer, and what was given up belongs to an instance that ended early.",
        "work items, decisions, instances",
        """
        SELECT work_item.instance_id, work_item.id || ' is ' || work_item.status || ' with ' || count(decision.id) || ' answers'
        FROM work_item LEFT JOIN decision ON decision.work_item_id = work_item.id
        LEFT JOIN instance ON instance.id = work_item.instance_id
        GROUP BY work_item.id, instance.status
        HAVING NOT coalesce((work_item.status = 'completed' AND count(decision.id) = 1)
            OR (work_item.status = 'cancelled' AND instance.status = 'cancelled'), false)""",
    ),
    Invariant(
        "bulk-actions-done",
        "Every acknowledged bulk action has ended and failed with no instance, and each that it was for has been done or passed over.",
        "the client's log against bulk actions and their targets",
        """
        SELECT NULL::uuid, subject || ' is not done' FROM acknowledged
        WHERE verb = 'sweep' AND NOT EXISTS (
            SELECT FROM bulk_action WHERE bulk_action.id = made AND status = 'completed' AND failed = 0
              AND done + skipped = total AND bulk_action.account_id = acknowledged.account_id)
        UNION ALL SELECT instance_id, 'has still to be done' FROM bulk_target""",
    ),
    Invariant(
        "nothing-left-over",
        "No job, timer, listener or event that waits for an instance is left.",
        "jobs, timers, listeners, waiting events",
        """
        SELECT instance_id, 'job ' || reason || ' in lane ' || lane FROM job
        UNION ALL SELECT instance_id, 'timer ' || wait FROM timer
        UNION ALL SELECT instance_id, 'listener ' || wait FROM listener
        UNION ALL SELECT instance_id, 'event ' || event_key FROM signal""",
    ),
    Invariant(
        "webhooks-complete",
        "Every event that an endpoint wants became one delivery to it, in the events' order.",
        "events against deliveries",
        f"""
        WITH wanted AS (
            SELECT webhook.id AS webhook_id, event.instance_id, array_agg(event.type ORDER BY event.id) AS types
            FROM webhook JOIN event ON event.account_id = webhook.account_id AND event.workflow_id = ANY (workflow_ids)
             AND CASE format WHEN 'connect' THEN event.type IN ({", ".join(f"'{one}'" for one in CONNECT.values())})
                 ELSE event.type LIKE 'instance.%' OR event.type LIKE 'work_item.%' END
            GROUP BY webhook.id, event.instance_id
        ), made AS (
            SELECT webhook_id, instance_id, array_agg(type ORDER BY place) AS types
            FROM webhook_delivery GROUP BY webhook_id, instance_id
        )
        SELECT instance_id, 'events ' || coalesce(wanted.types::text, 'none') || ', deliveries '
               || coalesce(made.types::text, 'none')
        FROM wanted FULL JOIN made USING (webhook_id, instance_id) WHERE wanted.types IS DISTINCT FROM made.types""",
    ),
    Invariant(
        "webhooks-delivered",
        "Every delivery was accepted by its endpoint, which was told what the event tells.",
        "deliveries against the receiver's log",
        """
        SELECT one.instance_id, one.type || ' is ' || one.status FROM webhook_delivery AS one
        WHERE status <> 'delivered' OR NOT EXISTS (
            SELECT FROM heard WHERE heard.delivery_id = one.id AND accepted AND heard.type = one.type
              AND heard.instance_id = one.instance_id AND heard.account_id = one.account_id)""",
    ),
    Invariant(
        "webhooks-in-order",
        "Of one instance an endpoint heard nothing before it had accepted what came before.",
        "the receiver's log in the order of the deliveries",
        """
        WITH arrived AS (
            SELECT webhook_id, one.instance_id, one.place, one.type, min(heard.place) AS first,
                   min(heard.place) FILTER (WHERE accepted) AS accepted
            FROM webhook_delivery AS one JOIN heard ON heard.delivery_id = one.id
            WHERE one.instance_id IS NOT NULL GROUP BY one.id
        ), following AS (
            SELECT *, lag(accepted) OVER (PARTITION BY webhook_id, instance_id ORDER BY place) AS before FROM arrived
        )
        SELECT instance_id, type || ' came too early' FROM following WHERE first < before""",
    ),
    Invariant(
        "accounts-apart",
        "No row, list or webhook shows an account what is another's.",
        "every table with an account, the receiver's log, what lists have shown",
        f"""
        {stranger_rows()}
        UNION ALL
        SELECT instance.id, 'was told to another account''s endpoint' FROM heard
        JOIN instance ON instance.id = heard.instance_id
        JOIN webhook_delivery ON webhook_delivery.id = heard.delivery_id
        WHERE instance.account_id <> heard.account_id OR webhook_delivery.account_id <> heard.account_id
        UNION ALL
        SELECT instance_id, 'was shown to another account' FROM shown
        JOIN event USING (instance_id) WHERE event.account_id <> shown.account_id""",
    ),
    Invariant(
        "audit-complete",
        "Every acknowledged verb stands in the audit, with who did it and the request that asked for it.",
        "the client's log against events",
        """
        SELECT acknowledged.instance_id, verb || ' of ' || subject || ' has no ' || coalesce(type, 'event') || ' by who did it'
        FROM acknowledged LEFT JOIN (VALUES ('trigger', 'instance.triggered'), ('run', 'instance.triggered'),
            ('signal', 'instance.signalled'), ('cancel', 'instance.cancelled'), ('suspend', 'instance.suspended'),
            ('resume', 'instance.resumed'), ('restart', 'instance.restarted'), ('delete', 'instance.deleted'),
            ('complete', 'work_item.answered'), ('publish', 'event.published'), ('sweep', 'bulk_action.started')
        ) AS telling (verb, type) USING (verb)
        WHERE NOT EXISTS (
            SELECT FROM event WHERE event.account_id = acknowledged.account_id
              AND event.instance_id IS NOT DISTINCT FROM acknowledged.instance_id AND event.type = telling.type
              AND event.actor = acknowledged.actor AND event.request_id = acknowledged.request_id
              AND (verb <> 'sweep' OR event.data ->> 'bulk_action_id' = made::text))""",
    ),
)


async def violations(
    rows: asyncpg.Connection, invariants: Sequence[Invariant] = INVARIANTS
) -> list[Violation]:
    """Say everything that is not as it must be; an empty list is what one hopes for."""
    return [
        Violation(invariant.name, row[0], str(row[1]))
        for invariant in invariants
        for row in await rows.fetch(invariant.statement)
    ]
