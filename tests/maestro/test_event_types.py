"""Every type of event that the code can record is described, in the OpenAPI document and in the README."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from service.engine.states import TRANSITIONS
from service.maestro.event_types import OF_ACCOUNTS, OF_INSTANCES, OF_WORKFLOWS
from service.operations.audit import KINDS

ROOT = Path(__file__).parents[2]
TYPE = re.compile(r"([a-z_]+)\.[a-z]+(?:-[a-z]+)*")
IN_SQL = re.compile(r"'([a-z_]+\.[a-z]+(?:-[a-z]+)*)'")
WRITERS = {"record", "record_in"}
NO_TYPES = {
    "client.id",
    "client.assertion",
    "client.secret",
    "event.at",
    "workflow.title",
}  # what errors point at, and columns
NOT_RECORDED = {"webhook.ping"}  # sent to one endpoint to try it
OF_STATUSES = "instance.{becomes}"  # what a verb leads to is in its name


def described() -> set[str]:
    """The types that the document lists."""
    return {
        name
        for types in (OF_INSTANCES, OF_WORKFLOWS, OF_ACCOUNTS)
        for names in types
        for name in names.split(", ")
    }


def test_the_audit_can_be_asked_for_every_kind_of_subject() -> None:
    assert {name.partition(".")[0] for name in described()} == set(KINDS)


def sources() -> Iterator[ast.Module]:
    """What may record events: everything but what describes them."""
    for package in ("service", "auth", "tenancy"):
        for path in (ROOT / package).rglob("*.py"):
            if path.parent.name not in ("maestro", "openapi"):
                yield ast.parse(path.read_text())


def written(tree: ast.Module) -> Iterator[ast.expr]:
    """What writers of events are called with as a type."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) > 1:
            name = getattr(node.func, "id", getattr(node.func, "attr", None))
            if name in WRITERS:
                yield node.args[1]


def texts(tree: ast.Module) -> Iterator[str]:
    """Every text in a module, and every text that its SQL quotes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
            yield from IN_SQL.findall(node.value)


def recorded() -> set[str]:
    """Every text in the code that is a type of one of the families in which events are recorded."""
    trees = list(sources())
    families = {name.partition(".")[0] for name in described()}
    families |= {
        kind.value.partition(".")[0]
        for tree in trees
        for kind in written(tree)
        if isinstance(kind, ast.Constant) and isinstance(kind.value, str)
    }
    return {
        text
        for tree in trees
        for text in texts(tree)
        if (match := TYPE.fullmatch(text)) and match[1] in families and not text.endswith((".html", ".json"))
    } - (NO_TYPES | NOT_RECORDED)


def test_types_are_written_out_where_they_are_recorded() -> None:
    """So that they are found; a name that is made of pieces would not be, but for that of a status."""
    made = [
        ast.unparse(kind) for tree in sources() for kind in written(tree) if isinstance(kind, ast.JoinedStr)
    ]
    assert set(made) == {f"f'{OF_STATUSES}'"}
    assert set(TRANSITIONS["cancel"].values()) == {"cancelled"}


def test_every_type_that_is_recorded_is_in_the_document() -> None:
    found = recorded()
    assert {"instance.completed", "work_item.claimed", "member.suspended", "workflow.published"} <= found
    assert found == described()


def test_every_type_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("| Event | `data` |")[2].partition("\n\n")[0]
    told: set[str] = set()
    for row in table.splitlines():
        family = ""
        for name in re.findall(r"`([a-z_]*\.[a-z…-]+)`", row.split("|")[1] if row else ""):
            family = name.partition(".")[0] or family
            told.add(f"{family}.{name.partition('.')[2]}")
    whole = {name.removesuffix(".…") for name in told if name.endswith("…")}
    assert {name for name in described() if name not in told and name.partition(".")[0] not in whole} == set()
    assert {name for name in told if not name.endswith("…")} <= described()
