"""The folder in which the processes of one service keep their figures, so that any of them answers for all.

Each process has files of its own there (prometheus_client's multiprocess mode) and holds a lock for as long as it lives.
What ended processes have counted is added up in one pair of files: it would else be missing, and the folder grow.
"""

import fcntl
import hashlib
import logging
import os
import secrets
import struct
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from prometheus_client import CollectorRegistry, Metric, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY, Collector

from service.settings import Settings
from tenancy.errors import SetupRefused
from tenancy.locks import lock_until

logger = logging.getLogger("tutti.telemetry")
COUNTED = ("counter", "histogram")
ENDED = "ended"  # stands in a file's name where that of a process does
READ_SECONDS = (
    1.0  # that a scrape waits for other processes to let go of the folder; they need some milliseconds
)
START_SECONDS = 5.0  # that a start waits for them

_folder: Path | None = None
_lives: list[int] = []  # file descriptors whose locks say that this process lives


class FolderHeldError(Exception):
    """Another process does not let go of the folder; its text says which, and what to do."""


def folder_of(settings: Settings) -> Path:
    """The folder of the processes that use the same database as the same user of this machine."""
    if settings.metrics_dir is not None:
        return Path(settings.metrics_dir)
    place = urlsplit(settings.database_url or str(Path(settings.data_dir).absolute()))
    asked = [(name, value) for name, value in parse_qsl(place.query) if name != "password"]
    named = (
        place.username,
        place.netloc.rpartition("@")[2],
        place.path,
        asked,
    )  # everybody on the machine sees the name
    database = hashlib.sha256(repr(named).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tutti-metrics-{os.getuid()}-{database}"


def prepare(folder: Path) -> None:
    """Make the folder where it is missing, and see that it is this user's own: before any process that will use it is made.

    Raises:
        SetupRefused: the folder is not this user's own, cannot be made or written, or another process keeps it.
    """
    with usable(folder):
        fold(folder)


def share(folder: Path) -> None:
    """Have this process's figures be read by all that share the folder; before anything is counted, once.

    Raises:
        SetupRefused: see `prepare`.
    """
    global _folder  # noqa: PLW0603 - the library keeps its way of counting for the process as well
    name = f"{os.getpid()}-{secrets.token_hex(4)}"
    with usable(folder):
        fold(folder)
        descriptor = os.open(folder / f"{name}.lives", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    _lives.append(descriptor)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]  # as the library's documentation has it
    _folder = folder


def keep() -> None:
    """Touch the folder's files, which cleaners of temporary files take away when nobody has for some days."""
    for path in () if _folder is None else (_folder, *_folder.iterdir()):
        with suppress(FileNotFoundError):  # another process has just added it up
            os.utime(path)


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Make the folder and keep others from it while the block runs; raises as `prepare` does, for the block as well."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not folder.is_dir() or folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise SetupRefused(
                f"The folder of the figures, {folder}, has to belong to this user alone; name another with TUTTI_METRICS_DIR."
            )
        with locked(folder, START_SECONDS):
            yield
    except FolderHeldError as error:
        raise SetupRefused(f"{error}; or name another folder with TUTTI_METRICS_DIR.") from None
    except OSError as error:
        raise SetupRefused(
            f"The folder of the figures, {folder}, cannot be used: {error.strerror}; name another with TUTTI_METRICS_DIR."
        ) from None


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[None]:
    """Keep other processes from the folder's files while the block runs; each only reads, or adds up ended ones.

    Raises:
        FolderHeldError: somebody does so for longer than that.
    """
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            lock_until(descriptor, time.monotonic() + seconds)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0)
            raise FolderHeldError(
                f"{f'Process {int(holder)}' if holder.isdigit() else 'A process'} keeps the folder of the figures, "
                f"{folder}, to itself: see whether it is stopped, and let it go on or end it"
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
        os.truncate(descriptor, 0)
    finally:
        os.close(descriptor)


def fold(folder: Path) -> None:
    """Add up what ended processes have counted, and remove their files. In the folder's lock."""
    for kind in COUNTED:
        for own in folder.glob(f"{kind}_*.added"):  # whoever did was killed meanwhile
            finish(folder, kind, own)
    for life in folder.glob("*.lives"):
        descriptor = os.open(life, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # it lives
        else:
            bury(folder, life.stem)
            life.unlink()
        finally:
            os.close(descriptor)


def bury(folder: Path, name: str) -> None:
    """Add an ended process's counts to those of the others before it, and remove its files.

    The moment from which they count there, and no more as its own, is that of one renaming: whoever is killed before has
    changed nothing, and what is left to do afterwards the next one does.
    """
    for kind in COUNTED:
        own = folder / f"{kind}_{name}.db"
        if not own.exists():
            continue
        total: dict[str, float] = defaultdict(float)
        for path in (own, folder / f"{kind}_{ENDED}.db"):
            for key, value in counted(path):
                total[key] += value
        written = folder / f"{kind}_{ENDED}.new"
        written.unlink(missing_ok=True)
        kept = MmapedDict(str(written))  # type: ignore[no-untyped-call]  # as above
        for key, value in total.items():
            kept.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]  # as above
        kept.close()  # type: ignore[no-untyped-call]  # as above
        if own.exists():  # else it could not be read, and is left out
            finish(folder, kind, own.rename(own.with_suffix(".added")))
    for gauges in folder.glob(f"gauge_*_{name}.db"):
        gauges.unlink()


def finish(folder: Path, kind: str, added: Path) -> None:
    """Put the new sum, of which an ended process's counts are a part, in the place of the old one."""
    written = folder / f"{kind}_{ENDED}.new"
    if written.exists():
        written.rename(folder / f"{kind}_{ENDED}.db")
    added.unlink()


def counted(path: Path) -> list[tuple[str, float]]:
    """Read what a file counts; nothing of one that is not there, or that a process left half written."""
    try:
        return [(key, value) for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path))]  # type: ignore[no-untyped-call]  # the library's own
    except FileNotFoundError:
        return []
    except (RuntimeError, ValueError, struct.error) as error:
        logger.warning(
            "the figures in %s cannot be read and are left out: %s", path.name, type(error).__name__
        )
        path.unlink(missing_ok=True)
        return []


def collected(*further: Collector) -> list[Metric]:
    """Collect the figures of all processes that share theirs, or of this one alone, and of `further`.

    Raises:
        FolderHeldError: another process does not let go of the folder. With this one's figures alone counters would
            seem to have gone backwards.
    """
    registry = CollectorRegistry()
    for one in further:
        registry.register(one)
    if _folder is None:
        registry.register(Own())
        return list(registry.collect())
    with locked(_folder, READ_SECONDS):
        fold(_folder)
        MultiProcessCollector(registry, str(_folder))  # type: ignore[no-untyped-call]  # the library's own
        return list(registry.collect())


class Own(Collector):
    """The figures of this process alone."""

    def collect(self):  # type: ignore[no-untyped-def]  # noqa: ANN201 - the library's own signature
        """Give those that are ours: the library has some of its own."""
        return [family for family in REGISTRY.collect() if family.name.startswith("tutti_")]
