"""Node.js programs for the tests: found, or a clear failure; their packages installed once, from the lock file."""

import fcntl
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
OLDEST = 20
ADVICE = (
    f"Install Node.js {OLDEST} or newer (npm comes with it) and run again, "
    "or leave these tests out: make test ARGS='-m \"not compat\"'"
)


def program(name: str) -> str:
    """Find `node` or `npm`; a test that needs one fails without it, for a skipped promise is an unkept one."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not on the PATH. {ADVICE}", pytrace=False)
    return found


def node() -> str:
    """Find a Node.js that is new enough."""
    found = program("node")
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    version = re.match(r"v(\d+)", told)
    if version is None or int(version[1]) < OLDEST:
        pytest.fail(f"Node.js is too old: {told}. {ADVICE}", pytrace=False)
    return found


def installed(folder: Path) -> Path:
    """Install what a folder's lock file pins, unless that is done; return the folder.

    Runs beside each other take turns on the lock file itself; the stamp goes with the packages it vouches for.
    """
    node()
    lock_file = folder / "package-lock.json"
    with lock_file.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = hashlib.sha256(lock.read()).hexdigest()
        stamp = folder / "node_modules" / "installed"
        if not stamp.exists() or stamp.read_text() != digest:
            command = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if finished.returncode:
                pytest.fail(
                    f"npm could not install the packages of {folder.name}:\n{finished.stderr}", pytrace=False
                )
            stamp.write_text(digest)
    return folder
