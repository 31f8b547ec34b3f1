"""`tutti formance configure`: an account gets its stack, whose secret comes by standard input and is told to nobody."""

from uuid import UUID

import pytest

from service.cli.formance import formance_configure
from service.formance.connection import connection
from tenancy.errors import BadRequest
from tests.cli.shell import Shell
from tests.world import SECRET_KEYS

VALUE = "a-value-that-nobody-may-read"
STACK = ("--url", "https://stack.example/", "--client-id", "tutti")


def test_an_account_is_connected_and_its_secret_not_told(shell: Shell, account: UUID) -> None:
    shell.environment["TUTTI_SECRET_KEYS"] = SECRET_KEYS
    finished = shell.run("formance", "configure", "--account", account, *STACK, given=f"{VALUE}\n")
    assert finished.returncode == 0, finished.stderr
    assert VALUE not in finished.stdout + finished.stderr
    assert "connected to https://stack.example, with" in " ".join(finished.stdout.split())
    again = shell.json("formance", "configure", "--account", account, *STACK, given=VALUE)
    assert again == {
        "account_id": str(account),
        "url": "https://stack.example",
        "token_url": "https://stack.example/api/auth/oauth/token",
        "client_id": "tutti",
        "replaced": True,
    }
    assert [one["name"] for one in shell.json("secret", "list", "--account", account)["secrets"]] == [
        "formance"
    ]
    assert "secret are both needed" in shell.refused(
        "formance", "configure", "--account", account, *STACK, given="\n"
    )


def test_the_secret_is_no_argument() -> None:
    assert {one.name for one in formance_configure.params} == {
        "account_id",
        "url",
        "client_id",
        "token_url",
        "as_json",
    }


def test_tokens_come_from_the_host_unless_something_else_is_said() -> None:
    found = connection("https://host.example/prefix/", "id", "secret")
    assert (found["url"], found["token_authority"], found["token_path"]) == (
        "https://host.example/prefix",
        "https://host.example",
        "/api/auth/oauth/token",
    )
    found = connection("https://host.example", "id", "secret", "http://tokens.example:8080/a/b")
    assert (found["token_authority"], found["token_path"]) == ("http://tokens.example:8080", "/a/b")


@pytest.mark.parametrize(
    "url",
    ["", "stack.example", "ftp://x", "https://", "https://u:p@x", "https://x?a", "https://x#a", "https://["],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="--url"):
        connection(url, "id", "secret")
    with pytest.raises(BadRequest, match="--token-url"):
        connection("https://x", "id", "secret", url)
