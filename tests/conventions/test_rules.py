"""The architecture and the habits, one rule each, held over every file; each with a sample that it passes and one it stops.

A line may be spared with `# allow: rule - reason`; one that spares nothing fails.
"""

import ast
import re
from collections.abc import Callable

import pytest

from tests.conventions.sources import Findings, Rule, Source, imported, in_product, modules, texts, within

DIALECTS = (
    "service/maestro/",
    "service/formance/",
    "service/keyfactor/",
    "service/console/",
    "service/webhooks/",
)
PURE_ENGINE = (
    *(
        f"service/engine/{name}.py"
        for name in ("interpreter", "flow", "places", "frames", "messages", "states")
    ),
    "service/engine/bodies/",
)
BANNED_FILES = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common"}
BANNED_CLASSES = re.compile(r"\w+(Service|Manager|Helper|Util|Utils)$")


def never_imports(*packages: str) -> Callable[[Source], Findings]:
    """Find imports from packages that a module may not know."""

    def find(source: Source) -> Findings:
        for line, name in imported(source):
            if within(name, *packages):
                yield line, f"imports {name}"

    return find


def within_folder(*folders: str) -> Callable[[str], bool]:
    """Apply to the files below some folders."""
    return lambda path: path.startswith(folders)


def outside_samples(path: str) -> bool:
    """Apply to everything but the samples of what is not to be."""
    return not path.startswith("tests/conventions/")


def opens_transactions(source: Source) -> Findings:
    """Find transactions that are opened past `tenancy.rows`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr == "transaction":
            yield node.lineno, "opens a transaction of the library's own"


def stops_every_clock(source: Source) -> Findings:
    """A clock that is set for all is the event loop's too: whatever pauses just then pauses until that hour."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node).startswith("monkeypatch.setattr(time, "):
            yield (
                node.lineno,
                "sets the clock of the event loop too; set that of the module: setattr(module, 'time', ...)",
            )


def postpones_annotations(source: Source) -> Findings:
    """Find the import that hides annotations from the libraries that read them."""
    for line, name in imported(source):
        if name == "__future__.annotations":
            yield line, "postpones annotations, which Litestar, msgspec and Piccolo read at run time"


def has_a_banned_name(source: Source) -> Findings:
    """Find names that say nothing."""
    for part in source.path.removesuffix(".py").split("/"):
        if part.lower() in BANNED_FILES:
            yield 1, f"{part!r} says nothing about what is in it"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and BANNED_CLASSES.match(node.name):
            yield node.lineno, f"the class {node.name} is named after no thing"


def has_no_docstring(source: Source) -> Findings:
    """Find modules that do not say what they are for."""
    if source.tree.body and not ast.get_docstring(source.tree):
        yield 1, "does not say what it is for"


def names_this_machine(source: Source) -> Findings:
    """Find absolute paths of somebody's machine."""
    homes = re.compile(r"(?<![\w.$])/(?:home|Users|root|work|mnt|private)/\w")
    for number, line in enumerate(source.text.splitlines(), 1):
        if homes.search(line):
            yield number, "names a folder of somebody's machine"


def names_a_registry(source: Source) -> Findings:
    """Find addresses that packages were downloaded from."""
    addresses = re.compile(
        r"--(?:extra-)?index-url|https?://[^\s\"']*(?:/simple/|pypi\.|registry\.|artifactory|\.tgz|\.whl)"
        r"|^\s*\"resolved\":",
        re.IGNORECASE,
    )
    for number, line in enumerate(source.text.splitlines(), 1):
        if addresses.search(line):
            yield number, "names an address of a package registry"


RULES = [
    Rule(
        "tenancy-imports",
        never_imports("auth", "service", "litestar"),
        within_folder("tenancy/"),
        "tenancy/rows.py",
        good="from tenancy.errors import NotFound\n",
        bad="from auth.bearer import Caller\n",
    ),
    Rule(
        "auth-imports",
        never_imports("service"),
        within_folder("auth/"),
        "auth/bearer.py",
        good="from tenancy.rows import rows_of\n",
        bad="import service.settings\n",
    ),
    Rule(
        "http-free",
        never_imports("litestar", "uvicorn", "starlette", "httpx"),
        within_folder("service/operations/", "service/engine/", "service/language/"),
        "service/operations/instances.py",
        good="from tenancy.errors import Conflict\n",
        bad="from litestar.exceptions import HTTPException\n",
    ),
    Rule(
        "dialects-import-operations",
        never_imports("service.engine.worker", "service.engine.queue", "service.tables", "piccolo", "asyncpg", "tenancy.rows"),
        within_folder(*DIALECTS),
        "service/maestro/controllers.py",
        good="from service.operations import instances\nfrom service.engine.states import Status\n",
        bad="from service.tables import Instance\n",
    ),
    Rule(
        "dialects-apart",
        lambda source: (
            (line, f"imports {name}, another dialect's")
            for line, name in imported(source)
            for dialect in DIALECTS
            if within(name, dialect.strip("/").replace("/", ".")) and not source.path.startswith(dialect)
        ),
        within_folder(*DIALECTS, "service/operations/", "service/engine/", "service/language/"),
        "service/maestro/models.py",
        good="from service.maestro.errors import dialect_of\n",
        bad="from service.formance.models import Run\n",
    ),
    Rule(
        "engine-below-operations",
        never_imports("service.operations"),
        within_folder("service/engine/", "service/language/"),
        "service/engine/worker.py",
        good="from service.language.document import Definition\n",
        bad="from service.operations import instances\n",
    ),
    Rule(
        "language-is-pure",
        never_imports("piccolo", "asyncpg", "tenancy", "auth", "service.tables", "service.engine", "service.settings"),
        within_folder("service/language/"),
        "service/language/document.py",
        good="from service.language.errors import Problem\n",
        bad="from tenancy.rows import rows_of\n",
    ),
    Rule(
        "interpreter-is-pure",
        never_imports(
            *("piccolo", "asyncpg", "tenancy", "auth", "service.tables", "service.settings", "time", "random"),
            *("service.engine.worker", "service.engine.queue", "service.engine.events", "service.engine.definitions"),
        ),
        within_folder(*PURE_ENGINE),
        "service/engine/interpreter.py",
        good="from service.engine.frames import State\n",
        bad="import asyncpg\n",
    ),
    Rule(
        "transactions",
        opens_transactions,
        lambda path: in_product(path) and not path.startswith("tenancy/"),
        "service/operations/workflows.py",
        good="async def f(account):\n    async with rows_of(account):\n        pass\n",
        bad="async def f():\n    async with DB.transaction():\n        pass\n",
    ),
    Rule(
        "clocks",
        stops_every_clock,
        within_folder("tests/"),
        "tests/world.py",
        good='def test_later(monkeypatch):\n    monkeypatch.setattr(basic, "time", later)\n',
        bad='def test_later(monkeypatch):\n    monkeypatch.setattr(time, "monotonic", later)\n',
    ),
    Rule(
        "annotations",
        postpones_annotations,
        lambda path: path.endswith(".py"),
        "tests/world.py",
        good="from typing import Any\n",
        bad="from __future__ import annotations\n",
    ),
    Rule(
        "names",
        has_a_banned_name,
        lambda path: path.endswith(".py"),
        "service/operations/instances.py",
        good="class Instance:\n    pass\n",
        bad="class InstanceManager:\n    pass\n",
    ),
    Rule(
        "docstrings",
        has_no_docstring,
        lambda path: path.endswith(".py") and not re.search(r"/migrations/\w+_tables\w*\.py$", path),  # Piccolo's
        "service/app.py",
        good='"""What it is for."""\nx = 1\n',
        bad="x = 1\n",
    ),
    Rule(
        "machines",
        names_this_machine,
        outside_samples,
        "README.md",
        good="Data is under /var/lib/tutti, or in ~/.tutti, or at https://example.com/home/x\n",
        bad="cd /home/ada/tutti\n",
    ),
    Rule(
        "registries",
        names_a_registry,
        outside_samples,
        "requirements.lock",
        good="litestar==2.25.0 --hash=sha256:00\n# see https://www.rfc-editor.org/\n",
        bad="--index-{} https://packages.example/\n".format("url"),
    ),
]  # fmt: skip


def named(rule: Rule) -> str:
    """Name a test's case after its rule."""
    return rule.name


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    assert [broken for source in texts() for broken in rule.broken_by(source)] == []


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_rule_passes_its_good_sample_and_stops_its_bad_one(rule: Rule) -> None:
    assert rule.applies(rule.stands_in)
    assert rule.broken_by(Source(rule.stands_in, rule.good)) == []
    assert len(rule.broken_by(Source(rule.stands_in, rule.bad))) >= 1


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.stands_in.endswith(".py")], ids=named)
def test_the_rule_spares_a_line_that_says_why(rule: Rule) -> None:
    (line, _), *_ = rule.find(Source(rule.stands_in, rule.bad))
    lines = rule.bad.splitlines()
    lines[line - 1] += f"  # allow: {rule.name} - a reason"
    assert rule.broken_by(Source(rule.stands_in, "\n".join(lines))) == []
    lines[line - 1] = lines[line - 1].replace("a reason", "")
    assert len(rule.broken_by(Source(rule.stands_in, "\n".join(lines)))) == 1


@pytest.mark.parametrize("path", ["service/utils.py", "service/common/names.py", "tests/helpers.py"])
def test_the_rule_of_names_stops_files_that_are_named_after_nothing(path: str) -> None:
    assert list(has_a_banned_name(Source(path, "")))


@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-{} https://packages.example/pypi".format("url"),
        "pip install https://files.example/a.whl",
        '      "{}": "https://registry.example/a/-/a-1.0.0.tgz",'.format("resolved"),
        "see https://registry.npmjs.example/left-pad",
    ],
)
def test_the_rule_of_registries_stops_addresses_of_any_kind(line: str) -> None:
    assert list(names_a_registry(Source("notes.md", line)))


def test_no_line_is_spared_for_nothing() -> None:
    assert [
        unused
        for source in modules()
        if outside_samples(source.path)
        for unused in spared_for_nothing(source)
    ] == []


def test_a_line_that_is_spared_for_nothing_is_found() -> None:
    source = Source("tenancy/rows.py", "import asyncio  # allow: tenancy-imports - no longer needed\n")
    assert spared_for_nothing(source) == ["tenancy/rows.py:1: nothing here breaks tenancy-imports"]


def spared_for_nothing(source: Source) -> list[str]:
    """List the lines of a file that ask to be spared from a rule that they do not break."""
    found = {
        (line, rule.name) for rule in RULES if rule.applies(source.path) for line, _ in rule.find(source)
    }
    return [
        f"{source.path}:{line}: nothing here breaks {rule}"
        for line, rule in source.escapes.items()
        if (line, rule) not in found
    ]
