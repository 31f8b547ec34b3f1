"""`tutti audit export`: what happened in an account, as JSON lines on standard output."""

from uuid import UUID, uuid4

import msgspec

from tests.cli.shell import Shell


def test_an_accounts_audit_is_printed_as_json_lines(shell: Shell, account: UUID) -> None:
    shell.json("account", "suspend", account)
    shell.json("account", "resume", account)
    finished = shell.run("audit", "export", "--account", account, "--actor-kind", "operator")
    assert finished.returncode == 0, finished.stderr
    events = [msgspec.json.decode(line) for line in finished.stdout.splitlines()]
    assert [one["type"] for one in events][-2:] == ["account.suspended", "account.resumed"]
    assert events[-1]["subject"] == {"kind": "account", "id": str(account)}
    assert events[-1]["actor"] == {"kind": "operator"}
    chosen = shell.run("audit", "export", "--account", account, "--type", "account.resumed").stdout
    assert len(chosen.splitlines()) == sum(one["type"] == "account.resumed" for one in events)
    assert shell.run("audit", "export", "--account", account, "--to", "2026-01-01").stdout == ""


def test_the_audit_of_an_account_that_is_not_there_is_one_line_of_complaint(shell: Shell) -> None:
    finished = shell.run("audit", "export", "--account", uuid4())
    assert finished.returncode == 1
    assert "There is no account" in finished.stderr
    assert finished.stdout == ""


def test_an_id_without_its_kind_is_one_line_of_complaint(shell: Shell, account: UUID) -> None:
    finished = shell.run("audit", "export", "--account", account, "--subject", uuid4())
    assert finished.returncode == 1
    assert "subject_kind" in finished.stderr
