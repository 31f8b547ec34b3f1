"""The `tutti` command as people and scripts meet it: real processes, a clean environment, a data folder of its own."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
import rich_click as click
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.cli import tutti
from service.cli.verbs import Verb
from tenancy.embedded import EmbeddedServer

TUTTI = str(Path(sys.executable).with_name("tutti"))
ROOT = Path(__file__).parent.parent
LIMIT = 60  # seconds; generous, for the machine may be busy
STOP_LIMIT = 10  # seconds that the service may take to stop


def verbs_of(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Name every verb, and every group of them."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs_of(command, *path, name)
        else:
            yield *path, name


def command_of(path: tuple[str, ...]) -> click.Command:
    """Find a verb, or a group of them, by its name."""
    found: click.Command = tutti
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


def is_group(path: tuple[str, ...]) -> bool:
    return isinstance(command_of(path), click.Group)


GREETING = """\
document: {dsl: '1.0.3', namespace: cli, name: greeting, version: '1.0.0'}
do:
  - greet: {set: {text: '${ "Hello, " + .who }'}}
"""
# The trigger itself goes as far as the first wait.
WAITING = GREETING.replace("do:\n", "do:\n  - pause: {wait: {milliseconds: 10}}\n")
WRONG = """\
document: {dsl: '1.0.3', namespace: cli, name: Not A Name, version: '1'}
do:
  - one: {set: '${ .a | }'}
  - two: {wait: {hours: '[bold]three[/x]'}}
"""


# Importing the command takes longer than running it, so it is done once: each verb is then a fork of that process.
WARM = """
import json, os, sys
from service import cli
for line in sys.stdin:
    verb = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(verb["folder"])
        os.environ.clear()
        os.environ.update(verb["environment"])
        for number, flags in enumerate((os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)):
            os.dup2(os.open(str(number), flags), number)
        sys.stdin = open(0, encoding=sys.stdin.encoding, errors=sys.stdin.errors, closefd=False)
        sys.argv = ["tutti", *verb["arguments"]]
        cli.main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def warm() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported the command and forks itself for each verb."""
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-c", WARM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd="/",
    ) as process:
        yield process
        process.kill()


class Shell:
    """Runs `tutti` with its own data folder."""

    def __init__(self, folder: Path, data: Path, warm: subprocess.Popen[str]) -> None:
        self.folder = folder
        self.data = data
        self.warm = warm
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        self.environment = kept | {"TUTTI_DATA_DIR": str(data), "HOME": str(folder)}
        self.background: list[subprocess.Popen[bytes]] = []

    def run(
        self, *arguments: str | Path | UUID, given: str | bytes = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        streams = [self.folder / str(number) for number in range(3)]
        streams[0].write_bytes(given if isinstance(given, bytes) else given.encode())
        for stream in streams[1:]:
            stream.unlink(missing_ok=True)
        verb: dict[str, Any] = {
            "arguments": [str(argument) for argument in arguments],
            "environment": self.environment | settings,
            "folder": str(self.folder),
        }
        assert self.warm.stdin is not None
        assert self.warm.stdout is not None
        self.warm.stdin.write(json.dumps(verb) + "\n")
        self.warm.stdin.flush()
        status = int(self.warm.stdout.readline())
        output, error = (stream.read_bytes().decode() for stream in streams[1:])
        assert "Traceback" not in output + error, error
        return subprocess.CompletedProcess(verb["arguments"], status, output, error)

    def json(self, *arguments: str | Path | UUID, given: str = "", **settings: str) -> dict[str, Any]:
        """Run a verb that prints JSON, and return the one object that is on its standard output."""
        finished = self.run(*arguments, "--json", given=given, **settings)
        assert finished.returncode == 0, finished.stderr
        printed = msgspec.json.decode(finished.stdout)
        assert isinstance(printed, dict)
        assert finished.stdout.count("\n") == 1
        return printed

    def refused(self, *arguments: str | Path | UUID, given: str | bytes = "", **settings: str) -> str:
        """Run a verb that has to fail, and return its one line of complaint."""
        finished = self.run(*arguments, given=given, **settings)
        assert finished.returncode == 1, (finished.returncode, finished.stderr)
        assert finished.stdout == ""
        assert finished.stderr.count("\n") == 1, finished.stderr
        assert finished.stderr.startswith("tutti: ")
        return finished.stderr.strip()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a verb that runs until it is told to stop."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [TUTTI, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.background.append(process)
        return process

    def log(self) -> str:
        """Return what the background processes said."""
        return (self.folder / "log").read_text()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, warm: subprocess.Popen[str]) -> Iterator[Path]:
    """A migrated data folder whose server runs for as long as the module's tests, so that no verb has to start it."""
    folder = tmp_path_factory.mktemp("running") / "data"
    server = EmbeddedServer(folder, durable=False).start()
    shell = Shell(folder.parent, folder, warm)
    shell.json("migrate")
    yield folder
    server.remove()


@pytest.fixture
def shell(running: Path, tmp_path: Path, warm: subprocess.Popen[str]) -> Iterator[Shell]:
    """A shell on the running server."""
    made = Shell(tmp_path, running, warm)
    yield made
    end_all(made)


@pytest.fixture
def lone(tmp_path: Path, warm: subprocess.Popen[str]) -> Iterator[Shell]:
    """A shell whose data folder is its own: each verb starts and stops the server."""
    made = Shell(tmp_path, tmp_path / "data", warm)
    yield made
    end_all(made)
    EmbeddedServer(made.data).remove()


def end_all(shell: Shell) -> None:
    """Kill what a test has left running."""
    for process in shell.background:
        process.kill()
        process.wait()


@pytest.fixture
def account(shell: Shell) -> UUID:
    """A new account."""
    return UUID(shell.json("account", "create", "Test")["account_id"])


def write(shell: Shell, name: str, text: str | bytes) -> Path:
    """Write a file into the shell's folder."""
    path = shell.folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("verb", list(verbs_of(tutti)), ids=" ".join)
def test_help_of_every_verb_exits_with_0(
    tmp_path: Path, warm: subprocess.Popen[str], verb: tuple[str, ...]
) -> None:
    finished = Shell(tmp_path, tmp_path / "data", warm).run(*verb, "--help")
    assert finished.returncode == 0
    assert "Usage" in finished.stdout
    assert finished.stderr == ""
    assert not (tmp_path / "data").exists()


def test_the_installed_command_tells_its_version(tmp_path: Path) -> None:
    told = subprocess.run(
        [TUTTI, "--version"], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith("tutti, version ")


def pem(bits: int) -> bytes:
    """Make a public key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


NOBODY = UUID("00000000-0000-4000-8000-000000000000")  # fixed: cases are named after it


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


@pytest.mark.parametrize("verb", [one for one in verbs_of(tutti) if not is_group(one)], ids=" ".join)
def test_every_verb_reads_the_settings_before_anything_else(verb: tuple[str, ...]) -> None:
    assert isinstance(command_of(verb), Verb)


@pytest.mark.parametrize("verb", [("secret", "key"), ("openapi", "--check"), ("demo",)], ids=" ".join)
def test_an_unknown_setting_is_refused_by_verbs_that_need_none(lone: Shell, verb: tuple[str, ...]) -> None:
    assert "Unknown setting TUTTI_FOO" in lone.refused(*verb, TUTTI_FOO="1")


def test_a_database_that_was_not_migrated_says_what_to_run(lone: Shell) -> None:
    assert "run: tutti migrate" in lone.refused("account", "create", "Acme")


def test_the_role_of_a_superuser_is_refused(shell: Shell, running: Path) -> None:
    sockets = EmbeddedServer(running).place.sockets
    url = f"postgresql://postgres@/tutti?host={sockets}"
    assert "is a superuser" in shell.refused("account", "create", "Acme", DATABASE_URL=url)


def test_a_definition_with_problems_names_all_of_them_to_the_letter(shell: Shell, account: UUID) -> None:
    complaint = shell.refused("workflow", "publish", write(shell, "wrong.yaml", WRONG), "--account", account)
    for pointer in ("/document/name", "/document/version", "/do/0/one", "/do/1/two"):
        assert pointer in complaint
    for path, text in (("nothing.json", b"{"), ("bytes.yaml", b"\xff\xfe\xfd"), ("empty.yml", b"")):
        assert path in shell.refused("workflow", "publish", write(shell, path, text), "--account", account)


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


def person(shell: Shell, account: UUID) -> tuple[str, str]:
    """Make a user; return e-mail address and id."""
    email = f"{uuid4().hex}@tutti.example"
    made = shell.json("user", "create", email, "--name", "Ada", "--account", account)
    return email, made["user_id"]


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


def test_user_create_says_how_a_password_is_set(shell: Shell, account: UUID) -> None:
    new = ("user", "create", f"{uuid4().hex}@tutti.example", "--name", "Ada", "--account", account)
    told = shell.run(*new, "--role", "admin").stdout
    assert f"is an admin of account {account}." in told
    assert f"tutti user set-password {new[2]}" in told


def test_a_group_without_a_verb_shows_its_verbs_and_exits_with_1(tmp_path: Path) -> None:
    for group in ([], ["account"]):
        told = subprocess.run([TUTTI, *group], cwd=tmp_path, env={}, capture_output=True, check=False)
        assert told.returncode == 1
        assert b"Usage" in told.stdout + told.stderr


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


def test_client_create_tells_the_secret_of_those_that_can_keep_one(shell: Shell, account: UUID) -> None:
    key = write(shell, "key.pem", pem(2048))
    new = ("client", "create", "--account", account, "--scope", "aow_manage")
    back = ("--redirect-uri", "https://app.example/back")
    signs = ("--public-key", key)
    for kind, options, keeps in (
        ("confidential", (*back, *signs), True),
        ("public", back, False),
        ("machine", signs, True),
    ):
        made = shell.json(*new, "--kind", kind, *options)
        assert str(UUID(made["client_id"])) == made["client_id"]
        assert bool(made["client_secret"]) is keeps


def test_client_create_says_what_to_do_next(shell: Shell, account: UUID) -> None:
    key = write(shell, "key.pem", pem(2048))
    new = ("client", "create", "--account", account, "--kind")
    people, own = ("--scope", "openid", "--scope", "signature"), ("--scope", "signature aow_manage")
    back = ("--redirect-uri", "https://app.example/back?a=1")
    public_url = {"TUTTI_PUBLIC_URL": "https://tutti.example"}
    query = "redirect_uri=https%3A%2F%2Fapp.example%2Fback%3Fa%3D1&scope=openid+signature"
    credentials = "-d 'grant_type=client_credentials&scope={}' https://tutti.example/oauth/token"
    allow = f"tutti grant allow --account {account} --client "
    for kind, options, told in (
        (
            "public",
            (*back, *people),
            ["https://tutti.example/oauth/auth?", query, "code_challenge_method=S256"],
        ),
        (
            "confidential",
            (*back, *people),
            ["https://tutti.example/oauth/auth?", query, "https://tutti.example/oauth/token"],
        ),
        (
            "confidential",
            ("--public-key", key),
            ["JWT grant", f"once allowed: {allow}", "--scope signature\n"],
        ),
        (
            "confidential",
            ("--public-key", key, *back, *own, "--scope", "impersonation"),
            ["a person's consent", "--scope signature --scope aow_manage --scope impersonation\n"],
        ),
        ("machine", own, [credentials.format("signature+aow_manage")]),
        ("machine", (), [credentials.format("aow_manage+signature")]),
    ):
        finished = shell.run(*new, kind, *options, **public_url)
        assert finished.returncode == 0, finished.stderr
        for part in (*told, "TUTTI_PUBLIC_URL"):
            assert part in finished.stdout
        assert ("code_challenge" in finished.stdout) is (kind == "public")


def test_client_list_rotate_secret_and_delete(shell: Shell, account: UUID) -> None:
    made = shell.json("client", "create", "--account", account, "--kind", "machine", "--name", "[bold]Robot")
    client_id = made["client_id"]
    (listed,) = shell.json("client", "list", "--account", account)["clients"]
    assert (listed["client_id"], listed["kind"], listed["name"]) == (client_id, "machine", "[bold]Robot")
    assert "[bold]Robot" in shell.run("client", "list", "--account", account).stdout
    rotated = shell.json("client", "rotate-secret", client_id, "--account", account)
    assert rotated["client_id"] == client_id
    assert rotated["client_secret"] not in (None, made["client_secret"])
    delete = ("client", "delete", client_id, "--account", account)
    assert "give --yes" in shell.refused(*delete)
    assert shell.json(*delete, "--yes") == {"client_id": client_id}
    assert "no clients" in shell.run("client", "list", "--account", account).stdout


def test_client_delete_at_a_terminal_asks_first(shell: Shell, account: UUID) -> None:
    made = shell.json("client", "create", "--account", account, "--kind", "machine")
    delete = ("client", "delete", made["client_id"], "--account", str(account))
    status, told = at_terminal(shell, *delete, answers=["[y/N]:n"])
    assert status == 1
    assert "Stopped." in told
    assert len(shell.json("client", "list", "--account", account)["clients"]) == 1


def test_grant_allow_and_revoke(shell: Shell, account: UUID) -> None:
    email, user_id = person(shell, account)
    app = ("client", "create", "--kind", "public", "--redirect-uri", "https://app.example/")
    client_id = shell.json(*app, "--account", account)["client_id"]
    allowance = {"account_id": str(account), "client_id": client_id}
    allow = ("grant", "allow", "--account", account, "--client", client_id, "--scope")
    assert shell.json(*allow, "signature") == allowance | {"scopes": ["impersonation", "signature"]}
    assert shell.run(*allow, "aow_manage").stdout.endswith(": aow_manage impersonation signature.\n")
    listed = shell.run("grant", "list", "--account", account).stdout
    assert f"{client_id} (client) for every member in account {account}: " in listed
    shell.json("token", "issue", "--account", account, "--user", user_id)
    told = shell.run("grant", "revoke", "--user", email).stdout
    assert "Ended 1 grant and its tokens; forgot 0 consents." in told
    assert f"to end that: tutti grant revoke --account {account} --client {client_id}" in told
    of_user = shell.json("grant", "revoke", "--user", email)
    assert of_user == {"grants": 0, "consents": 0, "standing": [allowance]}
    both = ("grant", "revoke", "--account", account, "--client", client_id)
    assert shell.run(*both).stdout == "Ended 0 grants and their tokens; forgot 1 consent.\n"
    assert shell.run("grant", "list", "--account", account).stdout == "Nothing was allowed.\n"


def test_keys_rotate_waits_for_verifiers_unless_a_key_has_leaked(shell: Shell) -> None:
    assert "tutti keys rotate --now" in shell.refused("keys", "rotate")  # the first keys are new
    rotated = shell.json("keys", "rotate", "--now")
    states = {key["kid"]: key["state"] for key in shell.json("keys", "list")["keys"]}
    assert states == {rotated["signing"]: "signing", rotated["published"]: "next"}
    assert not set(rotated["removed"]) & set(states)
    assert f"{rotated['signing']}  signing" in shell.run("keys", "list").stdout


def test_no_secret_is_told_twice(shell: Shell, account: UUID) -> None:
    email, password = f"{uuid4().hex}@tutti.example", f"correct {uuid4().hex}"
    add = ("user", "create", email, "--name", "Ada", "--account", account, "--password-stdin")
    told = shell.run(*add, given=password + "\n")
    made = shell.json("client", "create", "--account", account, "--kind", "machine")
    token = shell.json("token", "issue", "--account", account, "--client", made["client_id"])["access_token"]
    database = f"postgresql://tutti_app:{password.split()[1]}@127.0.0.1:1/tutti"
    texts = [
        told.stdout + told.stderr,
        shell.refused(*add, given=password + "\n"),
        shell.run("user", "set-password", email, "--password-stdin", given=password + "\n").stdout,
        shell.refused("client", "list", "--account", account, DATABASE_URL=database),
        shell.run("--help", DATABASE_URL=database).stdout,
        shell.run("client", "list", "--account", account).stdout,
        msgspec.json.encode(shell.json("client", "list", "--account", account)).decode(),
        shell.refused("client", "delete", made["client_id"], "--account", account),
        msgspec.json.encode(shell.json("grant", "revoke", "--client", made["client_id"])).decode(),
    ]
    for secret in (password, password.split()[1], made["client_secret"], token):
        for text in texts:
            assert secret not in text


def test_client_create_with_a_file_that_is_no_key_is_refused(shell: Shell, account: UUID) -> None:
    new = ("client", "create", "--account", account, "--kind", "machine", "--public-key")
    for name, content, told in (
        ("short.pem", pem(1024), "short.pem has 1024 bits"),
        ("empty.pem", b"", "empty.pem is not the PEM of an RSA public key"),
        ("bytes.pem", b"\xff", "bytes.pem is not a PEM file"),
    ):
        assert told in shell.refused(*new, write(shell, name, content))


def test_client_keys_and_redirect_uris_come_and_go(shell: Shell, account: UUID) -> None:
    back, key = "https://app.example/back", write(shell, "key.pem", pem(2048))
    new = ("client", "create", "--kind", "confidential", "--account", account, "--redirect-uri", back)
    client_id = shell.json(*new)["client_id"]
    of = (client_id, "--account", account)
    added = shell.json("client", "add-key", *of, "--public-key", key)
    local = "http://localhost:3000/"
    assert shell.json("client", "add-redirect-uri", *of, local)["redirect_uris"] == [back, local]
    listed = shell.run("client", "list", "--account", account).stdout
    for part in ("scopes: any", f"redirect URI: {local}", f"key 1: {added['fingerprint']}"):
        assert part in listed
    removed = shell.run("client", "remove-redirect-uri", *of, back).stdout
    assert removed == f"People return to client {client_id} at:\n  {local}\n"
    assert "has 0 keys left" in shell.run("client", "remove-key", *of, added["fingerprint"]).stdout


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


def test_token_issue_for_somebody_else_is_refused(shell: Shell, account: UUID) -> None:
    stranger = shell.json("account", "create", "Other")["account_id"]
    user = shell.json("user", "create", f"{uuid4().hex}@x.example", "--name", "A", "--account", stranger)
    assert "not a member" in shell.refused("token", "issue", "--account", account, "--user", user["user_id"])
    client = shell.json(
        *(
            "client",
            "create",
            "--account",
            account,
            "--kind",
            "public",
            "--redirect-uri",
            "https://app.example/",
        )
    )
    complaint = shell.refused("token", "issue", "--account", account, "--client", client["client_id"])
    assert "not a machine client" in complaint


def test_openapi_check_says_that_the_documents_are_current(shell: Shell) -> None:
    finished = shell.run("openapi", "--check")
    assert finished.returncode == 0, finished.stderr
    assert "current" in finished.stderr


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


# --- The service --------------------------------------------------------------------------------------------------


def test_serve_on_a_port_in_use_is_refused(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in shell.refused("serve", "--port", str(port))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_starts_again_after_it_was_killed_and_stops_at_sigterm_leaving_nothing(
    lone: Shell, workers: str
) -> None:
    lone.json("migrate")
    port = free_port()
    killed = lone.start("serve", "--port", port, "--workers", workers)
    ready(port, lone)
    killed.kill()
    killed.wait()
    until(lambda: all("postgres" in name for name in processes_of(lone)))
    again = lone.start("serve", "--port", port, "--workers", workers)
    ready(port, lone)
    assert get(port, "/healthz") == (200, {"status": "ok"})
    stop(again)
    assert list(processes_of(lone)) == []
    for line in lone.log().splitlines():
        assert line.startswith("Tutti serves on") or msgspec.json.decode(line)["level"] != "error", line


def test_readyz_says_what_is_missing(lone: Shell) -> None:
    lone.json("migrate")
    server = EmbeddedServer(lone.data)
    port = free_port()
    lone.start("serve", "--port", port)
    ready(port, lone)
    sql(server, "DELETE FROM migration WHERE app_name = 'service'")
    status, body = get(port, "/readyz")
    assert (status, body["status"]) == (503, "unavailable")
    assert "tutti migrate" in body["reason"]
    server.place.command("pg_ctl", "stop", "-D", str(server.place.data), "-m", "immediate", "-w")
    status, body = get(port, "/readyz")
    assert status == 503
    assert "not reachable" in body["reason"]
    assert get(port, "/healthz") == (200, {"status": "ok"})


def test_worker_runs_what_a_service_without_one_takes_in(shell: Shell, account: UUID) -> None:
    email = f"{uuid4().hex}@tutti.example"
    user = shell.json("user", "create", email, "--name", "Ada", "--account", account)["user_id"]
    token = shell.json("token", "issue", "--account", account, "--user", user)["access_token"]
    published = write(shell, "waiting.yaml", WAITING)
    workflow = shell.json("workflow", "publish", published, "--account", account)["workflow_id"]
    port = free_port()
    service = shell.start("serve", "--port", port, "--no-worker")
    ready(port, shell)
    url = f"http://127.0.0.1:{port}/v1/accounts/{account}/workflows/{workflow}"
    headers = {"Authorization": f"Bearer {token}"}
    body = {"instance_name": "one", "trigger_inputs": {"who": "Ada"}}
    with httpx.Client(headers=headers, timeout=LIMIT) as client:
        started = client.post(f"{url}/actions/trigger", json=body).raise_for_status().json()
        instance = f"{url}/instances/{started['instance_id']}"
        time.sleep(1)
        assert client.get(instance).json()["workflow_status"] == "In Progress"  # nobody runs it
        worker = shell.start("worker")
        until(lambda: client.get(instance).json()["workflow_status"] == "Completed")
        assert client.get(instance).json()["output"] == {"text": "Hello, Ada"}
    stop(worker)
    stop(service)
    assert token not in shell.log()


def at_terminal(shell: Shell, *arguments: str, answers: list[str]) -> tuple[int, str]:
    """Run a verb at a terminal; each answer is `prompt:text` and typed when the prompt is there. Return all it showed."""
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [TUTTI, *arguments],
        cwd=shell.folder,
        env=shell.environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,  # or a password would be asked for at the terminal that the tests run in
    )
    shell.background.append(process)
    os.close(terminal)
    told, shown = "", ""
    with contextlib.suppress(OSError):  # how Linux says that nobody has the terminal open any more
        while chunk := os.read(ours, 1024).decode():
            told, shown = told + chunk, shown + chunk
            if answers and answers[0].rpartition(":")[0] in shown:
                os.write(ours, answers.pop(0).rpartition(":")[2].encode() + b"\n")
                shown = ""
    os.close(ours)
    assert not answers, told
    return process.wait(LIMIT), told


def free_port() -> str:
    """Find a port that nobody uses."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return str(tried.getsockname()[1])


def get(port: str, path: str) -> tuple[int, Any]:
    """Ask the service."""
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=LIMIT)
    return answer.status_code, answer.json()


def ready(port: str, shell: Shell) -> None:
    """Wait until the service can serve."""

    def is_ready() -> bool:
        assert all(process.poll() is None for process in shell.background[-1:]), shell.log()
        with contextlib.suppress(httpx.TransportError):
            return get(port, "/readyz") == (200, {"status": "ready"})
        return False

    until(is_ready)


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    end = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Tell a background process to stop, and see that it does, in time."""
    process.send_signal(signal.SIGTERM)
    process.wait(STOP_LIMIT)
    assert process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def sql(server: EmbeddedServer, statement: str) -> None:
    """Run a statement as the server's superuser."""
    program = [str(server.place.binaries / "psql"), "-qX", "-h", str(server.place.sockets)]
    subprocess.run([*program, "-U", "postgres", "-d", "tutti", "-c", statement], check=True, env={})


def processes_of(shell: Shell) -> Iterator[str]:
    """Name every process that works for the shell's data folder: by its environment, or as its PostgreSQL server."""
    place = EmbeddedServer(shell.data).place
    marks = (f"TUTTI_DATA_DIR={shell.data}".encode(), os.fsencode(place.data.parent))
    own = {str(os.getpid())}
    for process in Path("/proc").iterdir():
        if not re.fullmatch(r"\d+", process.name) or process.name in own:
            continue
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            command = (process / "cmdline").read_bytes()
            home = os.fsencode((process / "cwd").readlink())
            around = (process / "environ").read_bytes() + command + home
            if state != "Z" and any(mark in around for mark in marks):
                yield command.replace(b"\0", b" ").decode()
