"""The OpenAPI document in the hands of others: two linters without a finding, and a generated client that works."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import Company
from tests.compat.node import FOLDER, installed, node

pytestmark = [pytest.mark.compat, pytest.mark.timeout(600)]

DOCUMENTS = sorted((FOLDER.parents[1] / "openapi").glob("*.json"))
MAESTRO = FOLDER.parents[1] / "openapi" / "maestro.json"
# OAuth has errors of its own (RFC 6749, 5.2); its keys and metadata are refused to nobody; browsers are only sent on.
# Formance's and Keyfactor's errors are application/json, whatever their status. Single paths of a document that a rule does
# not hold of stand in lint/.redocly.lint-ignore.yaml.
SPARED = {
    "formance": ("operation-4xx-problem-details-rfc7807",),
    "keyfactor": ("operation-4xx-problem-details-rfc7807",),
    "oauth": ("operation-4xx-problem-details-rfc7807", "operation-4xx-response", "operation-2xx-response"),
}
LOCK_FILES = [FOLDER / "package-lock.json", FOLDER / "lint" / "package-lock.json"]


@pytest.fixture(scope="session")
def judges() -> Path:
    """The folder with the linters and the client generator, installed."""
    return installed(FOLDER / "lint")


def run(folder: Path, script: str, *arguments: str, at: Path | None = None) -> str:
    """Run a program of the installed packages; its own output is the message when it finds something."""
    command = [node(), str(folder / "node_modules" / script), *arguments]
    finished = subprocess.run(command, cwd=at or folder, capture_output=True, text=True, check=False)
    if finished.returncode:
        pytest.fail(finished.stdout + finished.stderr, pytrace=False)
    return finished.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_redocly_finds_nothing(judges: Path, document: Path) -> None:
    spared = [f"--skip-rule={rule}" for rule in SPARED.get(document.stem, ())]
    arguments = ("--config", "redocly.yaml", "--format", "json", *spared)
    told = json.loads(run(judges, "@redocly/cli/bin/cli.js", "lint", str(document), *arguments))
    assert told["problems"] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_spectral_finds_nothing(judges: Path, document: Path) -> None:
    arguments = ("--ruleset", "spectral.yaml", "--fail-severity", "hint", "--format", "json", "--quiet")
    told = json.loads(run(judges, "@stoplight/spectral-cli/dist/index.js", "lint", str(document), *arguments))
    assert told == []


def test_a_generated_client_compiles_and_drives_the_service(
    judges: Path, acme: Company, tmp_path: Path
) -> None:
    for name in ("client.mts", "tsconfig.json"):
        shutil.copy(judges / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(judges / "node_modules")
    run(judges, "openapi-typescript/bin/cli.js", str(MAESTRO), "--output", str(tmp_path / "maestro.d.ts"))
    run(judges, "typescript/bin/tsc", "--project", ".", at=tmp_path)
    told = driven(tmp_path, acme)
    assert "Order goods" in told["names"]
    assert told["status"] == "Completed"
    assert told["ended"].endswith("Z")
    assert told["output"] == {"letter": "Dear Ada", "copies": 2, "done": True}
    assert told["targets"] == ["trigger_inputs/customer"]


def driven(folder: Path, company: Company) -> Any:
    """Run the compiled client."""
    arguments = (company.admin.url, company.admin.token, company.id, company.workflows["order"])
    command = [node(), str(folder / "client.mjs"), *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.parametrize("path", LOCK_FILES, ids=lambda path: path.parent.name)
def test_lock_files_pin_by_digest_and_hold_no_addresses(path: Path) -> None:
    packages = json.loads(path.read_text())["packages"]
    pinned = {name: package for name, package in packages.items() if name}
    assert [name for name, package in pinned.items() if "integrity" not in package] == []
    assert [name for name, package in pinned.items() if "resolved" in package] == []
    manifest = packages[""]["devDependencies"]
    assert [name for name, version in manifest.items() if not version[0].isdigit()] == []
