"""Made-up queries of made-up instances find what a plain reading of the contract says, in its order, and nobody else's."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auth.bearer import Credential, hash_of
from auth.clients import issue_token
from service.keyfactor import fields
from service.keyfactor.fields import INSTANCE_ORDERS, instances
from service.keyfactor.requests import READ, Listing
from service.operations import instance_queries
from service.operations.instance_queries import Whose, get_page
from tenancy.rows import rows_of
from tests.world import GREETING, LIFE, Tenant, World

EXAMPLES = 100
ROWS = 120
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NOON = TODAY + timedelta(hours=12)  # for the whole of the run, which may go on beyond midnight
TITLES = (
    "Order 1",
    "order 1",
    "ORDER (2)",
    'say "hi"',
    "C:\\",
    "100%",
    "_",
    "",
    "null",
    "Zürich",
    "ZÜRICH",
    "漢字",
    "AND",
    "  ",
)
STEPS = ("Approve", "approve", "Zeta", "Noted.x", "Äpfel", "_")
# The engine's words, whether another runs in its place, and the dialect's number (contract 2.1).
STANDINGS = (
    ("pending", False, 1),
    ("running", False, 1),
    ("waiting", False, 2),
    ("suspended", False, 2),
    ("faulted", False, 3),
    ("cancelled", False, 4),
    ("completed", False, 5),
    ("completed", True, 5),
    ("faulted", True, 6),
    ("cancelled", True, 6),
)
NAMES = ("Unknown", "Running", "Suspended", "Failed", "Rejected", "Complete", "CanceledForRestart")
INSERT = """
INSERT INTO instance (id, account_id, workflow_id, version_id, version, name, status, restarted_as, current_step, started_at,
                      last_modified_at, ended_at, started_by, started_by_name, total_steps, workflow_created_by, access_id,
                      access_secret_hash)
SELECT $2::uuid, $1, workflow.id, workflow.active_version_id, '1.0.0', $4, $5::text, CASE WHEN $6 THEN $2::uuid END, $7, $8, $9::timestamptz,
       CASE WHEN $5::text IN ('completed', 'faulted', 'cancelled') THEN $9::timestamptz END, $10, $11, 3, workflow.created_by,
       gen_random_uuid(), '\\x00'
FROM workflow WHERE workflow.account_id = $1 AND workflow.id = $3
"""


class Made(msgspec.Struct, frozen=True):
    """An instance as it was made."""

    id: UUID
    workflow_id: UUID
    workflow_type: str | None
    workflow_title: str
    title: str
    status: str
    replaced: bool
    number: int
    step: str | None
    started_at: datetime
    modified_at: datetime
    starter: UUID
    starter_name: str
    mailbox: str  # of the e-mail address

    @property
    def reference(self) -> int:
        """The number by which people call it."""
        began = self.id.int >> 80
        return (began - int(EPOCH.timestamp() * 1000)) * 4096 + (self.id.int >> 64 & 0xFFF)


Holds = Callable[[Made], bool]
Asked = tuple[str, Holds]


class Scene(msgspec.Struct):
    """The instances that were made in an account, and who asks."""

    rows: list[Made]
    me: UUID
    access: Credential
    queries: Any = None  # the strategy that makes queries of them up

    def __repr__(self) -> str:
        return f"{len(self.rows)} instances"


def definition(name: str, kind: str) -> dict[str, Any]:
    """A definition as the dialect stores it, as far as its type goes."""
    head = {
        "namespace": "keyfactor",
        "name": name,
        "title": name.title(),
        "metadata": {"keyfactor": {"WorkflowType": kind}},
    }
    return {**GREETING, "document": {**GREETING["document"], **head}}


async def filled(of: Tenant, chosen: random.Random) -> list[Made]:
    """Make an account's instances."""
    await of.publish(definition("definition-a", "Enrollment"))
    await of.publish(definition("definition-b", "Revocation"))
    kinds = {"definition-a": ("Enrollment", "Definition-A"), "definition-b": ("Revocation", "Definition-B")}
    titles = {"greeting": (None, "Greeting"), "waiting": (None, "waiting")} | kinds
    people = ((of.admin_id, "Ada", "admin"), (of.member_id, "bob (2)", "member"))
    rows = []
    for _ in range(ROWS):
        started = TODAY + timedelta(hours=chosen.randint(-96, 30), milliseconds=chosen.choice((0, 1, 999)))
        name = chosen.choice(list(titles))
        status, replaced, number = chosen.choice(STANDINGS)
        starter, starter_name, mailbox = chosen.choice(people)
        moment = int(started.timestamp() * 1000)
        bits = moment << 80 | 7 << 76 | chosen.randint(0, 3) << 64 | 2 << 62 | chosen.getrandbits(62)
        rows.append(
            Made(
                id=UUID(int=bits),
                workflow_id=of.workflows[name],
                workflow_type=titles[name][0],
                workflow_title=titles[name][1] or "",
                title=chosen.choice(TITLES),
                status=status,
                replaced=replaced,
                number=number,
                step=None if status in ("completed", "pending") else chosen.choice(STEPS),
                started_at=started,
                modified_at=started + timedelta(minutes=chosen.randint(0, 3)),
                starter=starter,
                starter_name=starter_name,
                mailbox=mailbox,
            )
        )
    async with rows_of(of.id) as connection:
        for one in rows:
            told = (one.title, one.status, one.replaced, one.step, one.started_at, one.modified_at)
            await connection.execute(
                INSERT, of.id, one.id, one.workflow_id, *told, one.starter, one.starter_name
            )
    return rows


@pytest.fixture
async def scene(world: World) -> Scene:
    """Acme's instances, and the other account's, which are like them."""
    chosen = random.Random(11)  # noqa: S311 - the same ones each time
    await filled(world.globex, chosen)
    acme = world.acme
    rows = await filled(acme, chosen)
    token = await issue_token(acme.id, ("user", acme.admin_id), (READ,), LIFE)
    made = Scene(rows, acme.admin_id, Credential(hash_of(token), acme.id, (READ,)))
    made.queries = queries(made)
    return made


# --- Queries, each with what it means -----------------------------------------------------------------------------------


def quoted(value: str) -> str:
    """Write a value as a query holds it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def text_of(
    field: str, read: Callable[[Made], str | None], values: tuple[str, ...]
) -> st.SearchStrategy[Asked]:
    """Comparisons of a text."""

    def asked(operator: str, value: str) -> Asked:
        said = value.lower()
        means: dict[str, Callable[[str], bool]] = {
            "eq": lambda held: held == said,
            "contains": lambda held: said in held,
            "startswith": lambda held: held.startswith(said),
            "endswith": lambda held: held.endswith(said),
        }
        positive = {"ne": "eq", "notcontains": "contains"}.get(operator, operator)

        def holds(row: Made) -> bool:
            held = read(row)
            found = held is not None and means[positive](held.lower())
            return found == (positive == operator)

        return f"{field} -{operator} {quoted(value)}", holds

    operators = st.sampled_from(("eq", "ne", "contains", "notcontains", "startswith", "endswith"))
    return st.builds(asked, operators, st.sampled_from(values))


ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda held, said: held == said,
    "ne": lambda held, said: held != said,
    "lt": lambda held, said: held < said,
    "le": lambda held, said: held <= said,
    "gt": lambda held, said: held > said,
    "ge": lambda held, said: held >= said,
}
WHOSE: tuple[Whose, ...] = ("all", "mine")
ORDER = st.sampled_from(tuple(ORDERED))
EITHER = st.sampled_from(("eq", "ne"))


def moment_of(field: str, read: Callable[[Made], datetime]) -> st.SearchStrategy[Asked]:
    """Comparisons of a time."""

    def by_day(operator: str, days: int, form: str) -> Asked:
        begin = TODAY + timedelta(days)
        said = form.format(days, begin)

        def holds(row: Made) -> bool:
            within = begin <= read(row) < begin + timedelta(1)
            if operator in ("eq", "ne"):
                return within == (operator == "eq")
            return ORDERED[operator](read(row), begin)

        return f"{field} -{operator} {quoted(said)}", holds

    def by_moment(operator: str, hours: int, minutes: int) -> Asked:
        said = TODAY + timedelta(hours=hours, minutes=minutes)
        return f"{field} -{operator} {said:%Y-%m-%dT%H:%M:%SZ}", lambda row: ORDERED[operator](
            read(row), said
        )

    return st.builds(
        by_day, ORDER, st.integers(-4, 2), st.sampled_from(("%TODAY{0:+}%", "{1:%Y-%m-%d}"))
    ) | st.builds(by_moment, ORDER, st.integers(-96, 30), st.integers(0, 2))


def status_of(operator: str, number: int, form: str) -> Asked:
    """A comparison of a status."""
    said = form.format(number, NAMES[number])
    return f"Status -{operator} {said}", lambda row: ORDERED[operator](row.number, number)


def null_of(field: str, operator: str) -> Asked:
    """A comparison with nothing."""
    missing: Holds = lambda row: field == "WorkflowType" and row.workflow_type is None  # noqa: E731 - one of two
    return f"{field} -{operator} NULL", lambda row: missing(row) == (operator == "eq")


def comparisons(scene: Scene) -> st.SearchStrategy[Asked]:
    """Comparisons of every field."""
    known = st.sampled_from(scene.rows)
    fields = (
        "Title",
        "Id",
        "StartDate",
        "WorkflowType",
        "Status",
        "ReferenceId",
        "DefinitionId",
        "InitiatingUserName",
    )
    people: tuple[tuple[str, Holds], ...] = (
        ("%ME%", lambda row: row.starter == scene.me),
        (r"ACME\admin@acme.example", lambda row: row.mailbox == "admin"),
        ("Member@ACME.example", lambda row: row.mailbox == "member"),
        ("nobody@acme.example", lambda _: False),
        ("ADA", lambda row: row.starter_name == "Ada"),
        ("ad", lambda _: False),
    )
    return st.one_of(
        text_of("Title", lambda row: row.title, (*TITLES, "ORDER", "r", "1", "ü", "\\", '"', "%")),
        text_of(
            "WorkflowType", lambda row: row.workflow_type, ("enrollment", "Revocation", "ation", "R", "")
        ),
        st.builds(
            lambda operator, one: (
                f"InitiatingUserName -{operator} {quoted(one[0])}",
                lambda row: one[1](row) == (operator == "eq"),
            ),
            EITHER,
            st.sampled_from(people),
        ),
        moment_of("StartDate", lambda row: row.started_at),
        moment_of("LastModified", lambda row: row.modified_at),
        st.builds(status_of, EITHER, st.integers(0, 6), st.sampled_from(("{0}", '"{1}"'))),
        st.builds(status_of, EITHER, st.integers(0, 6), st.sampled_from(("{0}", '"{1}"'))),
        st.builds(null_of, st.sampled_from(fields), EITHER),
        st.builds(
            lambda operator, one: (f"Id -{operator} {one.id}", lambda row: ORDERED[operator](row.id, one.id)),
            EITHER,
            known,
        ),
        st.builds(
            lambda operator, one: (
                f'DefinitionId -{operator} "{one.workflow_id}"',
                lambda row: ORDERED[operator](row.workflow_id, one.workflow_id),
            ),
            EITHER,
            known,
        ),
        st.builds(
            lambda operator, one, more: (
                f"ReferenceId -{operator} {one.reference + more}",
                lambda row: ORDERED[operator](row.reference, one.reference + more),
            ),
            ORDER,
            known,
            st.integers(-1, 1),
        ),
    )


def chained(parts: list[Asked], word: str, form: str) -> Asked:
    """Join queries that are comparisons or stand in parentheses."""
    text = f" {word} ".join(one[0] for one in parts)
    every = word.upper() == "AND"
    return form.format(text), lambda row: (all if every else any)(one[1](row) for one in parts)


def queries(scene: Scene) -> st.SearchStrategy[Asked]:
    """Queries of any shape."""
    inner = st.recursive(
        comparisons(scene),
        lambda one: st.builds(
            chained,
            st.lists(one, min_size=1, max_size=3),
            st.sampled_from(("AND", "OR", "and", "Or")),
            st.just("({})"),
        ),
        max_leaves=6,
    )
    # Without parentheses, AND binds closer.
    both = st.builds(chained, st.lists(inner, min_size=1, max_size=3), st.just("AND"), st.just("{}"))
    either = st.builds(chained, st.lists(both, min_size=1, max_size=3), st.just("OR"), st.just("{}"))
    return st.just(("", lambda _: True)) | either


def in_order(rows: list[Made], field: str) -> list[Made]:
    """Put instances in the order of a field; what is missing comes last."""
    lower = field.lower()
    if lower == "definitionid":
        newest = sorted(rows, key=lambda row: (row.started_at, row.id), reverse=True)
        return sorted(newest, key=lambda row: row.workflow_id)
    key: Callable[[Made], Any] = {
        "current_step": lambda row: row.step,
        "id": lambda row: row.id,
        "last_modified_at": lambda row: row.modified_at,
        "name": lambda row: row.title,
        "phase": lambda row: (row.number, row.step is None, row.step or ""),
        "started_at": lambda row: row.started_at,
        "started_by_name": lambda row: row.starter_name,
        "title": lambda row: row.workflow_title,
        "workflow_type": lambda row: row.workflow_type,
    }[INSTANCE_ORDERS[lower]]
    return sorted(rows, key=lambda row: (key(row) is None, key(row) if key(row) is not None else 0, row.id))


@pytest.mark.filterwarnings("ignore:.*:hypothesis.errors.HypothesisWarning")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(data=st.data())
async def test_query_finds_what_it_says_page_by_page(scene: Scene, data: st.DataObject) -> None:
    text, holds = data.draw(scene.queries)
    field = data.draw(st.sampled_from(sorted(INSTANCE_ORDERS)))
    descending, limit, page = (
        data.draw(st.booleans()),
        data.draw(st.integers(1, 60)),
        data.draw(st.integers(1, 4)),
    )
    whose = data.draw(st.sampled_from(WHOSE))
    counted = data.draw(st.sampled_from((0, 5, 10_000)))
    with mock.patch.object(fields, "datetime", wraps=datetime) as clock:
        clock.now.return_value = NOON
        wanted = instances(Listing(text, page, limit, field, descending), whose)
    with mock.patch.object(instance_queries, "COUNTED", counted):
        found = await get_page(scene.access, wanted)
    expected = [row for row in scene.rows if holds(row) and (whose == "all" or row.starter == scene.me)]
    expected = in_order(expected, field)
    if descending:
        expected.reverse()
    assert found.total == len(expected)
    assert [row["id"] for row in found.rows] == [row.id for row in expected][
        (page - 1) * limit : page * limit
    ]
    assert {row["account_id"] for row in found.rows} <= {scene.access.account_id}
