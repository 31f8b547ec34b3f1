"""Makes the virtual environment and installs the locked packages; `make install` runs it.

Safe to run again and beside itself: a file lock lets one run work at a time, and a stamp that holds the lock
file's digest makes every later run a no-op until the lock file changes.
"""

import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"


def main() -> None:
    if sys.version_info < (3, 11):
        sys.exit(
            f"Tutti needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.11"
        )
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install()


def install() -> None:
    """Bring the environment in line with the lock file, if it is not."""
    wanted = hashlib.sha256(
        b"".join((ROOT / name).read_bytes() for name in ("requirements.lock", "pyproject.toml"))
        + str(ROOT).encode()
    ).hexdigest()
    stamp = ENVIRONMENT / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if not (ENVIRONMENT / "bin" / "python").exists():
        venv.create(ENVIRONMENT, with_pip=True)
    print("Installing the locked packages into .venv ...", flush=True)
    pip("--require-hashes", "--requirement", str(ROOT / "requirements.lock"))
    pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    stamp.write_text(wanted)


def pip(*arguments: str) -> None:
    """Run pip in the environment; its own message is the best one when it fails."""
    command = [
        str(ENVIRONMENT / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    if subprocess.run([*command, *arguments], check=False).returncode:
        sys.exit("make install: pip could not install the packages; its message is above.")


if __name__ == "__main__":
    main()
