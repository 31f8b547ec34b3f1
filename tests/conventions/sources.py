"""What the rules look at: the files under version control, and what Python says about them."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent.parent
PRODUCT = ("tenancy/", "auth/", "service/")
ESCAPE = re.compile(r"#\s*allow:\s*(?P<rule>[\w-]+)\s*(?:-|\u2013)\s*(?P<reason>\S.*)")


class Source(msgspec.Struct, frozen=True):
    """One file: its path from the project's folder, with forward slashes, and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """What Python makes of it; of another kind of file, nothing."""
        return parsed(self.text if self.path.endswith(".py") else "")

    @property
    def escapes(self) -> dict[int, str]:
        """The rules that the file asks to be spared, by line: `# allow: rule - reason`."""
        found = ((number, ESCAPE.search(line)) for number, line in enumerate(self.text.splitlines(), 1))
        return {number: match["rule"] for number, match in found if match is not None}


@cache
def parsed(text: str) -> ast.Module:
    """Parse a module once, for all the rules that look at it."""
    return ast.parse(text)


# What a rule finds: the line, and what is wrong with it.
Findings = Iterator[tuple[int, str]]


class Rule(msgspec.Struct, frozen=True):
    """A rule: its name, what it finds in a source, to which files it applies, and one sample of each kind.

    Samples are read as if they stood in the file `stands_in`.
    """

    name: str
    find: Callable[[Source], Findings]
    applies: Callable[[str], bool]
    stands_in: str
    good: str
    bad: str

    def broken_by(self, source: Source) -> list[str]:
        """List what breaks the rule and is not spared."""
        if not self.applies(source.path):
            return []
        return [
            f"{source.path}:{line}: {what}"
            for line, what in self.find(source)
            if source.escapes.get(line) != self.name
        ]


@cache
def tracked() -> tuple[str, ...]:
    """List the files under version control; without git, all that a fresh copy holds."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = listed.stdout.decode().split("\0")
    else:
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if not set(path.parts) & {".venv", "node_modules"}
        ]
    return tuple(sorted(name for name in names if name and (ROOT / name).is_file()))


@cache
def texts() -> tuple[Source, ...]:
    """Read every tracked file that is text."""
    found = []
    for name in tracked():
        try:
            found.append(Source(name, (ROOT / name).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return tuple(found)


def modules() -> tuple[Source, ...]:
    """Read every tracked Python file."""
    return tuple(source for source in texts() if source.path.endswith(".py"))


def in_product(path: str) -> bool:
    """Whether a file is part of the service, and not of its tests or its set-up."""
    return path.startswith(PRODUCT)


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """List what a module imports, as dotted names with their lines; `from a import b` is `a.b`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name lies in one of some packages."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)
