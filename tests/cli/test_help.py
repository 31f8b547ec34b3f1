"""What the command tells of itself, of every verb and of every group of them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click

from service.cli import tutti
from service.cli.verbs import Verb
from tests.cli.shell import TUTTI, Shell


def verbs_of(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Name every verb, and every group of them."""
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs_of(command, *path, name)
        else:
            yield *path, name


def command_of(path: tuple[str, ...]) -> click.Command:
    """Find a verb, or a group of them, by its name."""
    found: click.Command | None = tutti
    for name in path:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)
    assert found is not None
    return found


def is_group(path: tuple[str, ...]) -> bool:
    return isinstance(command_of(path), click.Group)


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


def test_a_group_without_a_verb_shows_its_verbs_and_exits_with_1(tmp_path: Path) -> None:
    for group in ([], ["account"]):
        told = subprocess.run([TUTTI, *group], cwd=tmp_path, env={}, capture_output=True, check=False)
        assert told.returncode == 1
        assert b"Usage" in told.stdout + told.stderr


@pytest.mark.parametrize("verb", [one for one in verbs_of(tutti) if not is_group(one)], ids=" ".join)
def test_every_verb_reads_the_settings_before_anything_else(verb: tuple[str, ...]) -> None:
    assert isinstance(command_of(verb), Verb)
