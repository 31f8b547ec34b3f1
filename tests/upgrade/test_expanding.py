"""Migrations only add while the previous release still runs; what takes away comes a release later.

An honest check of texts, no proof: that the previous release really runs on the new schema is shown in test_rolling.py.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.conventions.sources import ROOT
from tests.upgrade.previous import WITHOUT_HISTORY, files_of_previous, git

# What may be in spite of it, by file and words as they are found, and why the previous release goes on all the same.
ALLOWED: dict[tuple[str, str], str] = {}
FOLDERS = ("auth/migrations", "service/migrations", "tenancy/migrations")
THING = r"(?:TABLE|COLUMN|FUNCTION|VIEW|MATERIALIZED VIEW|TYPE|DOMAIN|SEQUENCE|SCHEMA|INDEX|CONSTRAINT|TRIGGER|POLICY|DEFAULT|IDENTITY)"
TAKES_AWAY = re.compile(
    rf"\bDROP\s+{THING}\s+(?:IF\s+EXISTS\s+)?\w*"  # of a table, also: of a column
    rf"|\bALTER\s+TABLE\s+\w+\s+DROP\s+(?!{THING}\b)\w+"
    r"|\bRENAME\s+(?:COLUMN\s+|CONSTRAINT\s+)?(?:\w+\s+)?TO\s+\w+"
    r"|\bALTER\s+(?:COLUMN\s+)?\w+\s+(?:SET\s+DATA\s+)?TYPE\b"
    r"|\bALTER\s+TYPE\s+\w+"
    r"|\bSET\s+NOT\s+NULL\b"
    r"|\bADD\s+COLUMN\s+(?:IF\s+NOT\s+EXISTS\s+)?\w+\s+(?=[^,;]*\bNOT\s+NULL\b)(?![^,;]*\bDEFAULT\b)"
    r"|\bADD\s+(?:CONSTRAINT\s+\w+\s+)?(?:CHECK|UNIQUE|PRIMARY\s+KEY|FOREIGN\s+KEY)\b"
    r"|\bREVOKE\s+(?=[^;]*\bFROM\b)(?![^;]*\bFROM\s+PUBLIC\b)[^;]*"
    r"|\bTRUNCATE\b",
    re.IGNORECASE,
)
NO_DROP = re.compile(r"\bDROP\s+NOT\s+NULL\b", re.IGNORECASE)  # it takes nothing away
INDEX = re.compile(
    r"\bCREATE\s+(?:UNIQUE\s+)?INDEX\s+(?P<careful>IF\s+NOT\s+EXISTS\s+)?\w+\s+ON\s+(?P<table>\w+)",
    re.IGNORECASE,
)
TABLE = re.compile(r"\bCREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)", re.IGNORECASE)
OF_A_NEW_TABLE = re.compile(r"\bALTER\s+TABLE\s+(\w+)\b[^;]*;?", re.IGNORECASE)
PICCOLO = (
    "drop_table",
    "drop_column",
    "rename_table",
    "rename_column",
    "alter_column",
    "change_table_schema",
)


def breaks(text: str, new_tables: frozenset[str] = frozenset()) -> Iterator[str]:
    """Find what a migration takes away from those who run without it, and what may lock them out for long."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in PICCOLO:
            yield node.attr
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from breaks_in_sql(node.value, new_tables)


def breaks_in_sql(sql: str, new_tables: frozenset[str]) -> Iterator[str]:
    """Find it in statements; tables that are new themselves are free."""
    sql = NO_DROP.sub("", re.sub(r"--[^\n]*", "", sql))
    for index in INDEX.finditer(sql):
        if not index["careful"] and index["table"].lower() not in new_tables:
            yield f"an index on {index['table']} without IF NOT EXISTS"
    sql = OF_A_NEW_TABLE.sub(lambda found: "" if found[1].lower() in new_tables else found[0], sql)
    for found in TAKES_AWAY.finditer(sql):
        yield " ".join(found[0].split())


def tables_in(text: str) -> set[str]:
    """Name the tables that a migration makes."""
    return {name.lower() for name in TABLE.findall(text) + re.findall(r'tablename="(\w+)"', text)}


def test_migrations_since_the_previous_release_take_nothing_away_from_it() -> None:
    known = files_of_previous(*FOLDERS)
    new = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for folder in FOLDERS
        for path in (ROOT / folder).glob("*.py")
        if path.relative_to(ROOT).as_posix() not in known
    }
    made = frozenset(
        name for text in new.values() if "add_table" in text or TABLE.search(text) for name in tables_in(text)
    )
    found = {(path, what) for path, text in new.items() for what in breaks(text, made)}
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found == set(), "these are allowed and do not occur"


def test_no_migration_of_the_previous_release_is_gone() -> None:
    gone = [path for path in files_of_previous(*FOLDERS) if not (ROOT / path).exists()]
    assert gone == [], "a database that has them would be told of them no more"


def test_a_history_without_the_previous_release_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WITHOUT_HISTORY, raising=False)
    with pytest.raises(pytest.fail.Exception, match="git fetch --unshallow"):
        git("archive", "0" * 40)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("ALTER TABLE instance DROP COLUMN name;", "DROP COLUMN name"),
        ("ALTER TABLE instance DROP name;", "ALTER TABLE instance DROP name"),
        ("DROP TABLE IF EXISTS job;", "DROP TABLE IF EXISTS job"),
        ("drop function start_instance(uuid);", "drop function start_instance"),
        ("ALTER TABLE job RENAME COLUMN lane TO way;", "RENAME COLUMN lane TO way"),
        ("ALTER TABLE job RENAME TO work;", "RENAME TO work"),
        ("ALTER TABLE job ALTER COLUMN wait TYPE text;", "ALTER COLUMN wait TYPE"),
        ("ALTER TABLE job ALTER COLUMN wait SET NOT NULL;", "SET NOT NULL"),
        ("ALTER TABLE job ADD COLUMN colour text NOT NULL;", "ADD COLUMN colour"),
        ("ALTER TABLE job ADD CONSTRAINT even CHECK (wait % 2 = 0);", "ADD CONSTRAINT even CHECK"),
        ("REVOKE UPDATE ON job FROM tutti_app;", "REVOKE UPDATE ON job FROM tutti_app"),
        ("CREATE INDEX job_colour ON job (colour);", "an index on job without IF NOT EXISTS"),
    ],
)
def test_what_takes_away_is_found(sql: str, found: str) -> None:
    assert [one.strip() for one in breaks(f"FORWARDS = '''{sql}'''")] == [found]


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE job ADD COLUMN colour text;",
        "ALTER TABLE job ADD COLUMN colour text NOT NULL DEFAULT 'red';",
        "ALTER TABLE job ALTER COLUMN wait DROP NOT NULL;",
        "CREATE INDEX IF NOT EXISTS job_colour ON job (colour);",
        "CREATE OR REPLACE FUNCTION let_go() RETURNS void LANGUAGE sql AS 'DELETE FROM job';",
        "CREATE TABLE hue (name text); CREATE INDEX hue_name ON hue (name); ALTER TABLE hue ADD CHECK (name <> '');",
        "REVOKE EXECUTE ON FUNCTION let_go() FROM PUBLIC; -- DROP TABLE job",
    ],
)
def test_what_adds_is_free(sql: str) -> None:
    assert list(breaks(f"FORWARDS = '''{sql}'''", frozenset({"hue"}))) == []
