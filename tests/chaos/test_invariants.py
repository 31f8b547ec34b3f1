"""A small load while everything goes wrong: nothing is lost or done twice. Then the rows are broken, and each check says so."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.faults import SHARES
from tests.chaos.invariants import INVARIANTS, violations
from tests.chaos.run import Plan, Ran, chaos

pytestmark = pytest.mark.timeout(240)  # seconds: the run itself takes some of them
README = Path(__file__).parents[2] / "README.md"
BY_NAME = {invariant.name: invariant for invariant in INVARIANTS}
ONE = "(SELECT instance.id FROM instance JOIN kind USING (account_id, workflow_id) WHERE kind.name = '{}' ORDER BY 1 LIMIT 1)"
SETS, BUS = ONE.format("sets"), ONE.format("bus flow")
OTHER = "(SELECT account_id FROM instance AS one WHERE one.account_id <> {}.account_id LIMIT 1)"

# What breaks an invariant, in each way in which it can be broken.
SABOTAGE = [
    ("starts-kept", f"DELETE FROM instance WHERE id = {SETS}"),
    ("starts-kept", f"DELETE FROM instance WHERE id = {BUS}"),
    (
        "starts-kept",
        f'UPDATE instance SET trigger_inputs = trigger_inputs || \'{{"number": "-1"}}\' WHERE id = {SETS}',
    ),
    (
        "starts-kept",
        f"UPDATE instance SET trigger_inputs = trigger_inputs || '{{\"n\": -1}}' WHERE id = {SETS}",
    ),
    ("starts-kept", f"UPDATE instance SET trigger_inputs = trigger_inputs - 'n' WHERE id = {SETS}"),
    (
        "starts-kept",
        f"UPDATE instance SET trigger_inputs = trigger_inputs || '{{\"more\": 1}}' WHERE id = {BUS}",
    ),
    ("one-per-key", "DELETE FROM sent WHERE verb = 'restart'"),
    ("one-per-key", f"UPDATE instance SET restarted_from = {SETS} WHERE id = {BUS}"),
    (
        "one-per-key",
        (
            f"UPDATE instance SET trigger_inputs = (SELECT trigger_inputs FROM instance WHERE id = {SETS})"
            f" WHERE workflow_id = (SELECT workflow_id FROM instance WHERE id = {SETS})"
        ),
    ),
    ("one-per-key", "DELETE FROM sent WHERE verb = 'trigger'"),
    ("cancels-kept", "UPDATE instance SET status = 'completed' WHERE status = 'cancelled'"),
    ("signals-kept", "UPDATE instance SET status = 'faulted' WHERE status = 'completed'"),
    ("decisions-kept", "DELETE FROM decision"),
    ("decisions-kept", "UPDATE decision SET outcome = 'reject'"),
    ("holds-kept", "DELETE FROM event WHERE type = 'instance.suspended'"),
    ("holds-kept", "DELETE FROM event WHERE type = 'instance.resumed'"),
    ("restarts-kept", "UPDATE instance SET restarted_from = NULL"),
    ("restarts-kept", "UPDATE instance SET restarted_as = NULL"),
    ("restarts-kept", f"UPDATE instance SET restarted_as = {SETS} WHERE restarted_as IS NOT NULL"),
    (
        "restarts-kept",
        (
            "UPDATE instance SET restarted_from = (SELECT instance_id FROM acknowledged WHERE verb = 'restart' LIMIT 1)"
            f" WHERE id = {SETS}"
        ),
    ),
    ("deletions-kept", "DELETE FROM event WHERE type = 'instance.deleted'"),
    (
        "deletions-kept",
        "UPDATE task_run SET instance_id = (SELECT instance_id FROM acknowledged WHERE verb = 'delete' LIMIT 1) WHERE id = (SELECT min(id) FROM task_run)",
    ),
    ("all-ended", f"UPDATE instance SET ended_at = NULL WHERE id = {SETS}"),
    ("all-ended", f"UPDATE instance SET status = 'waiting' WHERE id = {SETS}"),
    ("ended-as-defined", f"UPDATE instance SET output = '{{}}' WHERE id = {SETS}"),
    ("ended-as-defined", f"UPDATE instance SET status = 'faulted' WHERE id = {SETS}"),
    ("ended-as-defined", f"DELETE FROM task_run WHERE instance_id = {SETS} AND number = 2"),
    ("one-end", f"DELETE FROM event WHERE instance_id = {SETS} AND type = 'instance.completed'"),
    (
        "one-end",
        f"UPDATE event SET type = 'instance.faulted' WHERE instance_id = {SETS} AND type = 'instance.completed'",
    ),
    ("one-end", f"UPDATE event SET type = 'instance.completed' WHERE instance_id = {SETS}"),
    ("events-in-order", f"UPDATE event SET id = -id WHERE instance_id = {SETS}"),
    ("events-in-order", "UPDATE event SET type = 'instance.suspended' WHERE type = 'instance.resumed'"),
    (
        "events-in-order",
        "UPDATE event SET id = id + 1000000 WHERE id = (SELECT min(id) FROM event WHERE type = 'work_item.answered')",
    ),
    ("history-gapless", f"DELETE FROM task_run WHERE instance_id = {SETS} AND number = 2"),
    ("history-gapless", f"DELETE FROM task_run WHERE instance_id = {SETS} AND number = 1"),
    ("no-task-twice", f"UPDATE task_run SET pointer = '/do' WHERE instance_id = {SETS}"),
    ("tasks-ended", f"UPDATE task_run SET ended_at = NULL WHERE instance_id = {SETS}"),
    ("tasks-ended", f"DELETE FROM task_run WHERE instance_id = {SETS}"),
    ("children-once", "UPDATE instance SET parent_id = NULL"),
    ("children-once", f"UPDATE instance SET parent_id = {SETS} WHERE parent_id IS NOT NULL"),
    ("children-once", "UPDATE instance SET ended_at = now() + interval '1 day' WHERE parent_id IS NOT NULL"),
    ("calls-under-one-key", "UPDATE called SET key = NULL"),
    ("calls-under-one-key", "INSERT INTO called SELECT key, body || ' ', status FROM called"),
    ("calls-under-one-key", "UPDATE called SET key = 'x' || key"),
    ("calls-made", "UPDATE called SET status = 503"),
    ("calls-made", "UPDATE called SET key = key || '0'"),
    ("work-items-settled", "UPDATE work_item SET status = 'open'"),
    ("work-items-settled", "UPDATE work_item SET status = 'cancelled'"),
    ("work-items-settled", "DELETE FROM decision"),
    ("bulk-actions-done", "UPDATE bulk_action SET failed = 1"),
    ("bulk-actions-done", "UPDATE bulk_action SET status = 'running'"),
    ("bulk-actions-done", "DELETE FROM bulk_action"),
    (
        "bulk-actions-done",
        (
            "INSERT INTO bulk_target (account_id, bulk_action_id, instance_id)"
            f" SELECT account_id, id, {SETS} FROM bulk_action"
        ),
    ),
    (
        "nothing-left-over",
        f"INSERT INTO job (account_id, lane, reason) SELECT account_id, 'advance', 'start' FROM instance WHERE id = {SETS}",
    ),
    (
        "nothing-left-over",
        (
            "INSERT INTO timer (id, account_id, instance_id, wait, due_at)"
            f" SELECT id, account_id, id, 1, now() FROM instance WHERE id = {SETS}"
        ),
    ),
    (
        "nothing-left-over",
        f"INSERT INTO listener (account_id, instance_id, wait) SELECT account_id, id, 1 FROM instance WHERE id = {SETS}",
    ),
    (
        "nothing-left-over",
        (
            "INSERT INTO signal (id, account_id, instance_id, event_key, event)"
            f" SELECT id, account_id, id, 'key', '{{}}' FROM instance WHERE id = {SETS}"
        ),
    ),
    (
        "webhooks-complete",
        "DELETE FROM webhook_delivery WHERE place = (SELECT min(place) FROM webhook_delivery)",
    ),
    ("webhooks-complete", "UPDATE webhook_delivery SET place = -place"),
    ("webhooks-delivered", "UPDATE webhook_delivery SET status = 'failed'"),
    ("webhooks-delivered", "UPDATE heard SET accepted = false"),
    ("webhooks-delivered", "UPDATE heard SET type = 'instance.odd'"),
    ("webhooks-in-order", "UPDATE heard SET place = -place"),
    ("accounts-apart", f"UPDATE task_run SET account_id = {OTHER.format('task_run')}"),
    ("accounts-apart", f"UPDATE webhook_delivery SET account_id = {OTHER.format('webhook_delivery')}"),
    ("accounts-apart", f"UPDATE heard SET account_id = {OTHER.format('heard')}"),
    ("accounts-apart", f"UPDATE shown SET account_id = {OTHER.format('shown')}"),
    ("audit-complete", "UPDATE event SET actor = NULL WHERE type = 'instance.cancelled'"),
    ("audit-complete", "UPDATE event SET request_id = NULL WHERE type = 'instance.triggered'"),
    ("audit-complete", "UPDATE event SET request_id = gen_random_uuid() WHERE type = 'instance.signalled'"),
    ("audit-complete", "DELETE FROM event WHERE type = 'work_item.answered'"),
    ("audit-complete", "DELETE FROM event WHERE type = 'event.published'"),
    ("audit-complete", "DELETE FROM event WHERE type = 'bulk_action.started'"),
    ("audit-complete", "UPDATE event SET data = '{}' WHERE type = 'bulk_action.started'"),
    ("audit-complete", "UPDATE acknowledged SET verb = 'odd' WHERE verb = 'trigger'"),
]


@pytest.fixture(scope="module")
async def ran(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ran]:
    """A run in which everything went wrong once."""
    plan = Plan(seed=46, instances=160, seconds=16, patience=90, gap=(0.7, 1.4), workers=2, lapse=40)
    async with chaos(plan, tmp_path_factory.mktemp("chaos")) as run:
        yield run


def test_nothing_is_lost_or_done_twice_whatever_goes_wrong(ran: Ran) -> None:
    outcome = ran.outcome
    assert (outcome.violations, outcome.wrong, any(outcome.left.values())) == ([], [], False)
    assert set(outcome.faults) == set(SHARES)
    assert set(outcome.instances) == {"maestro", "formance", "keyfactor"}


@pytest.mark.parametrize(
    ("name", "statement"), SABOTAGE, ids=[f"{name}-{number}" for number, (name, _) in enumerate(SABOTAGE)]
)
async def test_what_is_broken_is_found(ran: Ran, name: str, statement: str) -> None:
    transaction = ran.rows.transaction()
    await transaction.start()
    try:
        # Constraints and triggers would hinder, or mend, what is broken here.
        await ran.rows.execute("SET LOCAL session_replication_role = replica")
        await ran.rows.execute(statement)
        assert await violations(ran.rows, [BY_NAME[name]])
    finally:
        await transaction.rollback()


def test_every_invariant_is_broken_somewhere() -> None:
    assert {name for name, _ in SABOTAGE} == set(BY_NAME)


def test_readmes_table_is_the_list_of_invariants() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \| (.+) \|$", README.read_text(), re.MULTILINE)
    named = [row for row in rows if row[0] in BY_NAME]
    assert named == [(one.name, one.sentence, one.held_against) for one in INVARIANTS]
