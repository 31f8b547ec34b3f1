"""`tutti secret`: values come by standard input or unseen from the terminal, and are told to nobody."""

from uuid import UUID

import pytest

from service.cli.secrets import secret_set
from tests.cli.shell import Shell, at_terminal
from tests.world import SECRET_KEYS

VALUE = "a-value-that-nobody-may-read"


@pytest.fixture(autouse=True)
def _keys(shell: Shell) -> None:
    """The operator has a key."""
    shell.environment["TUTTI_SECRET_KEYS"] = SECRET_KEYS


def test_a_secret_is_set_from_standard_input_and_not_told(shell: Shell, account: UUID) -> None:
    finished = shell.run("secret", "set", "crm-token", "--account", account, given=f"{VALUE}\n")
    assert finished.returncode == 0, finished.stderr
    assert VALUE not in finished.stdout + finished.stderr
    assert '$secrets["crm-token"]' in finished.stdout
    again = shell.json("secret", "set", "crm-token", "--account", account, given=VALUE)
    assert again == {"account_id": str(account), "name": "crm-token", "replaced": True}
    (listed,) = shell.json("secret", "list", "--account", account)["secrets"]
    assert set(listed) == {"name", "created_at", "modified_at"}
    told = shell.run("secret", "list", "--account", account).stdout
    assert "crm-token  made 20" in told
    shell.json("secret", "delete", "crm-token", "--account", account)
    assert "no secrets" in shell.run("secret", "list", "--account", account).stdout


def test_a_secret_is_typed_twice_at_the_terminal_and_not_shown(shell: Shell, account: UUID) -> None:
    answers = [f"Value:{VALUE}", f"Repeat for confirmation:{VALUE}"]
    status, told = at_terminal(shell, "secret", "set", "token", "--account", str(account), answers=answers)
    assert status == 0, told
    assert "$secrets.token" in told
    assert VALUE not in told


def test_no_value_is_an_argument_where_the_list_of_processes_would_show_it() -> None:
    assert {one.name for one in secret_set.params} == {"name", "account_id", "json_value", "as_json"}


def test_an_object_is_set_as_json(shell: Shell, account: UUID) -> None:
    login = '{"username": "ada", "password": "a-value-that-nobody-may-read"}'
    shell.json("secret", "set", "login", "--json-value", "--account", account, given=login)
    for wrong in ('"text"', "{", "[1]", '{"a": 1, "a": 2}'):
        message = shell.refused("secret", "set", "login", "--json-value", "--account", account, given=wrong)
        assert "not one JSON object" in message


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("token", "", "The value is empty"),
        ("token", "\n", "The value is empty"),
        ("token", b"\xff", "not UTF-8"),
        ("token", "x" * 65537, "at most 64 KiB"),
        ("token", "nul \0", "NUL"),
        ("a token", "x", "1 to 128 letters, digits, hyphens and underscores"),
        ("[bold]", "x", "1 to 128 letters, digits, hyphens and underscores"),
    ],
    ids=["nothing", "a-line-break", "bytes", "long", "nul", "blank-in-name", "markup-in-name"],
)
def test_a_mistake_is_one_line(shell: Shell, account: UUID, name: str, given: str | bytes, told: str) -> None:
    assert told in shell.refused("secret", "set", name, "--account", account, given=given)


def test_without_keys_one_line_says_how_to_make_one(shell: Shell, account: UUID) -> None:
    del shell.environment["TUTTI_SECRET_KEYS"]
    message = shell.refused("secret", "set", "token", "--account", account, given=VALUE)
    assert "tutti secret key" in message
    made = shell.json("secret", "key")["key"]
    assert made != shell.run("secret", "key").stdout.strip()
    shell.json("secret", "set", "token", "--account", account, given=VALUE, TUTTI_SECRET_KEYS=made)


def test_a_wrong_key_is_not_shown(shell: Shell, account: UUID) -> None:
    wrong = SECRET_KEYS[:-4]
    message = shell.refused(
        "secret", "list", "--account", account, TUTTI_SECRET_KEYS=f"{SECRET_KEYS},{wrong}"
    )
    assert "TUTTI_SECRET_KEYS: number 2 is not a key" in message
    assert wrong not in message


def test_a_rotation_tells_what_it_did_and_fails_where_something_is_unreadable(
    shell: Shell, account: UUID
) -> None:
    other = shell.json("secret", "key")["key"]
    shell.json("secret", "set", "token", "--account", account, given=VALUE)
    rotated = shell.run("secret", "rotate", TUTTI_SECRET_KEYS=other)
    assert rotated.returncode == 1
    assert f"No key reads the secret {account} token" in rotated.stderr
    assert VALUE not in rotated.stdout + rotated.stderr
    done = shell.run("secret", "rotate", TUTTI_SECRET_KEYS=f"{other},{SECRET_KEYS}")
    assert "secrets are encrypted anew" in done.stdout
    assert str(account) not in done.stderr
    shell.json("secret", "delete", "token", "--account", account)
