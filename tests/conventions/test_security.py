"""The README's threats each name a test, and the tests are there."""

import ast
import re

import pytest

from tests.conventions.sources import ROOT, Source

HERE = "tests/conventions/test_security.py"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def threats() -> list[list[str]]:
    """Read the table of the README's section on security: attacker, what they want, what stops them, what shows it."""
    section = (ROOT / "README.md").read_text().partition("\n## Security\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return lines[2:]


def missing(shown_by: str) -> list[str]:
    """List the tests that are named and are not there; a cell that names none is as bad."""
    named = NAMED.findall(shown_by)
    return [f"{path}::{test}" for path, test in named if not is_there(path, test)] if named else [shown_by]


def is_there(path: str, test: str) -> bool:
    """Say whether a file has such a test."""
    file = ROOT / path
    return file.exists() and any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == test
        for node in Source(path, file.read_text()).tree.body
    )


@pytest.mark.parametrize("row", threats(), ids=lambda row: row[0][:40])
def test_every_threat_names_tests_that_are_there(row: list[str]) -> None:
    assert [len(cell) > 0 for cell in row] == [True] * 4
    assert missing(row[3]) == []


def test_threats_are_many() -> None:
    assert len(threats()) >= 15


@pytest.mark.parametrize(
    ("shown_by", "found"),
    [
        ("", ""),
        ("our tests", "our tests"),
        ("`tests/nowhere.py::test_nothing`", "tests/nowhere.py::test_nothing"),
        (f"`{HERE}::test_nothing`; `{HERE}::test_threats_are_many`", f"{HERE}::test_nothing"),
        (f"`{HERE}::threats`", f"`{HERE}::threats`"),
    ],
)
def test_a_test_that_is_not_there_is_found(shown_by: str, found: str) -> None:
    assert missing(shown_by) == [found]
