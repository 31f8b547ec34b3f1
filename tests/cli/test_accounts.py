"""`tutti account` and `tutti user`: accounts, their people, and how those come, log in and go."""

from uuid import UUID, uuid4

import pytest

from tests.cli.shell import NOBODY, Shell, at_terminal, person


@pytest.mark.parametrize(
    "name", ["[bold]Acme[/bold]", "[/x]", "Acme :warning: [link=x]", "\\[red]", "Ünï 本 🎺"]
)
def test_names_come_out_to_the_letter(shell: Shell, name: str) -> None:
    finished = shell.run("account", "create", name)
    assert finished.returncode == 0, finished.stderr
    assert f"({name})" in finished.stdout


def test_account_create_twice_with_one_id_is_refused(shell: Shell) -> None:
    wanted = uuid4()
    assert shell.json("account", "create", "Acme", "--id", wanted) == {"account_id": str(wanted)}
    assert f"{wanted} exists already" in shell.refused("account", "create", "Acme", "--id", wanted)


def test_account_limits_are_set_shown_and_lifted(shell: Shell, account: UUID) -> None:
    limits = ("account", "limits", account)
    given = ("--requests-per-second", "50", "--burst", "100", "--running-instances", "1000")
    told = shell.json(*limits, *given)
    expected = {"requests_per_second": 50, "burst": 100, "running_instances": 1000, "stored_bytes": None}
    assert told.items() >= expected.items()
    assert shell.json(*limits) == told
    lifted = shell.json(*limits, "--none", "requests-per-second", "--stored-bytes", "1000000")
    changed = {"requests_per_second": None, "burst": None, "stored_bytes": 1_000_000}
    assert lifted.items() >= (expected | changed).items()
    assert shell.run(*limits).stdout.splitlines() == [
        "requests-per-second  none",
        "burst                none",
        "running-instances    1000 (0 run)",
        "stored-bytes         1000000 (not measured yet)",
    ]
    assert "whole number from 1" in shell.refused(*limits, "--running-instances", "0")
    assert "not both" in shell.refused(*limits, "--burst", "1", "--none", "burst")
    assert f"no account {NOBODY}" in shell.refused("account", "limits", NOBODY, "--burst", "1")


def test_account_settings_are_changed_and_shown(shell: Shell, account: UUID) -> None:
    settings = ("account", "settings", account)
    changed = shell.json(*settings, "--name", "Acme Works", "--instance-retention-days", "90")
    expected = {"name": "Acme Works", "instance_retention_days": 90, "event_retention_days": None}
    assert changed == {"account_id": str(account), **expected}
    kept = shell.json(*settings, "--none", "instance-retention-days", "--event-retention-days", "30")
    assert kept == changed | {"instance_retention_days": None, "event_retention_days": 30}
    assert shell.run(*settings).stdout.splitlines() == [
        "name                      Acme Works",
        "instance-retention-days   for ever",
        "event-retention-days      30",
    ]
    assert "from 30 to" in shell.refused(*settings, "--event-retention-days", "29")


def test_account_suspend_and_resume(shell: Shell, account: UUID) -> None:
    for verb, status in (("suspend", "suspended"), ("resume", "active")):
        assert shell.json("account", verb, account) == {"account_id": str(account), "status": status}


def test_user_create_of_a_user_that_exists_adds_a_membership(shell: Shell) -> None:
    first, second = (shell.json("account", "create", name)["account_id"] for name in ("One", "Two"))
    email = f"{uuid4().hex}@tutti.example"
    new = ("user", "create", email, "--name", "Ada", "--role", "admin")
    made = shell.json(*new, "--password-stdin", "--account", first, given="correct horse\n")
    typed = shell.refused(*new, "--password-stdin", "--account", second, given="another horse\n")
    assert "was not set" in typed
    assert "--reset" in typed
    assert shell.json(*new, "--account", second) == made
    assert "member of account" in shell.refused(*new, "--account", second)
    third = shell.json("account", "create", "Three")["account_id"]
    reset = (*new, "--password-stdin", "--reset", "--account", third)
    assert shell.json(*reset, given="another horse\n") == made


@pytest.mark.parametrize(
    ("password", "told"),
    [("short\n", "at least 8"), ("", "at least 8"), (b"\xff" * 9, "Unicode"), ("x" * 1025, "at most 1024")],
)
def test_user_create_with_an_unusable_password_is_refused(
    shell: Shell, account: UUID, password: str | bytes, told: str
) -> None:
    new = ("user", "create", "a@b.example", "--name", "A", "--password-stdin", "--account", account)
    complaint = shell.refused(*new, given=password)
    assert told in complaint or "UTF-8" in complaint


def test_user_create_says_how_a_password_is_set(shell: Shell, account: UUID) -> None:
    new = ("user", "create", f"{uuid4().hex}@tutti.example", "--name", "Ada", "--account", account)
    told = shell.run(*new, "--role", "admin").stdout
    assert f"is an admin of account {account}." in told
    assert f"tutti user set-password {new[2]}" in told


def test_user_set_password_takes_it_from_standard_input(shell: Shell, account: UUID) -> None:
    email, user_id = person(shell, account)
    new = ("user", "set-password", email, "--password-stdin")
    assert shell.json(*new, given="correct horse\n") == {"user_id": user_id}
    assert "at least 8" in shell.refused(*new, given="short\n")


def test_user_set_password_at_a_terminal_asks_twice_and_shows_nothing(shell: Shell, account: UUID) -> None:
    email, _ = person(shell, account)
    new = ("user", "set-password", email)
    status, told = at_terminal(shell, *new, answers=["Password:correct horse", "confirmation:correct horse"])
    assert status == 0, told
    assert "new password" in told
    assert "horse" not in told


def test_user_suspend_resume_and_remove(shell: Shell, account: UUID) -> None:
    email, user_id = person(shell, account)
    suspended = {"user_id": user_id, "status": "suspended", "accounts_without_admin": []}
    assert shell.json("user", "suspend", email) == suspended
    told = shell.run("user", "suspend", email).stdout
    for verb in (f"tutti user resume {user_id}", f"tutti grant revoke --user {user_id}"):
        assert verb in told
    assert "is suspended" in shell.refused("token", "issue", "--user", email, "--account", account)
    assert (
        f"{user_id}  sender  suspended {email}  Ada" in shell.run("user", "list", "--account", account).stdout
    )
    assert shell.json("user", "resume", user_id) == {"user_id": user_id, "status": "active"}
    gone = {"user_id": user_id, "account_id": str(account)}
    assert shell.json("user", "remove", email, "--account", account) == gone
    assert "not a member" in shell.refused("user", "remove", email, "--account", account)
    assert "not a member" in shell.refused("token", "issue", "--user", email, "--account", account)
    back = shell.json("user", "create", email, "--name", "Ada", "--account", account, "--role", "admin")
    assert back == {"user_id": user_id}
    assert "--even-the-last" in shell.refused("user", "remove", email, "--account", account)
    assert f"Account {account} has no active admin now" in shell.run("user", "suspend", email).stdout
    shell.run("user", "resume", email)
    assert shell.json("user", "remove", email, "--account", account, "--even-the-last") == gone
