"""What is held against the database: what clients, the called service and the webhooks' receiver have written down.

It stands in temporary tables of one connection, so that every invariant is a statement over both.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from tests.chaos.asking import Acknowledged, ClientLog, request_id
from tests.chaos.callee import Call
from tests.chaos.mix import Kind
from tests.chaos.receiver import Heard

TABLES = """
CREATE TEMPORARY TABLE acknowledged (
    verb text, account_id uuid, actor uuid, subject text, instance_id uuid,
    request_id uuid, kind text, outcome text, made uuid, inputs jsonb);
CREATE TEMPORARY TABLE sent (verb text, subject text, times int);
CREATE TEMPORARY TABLE called (key text, body text, status int);
CREATE TEMPORARY TABLE heard (
    place int, delivery_id uuid, account_id uuid, instance_id uuid, type text, accepted boolean);
CREATE TEMPORARY TABLE shown (account_id uuid, instance_id uuid);
CREATE TEMPORARY TABLE expected (instance_id uuid, statuses text[], output jsonb, foretold boolean, runs int);
CREATE TEMPORARY TABLE kind (account_id uuid, workflow_id uuid, name text, dialect text);
"""
INSTANCES = """
SELECT instance.id, kind.name, instance.trigger_inputs FROM instance JOIN kind ON kind.workflow_id = instance.workflow_id
"""


class Evidence(msgspec.Struct, frozen=True):
    """What those outside know; `workflows` are the kinds' names by account and workflow."""

    kinds: Sequence[Kind]
    workflows: Sequence[tuple[Any, Any, str]]
    log: ClientLog
    calls: Sequence[Call]
    heard: Sequence[Heard]

    async def lay_out(self, rows: asyncpg.Connection) -> None:
        """Fill the tables of a connection."""
        await rows.execute(TABLES)
        by_name = {kind.name: kind for kind in self.kinds}
        tables: Mapping[str, list[tuple[Any, ...]]] = {
            "acknowledged": [row_of(one) for one in self.log.acknowledged],
            "sent": [
                (*what, times)
                for what, times in Counter((one.verb, one.subject) for one in self.log.attempts).items()
            ],
            "called": [(one.key, one.body.decode(), one.status) for one in self.calls],
            "heard": [(place, *msgspec.structs.astuple(one)) for place, one in enumerate(self.heard)],
            "shown": list(self.log.seen),
            "kind": [(*one, by_name[one[2]].dialect) for one in self.workflows],
        }
        for name, records in tables.items():
            await rows.copy_records_to_table(name, records=records)
        instances = await rows.fetch(INSTANCES)
        foretold = [expected(row, by_name[row["name"]]) for row in instances]
        await rows.copy_records_to_table("expected", records=foretold)
        await rows.execute("ANALYZE")


def row_of(one: Acknowledged) -> tuple[Any, ...]:
    """Write what was acknowledged as a row."""
    about = (one.verb, one.account_id, one.actor, one.subject, one.instance_id)
    detail = (one.detail.get(name) for name in ("kind", "outcome", "made"))
    inputs = one.detail.get("inputs")
    text = None if inputs is None else msgspec.json.encode(inputs).decode()
    return *about, request_id(one.verb, one.subject), *detail, text


def expected(row: asyncpg.Record, kind: Kind) -> tuple[Any, ...]:
    """Foretell how an instance must have ended, from what it was started with."""
    statuses = ["completed", "faulted"] if kind.status is None else [kind.status]
    output = None if kind.output is None else kind.output(msgspec.json.decode(row["trigger_inputs"]))
    text = None if output is None else msgspec.json.encode(output).decode()
    return row["id"], statuses, text, kind.output is not None, kind.runs
