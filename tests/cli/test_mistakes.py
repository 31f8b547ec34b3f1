"""Whatever is wrong with arguments, settings or the database: one line of complaint, and exit status 1."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tenancy.embedded import EmbeddedServer
from tests.cli.shell import GREETING, NOBODY, Shell, write


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["polish"], "No such command 'polish'"),
        (["account", "create"], "Missing argument 'NAME'"),
        (["account", "create", "Acme", "--id", "[bold]7"], "'[bold]7' is not a valid UUID"),
        (["account", "create", " "], "1 to 200 characters"),
        (["account", "create", "x" * 201], "1 to 200 characters"),
        (["account", "create", "bell\a"], "control characters"),
        (["account", "create", os.fsdecode(b"\xff")], "valid Unicode"),
        (["user", "create", "a@b.example", "--name", "A", "--account", NOBODY], f"no account {NOBODY}"),
        (["user", "suspend", NOBODY], f"no user {NOBODY}"),
        (["user", "resume", "[bold]@b.example"], "no user [bold]@b.example"),
        (
            ["user", "remove", "nobody", "--account", NOBODY],
            "'nobody' is neither an e-mail address nor a user's id",
        ),
        (["user", "set-password", "a@b.example"], "no user a@b.example"),
        (["user", "list", "--account", NOBODY], f"no account {NOBODY}"),
        (["client", "remove-key", NOBODY, "1", "--account", NOBODY], f"no client {NOBODY}"),
        (["client", "create", "--kind", "machine", "--scope", "", "--account", NOBODY], "'' is not one of"),
        (["account", "suspend", NOBODY], f"no account {NOBODY}"),
        (["account", "resume", NOBODY], f"no account {NOBODY}"),
        (["client", "create", "--kind", "public", "--account", NOBODY], "needs a redirect URI"),
        (["client", "create", "--kind", "machine", "--account", NOBODY], f"no account {NOBODY}"),
        (
            ["client", "create", "--kind", "machine", "--scope", "[/x]", "--account", NOBODY],
            "'[/x]' is not one of",
        ),
        (["client", "list", "--account", NOBODY], f"no account {NOBODY}"),
        (["client", "rotate-secret", NOBODY, "--account", NOBODY], f"no client {NOBODY}"),
        (["client", "delete", NOBODY, "--account", NOBODY, "--yes"], f"no client {NOBODY}"),
        (["client", "delete", NOBODY, "--account", NOBODY], "give --yes"),
        (["grant", "allow", "--client", NOBODY, "--account", NOBODY], "Missing option '--scope'"),
        (
            ["grant", "allow", "--client", NOBODY, "--account", NOBODY, "--scope", "openid"],
            f"no account {NOBODY}",
        ),
        (["grant", "revoke"], "whose grants"),
        (["grant", "revoke", "--user", "a@b.example"], "no user a@b.example"),
        (["grant", "revoke", "--client", NOBODY], f"no active client {NOBODY}"),
        (["grant", "revoke", "--account", NOBODY], f"no account {NOBODY}"),
        (["client", "create", "--kind", "[/x]", "--account", NOBODY], "'[/x]' is not one of"),
        (["token", "issue", "--account", NOBODY, "--user", NOBODY], f"no user {NOBODY}"),
        (["token", "issue", "--account", NOBODY, "--client", NOBODY], f"no account {NOBODY}"),
        (["token", "issue", "--account", NOBODY], "either --user or --client"),
        (["token", "issue", "--account", NOBODY, "--client", NOBODY, "--expires-in", "0"], "lives 1 to"),
        (["token", "issue", "--account", NOBODY, "--client", NOBODY, "--scope", "[bold]"], "scope [bold]"),
        (["workflow", "publish", "missing.yaml", "--account", NOBODY], "'missing.yaml' does not exist"),
        (["workflow", "publish", "greeting.yaml", "--account", NOBODY], f"no account {NOBODY}"),
        (["serve", "--port", "65536"], "65536"),
        (["serve", "--host", "no.such.host.invalid", "--port", "0"], "no.such.host.invalid"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_1(shell: Shell, arguments: list[Any], told: str) -> None:
    write(shell, "greeting.yaml", GREETING)
    assert told in shell.refused(*arguments)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"TUTTI_DATADIR": "x"}, "Unknown setting TUTTI_DATADIR"),
        ({"TUTTI_POOL_SIZE": "many"}, "TUTTI_POOL_SIZE"),
        ({"TUTTI_POOL_SIZE": "1"}, "TUTTI_POOL_SIZE"),
        ({"TUTTI_LOG_LEVEL": "[/x]"}, "TUTTI_LOG_LEVEL"),
        ({"DATABASE_URL": "postgresql://tutti_app@127.0.0.1:1/tutti"}, "cannot be reached"),
        ({"DATABASE_URL": "mysql://tutti_app@localhost/tutti"}, "cannot be reached"),
        ({"DATABASE_URL": "[bold]"}, "cannot be reached"),
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", [("migrate",), ("account", "create", "Acme"), ("serve",)], ids=" ".join)
def test_a_wrong_setting_is_one_line_and_exit_status_1(
    shell: Shell, verb: tuple[str, ...], settings: Mapping[str, str], told: str
) -> None:
    assert told in shell.refused(*verb, **settings)


@pytest.mark.parametrize("verb", [("secret", "key"), ("openapi", "--check"), ("demo",)], ids=" ".join)
def test_an_unknown_setting_is_refused_by_verbs_that_need_none(lone: Shell, verb: tuple[str, ...]) -> None:
    assert "Unknown setting TUTTI_FOO" in lone.refused(*verb, TUTTI_FOO="1")


def test_a_database_that_was_not_migrated_says_what_to_run(lone: Shell) -> None:
    assert "run: tutti migrate" in lone.refused("account", "create", "Acme")


def test_the_role_of_a_superuser_is_refused(shell: Shell, running: Path) -> None:
    sockets = EmbeddedServer(running).place.sockets
    url = f"postgresql://postgres@/tutti?host={sockets}"
    assert "is a superuser" in shell.refused("account", "create", "Acme", DATABASE_URL=url)
