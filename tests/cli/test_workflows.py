"""`tutti workflow publish`, `tutti demo` and `tutti openapi`: what there is to run, and what describes it."""

import re
from uuid import UUID

import msgspec

from tests.cli.shell import GREETING, Shell, processes_of, write

WRONG = """\
document: {dsl: '1.0.3', namespace: cli, name: Not A Name, version: '1'}
do:
  - one: {set: '${ .a | }'}
  - two: {wait: {hours: '[bold]three[/x]'}}
"""


def test_a_definition_with_problems_names_all_of_them_to_the_letter(shell: Shell, account: UUID) -> None:
    complaint = shell.refused("workflow", "publish", write(shell, "wrong.yaml", WRONG), "--account", account)
    for pointer in ("/document/name", "/document/version", "/do/0/one", "/do/1/two"):
        assert pointer in complaint
    for path, text in (("nothing.json", b"{"), ("bytes.yaml", b"\xff\xfe\xfd"), ("empty.yml", b"")):
        assert path in shell.refused("workflow", "publish", write(shell, path, text), "--account", account)


def test_workflow_publish_again_changes_nothing(shell: Shell, account: UUID) -> None:
    publish = ("workflow", "publish", write(shell, "greeting.yaml", GREETING), "--account", account)
    made = shell.json(*publish)
    assert made["version"] == "1.0.0"
    assert shell.json(*publish) == made
    as_json = msgspec.json.encode(
        {
            "document": {"dsl": "1.0.3", "namespace": "cli", "name": "greeting", "version": "1.1.0"},
            "do": [{"greet": {"set": {"text": "Hello"}}}],
        }
    )
    newer = shell.json("workflow", "publish", write(shell, "newer.json", as_json), "--account", account)
    assert newer == {"workflow_id": made["workflow_id"], "version": "1.1.0"}


def test_demo_twice_gives_the_same_data(lone: Shell) -> None:
    told = lone.run("demo")
    assert told.returncode == 0
    assert "curl -s http://127.0.0.1:8000/v1/accounts/" in told.stdout
    assert "[bold]" not in told.stdout
    again = lone.json("demo")
    for identifier in (*again["accounts"].values(), *again["workflows"].values()):
        assert identifier in told.stdout
    assert again["access_token"] not in told.stdout
    for client in ("public_client_id", "machine_client_id"):
        assert again[client] in told.stdout
    assert (again["password"], again["machine_client_secret"]) == (None, None)
    assert re.search(r"^  password \S{16} \(not shown again\)$", told.stdout, re.MULTILINE)
    assert re.search(r"^    secret \S{43} \(not shown again\)$", told.stdout, re.MULTILINE)
    assert list(processes_of(lone)) == []


def test_openapi_check_says_that_the_documents_are_current(shell: Shell) -> None:
    finished = shell.run("openapi", "--check")
    assert finished.returncode == 0, finished.stderr
    assert "current" in finished.stderr
