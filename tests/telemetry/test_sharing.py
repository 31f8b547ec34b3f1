"""The folder in which processes share their figures: made before them, kept from cleaners, and no count in it twice."""

import asyncio
import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from service.cli.serving import serve
from service.settings import Settings
from service.telemetry import sampling, sharing
from tenancy.errors import SetupRefused
from tests.telemetry.service import held

DAYS = 86_400.0
KINDS = ("counter", "histogram")


class KilledError(BaseException):
    """The process is not there any more."""


def ended(folder: Path, name: str, count: float) -> None:
    """Leave what an ended process does: its counts, its gauges, and the file that it no longer locks."""
    for kind in KINDS:
        figures = MmapedDict(str(folder / f"{kind}_{name}.db"))  # type: ignore[no-untyped-call]  # the library's own
        key = mmap_key("tutti_tried", "tutti_tried_total", ["of"], [kind], "Tried")
        figures.write_value(key, count, 0.0)  # type: ignore[no-untyped-call]  # as above
        figures.close()  # type: ignore[no-untyped-call]  # as above
    (folder / f"gauge_livesum_{name}.db").touch()
    (folder / f"{name}.lives").touch()


def totals(folder: Path) -> list[float]:
    """What a scrape tells of both kinds."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]  # as above
    return [registry.get_sample_value("tutti_tried_total", {"of": kind}) or 0.0 for kind in KINDS]


@contextlib.contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the process just before so many changes of the folder's names have been made."""
    left = itertools.count(step, -1)

    def counting(change: Any) -> Any:
        def changed(*arguments: Any, **named: Any) -> Any:
            if next(left) == 0:
                raise KilledError
            return change(*arguments, **named)

        return changed

    with monkeypatch.context() as patch:
        for name in ("rename", "unlink"):
            patch.setattr(Path, name, counting(getattr(Path, name)))
        yield


@pytest.mark.parametrize("step", range(14))
def test_whenever_a_process_is_killed_that_adds_up_others_nothing_counts_twice_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    ended(tmp_path, "1-a", 3)
    sharing.fold(tmp_path)
    assert totals(tmp_path) == [3, 3]
    ended(tmp_path, "2-b", 4)
    with killed_at(step, monkeypatch), contextlib.suppress(KilledError):
        sharing.fold(tmp_path)
    sharing.fold(tmp_path)
    assert totals(tmp_path) == [7, 7]
    assert {path.name for path in tmp_path.iterdir()} == {f"{kind}_ended.db" for kind in KINDS}


def test_the_steps_at_which_it_can_be_killed_are_fewer_than_those_that_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(tmp_path, "1-a", 3)
    with killed_at(13, monkeypatch):
        sharing.fold(tmp_path)


def test_a_file_that_cannot_be_read_is_left_out_and_stops_nothing(tmp_path: Path) -> None:
    ended(tmp_path, "1-a", 3)
    ended(tmp_path, "2-b", 4)
    (tmp_path / "counter_2-b.db").write_bytes(b"\xff" * 40)
    sharing.prepare(tmp_path)
    assert totals(tmp_path) == [3, 7]


def test_a_cleaner_of_temporary_files_finds_nothing_that_was_not_touched_lately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = time.time() - 11 * DAYS
    for path in (*(tmp_path / name for name in ("lock", "1-a.lives", "counter_1-a.db")), tmp_path):
        path.touch()
        os.utime(path, (old, old))
    monkeypatch.setattr(sharing, "_folder", tmp_path)
    monkeypatch.setattr(sampling, "KEEP_EVERY", 0.05)
    monkeypatch.setattr(sampling, "EVERY", 0.02)
    monkeypatch.setattr(sampling, "engine", lambda: SimpleNamespace(pool=None))

    async def sampled() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sampling.sampling(SimpleNamespace(use={})), 0.5)  # type: ignore[arg-type]  # as much of one as is looked at

    asyncio.run(sampled())
    for path in (tmp_path, *tmp_path.iterdir()):
        assert path.stat().st_mtime > time.time() - 60, path.name
        assert path.stat().st_atime > time.time() - 60, path.name


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_serve_says_in_one_line_that_its_folder_cannot_be_used_before_it_makes_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    told = SimpleNamespace(log_level="warning", metrics_dir=str(tmp_path / "file" / "figures"))
    monkeypatch.setattr("service.cli.serving.settings", lambda: told)
    monkeypatch.setattr("service.cli.serving.run", lambda _: pytest.fail("processes were made"))
    answer = CliRunner().invoke(serve, options)
    assert answer.exit_code != 0
    told_so = f"{answer.output}{answer.exception}"
    assert "cannot be used: Not a directory; name another with TUTTI_METRICS_DIR." in told_so


@pytest.mark.parametrize("begin", [sharing.prepare, sharing.share])
def test_a_start_says_which_process_keeps_the_folder_and_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(sharing, "START_SECONDS", 0.05)
    told = f"Process {os.getpid()} keeps .* stopped, and let it go on or end it; or name another folder with TUTTI_METRICS_DIR"
    with held(tmp_path), pytest.raises(SetupRefused, match=told):
        begin(tmp_path)
    with stranger_holds(tmp_path), pytest.raises(SetupRefused, match="A process keeps the folder"):
        begin(tmp_path)
    sharing.prepare(tmp_path)


@contextlib.contextmanager
def stranger_holds(folder: Path) -> Iterator[None]:
    """Have some other program lock the folder, which says nothing of itself."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_each_database_has_a_folder_of_its_own_wherever_its_processes_were_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        here = sharing.folder_of(Settings(data_dir="data"))
        assert here == sharing.folder_of(Settings(data_dir=str(tmp_path / place / "data")))
        found.append(here)
    assert len(set(found)) == 2


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "figures"
    sharing.prepare(folder)
    folder.chmod(mode)
    with pytest.raises(
        SetupRefused, match="has to belong to this user alone; name another with TUTTI_METRICS_DIR"
    ):
        sharing.prepare(folder)
