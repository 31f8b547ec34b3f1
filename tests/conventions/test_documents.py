"""README, lock file and settings agree with the code."""

import re

import msgspec
import pytest

from service.connections.limits import Limits
from service.settings import Settings, variable
from tests.conventions.sources import ROOT, Source, in_product, modules, tracked

README = ROOT / "README.md"
LOCK = ROOT / "requirements.lock"
ROW = re.compile(
    r"^\| `(?P<name>(?:TUTTI_\w+|DATABASE_URL))` \| (?:`(?P<default>[^`|]*)`)? ?\| (?P<meaning>.+?) \|$",
    re.MULTILINE,
)
FOLDERS = ("tenancy", "auth", "service", "tests", "openapi", ".ci")
PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==\S+(?: ; [^\\]+)?(?P<hashes>(?: \\\n +--hash=sha256:[0-9a-f]{64})+)\n"
)


def readme() -> str:
    """Read README.md; its tests wait for it to be written."""
    text = README.read_text() if README.exists() else ""
    if not text.strip():
        pytest.skip("README.md is empty.")
    return text


def documented(text: str) -> dict[str, tuple[str | None, str]]:
    """Read the settings table: default and meaning by variable."""
    return {row["name"]: (row["default"], row["meaning"]) for row in ROW.finditer(text)}


def declared() -> dict[str, tuple[str | None, str]]:
    """Read the same out of the code."""
    found: dict[str, tuple[str | None, str]] = {}
    for field in msgspec.structs.fields(Settings):
        kind = msgspec.inspect.type_info(field.type)
        meaning = description(kind)
        assert meaning, f"{field.name} does not say what it means"
        found[variable(field.name)] = (None if field.default is None else str(field.default), meaning)
    return found


def description(kind: msgspec.inspect.Type) -> str | None:
    """Return what an annotated type says that it means."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return (kind.extra_json_schema or {}).get("description")
    return None


def test_readmes_settings_table_is_what_the_code_says() -> None:
    assert documented(readme()) == declared()


def test_a_settings_table_that_differs_is_found() -> None:
    row = "| `TUTTI_POOL_SIZE` | `15` | database connections of one process |"
    assert documented(row) == {"TUTTI_POOL_SIZE": ("15", "database connections of one process")}
    assert documented(row) != {"TUTTI_POOL_SIZE": declared()["TUTTI_POOL_SIZE"]}
    assert documented("| `DATABASE_URL` |  | which one |") == {"DATABASE_URL": (None, "which one")}


LIMITS = Limits(requests=1, connections=1)
# What a row of README.md's begins with, and what it says of each limit.
LIMITED = {
    "a request's path with its query": f"{LIMITS.target_bytes // 1024} KiB",
    "a request's headers": f"{LIMITS.head_bytes // 1024} KiB with the path and what comes behind a body in chunks, {LIMITS.headers} of them",
    "until the headers are complete": f"{LIMITS.head_seconds:.0f} s",
    "a body, up to 64 KiB of it": f"{LIMITS.body_seconds:.0f} s, and one more for each KiB",
    "what comes of it behind those": f"{LIMITS.body_seconds:.0f} s, and one more for each {LIMITS.upload_rate // 1024} KiB of it, "
    f"{LIMITS.upload_seconds:.0f} s in all",
    "bodies of more than 64 KiB that are under way": f"{LIMITS.uploads};",
    "between two requests of a connection": f"{LIMITS.idle_seconds:.0f} s",
    "an answer that lies unread": f"{LIMITS.unread_seconds:.0f} s, and one more for each KiB",
    "connections of which more than 64 KiB of answers lie unread": f"{LIMITS.unread};",
    "requests of a connection that wait for the answers to those before them": f"{LIMITS.pipelined};",
    "more requests than a process can work on": f"{LIMITS.queue} more wait (in turn; the newest first while more than half of that "
    f"is taken): up to {LIMITS.burst_seconds:.0f} s in a burst, {LIMITS.queue_seconds} s where",
    "more `/healthz`, `/readyz` and `/metrics` than can be answered": f"{LIMITS.probes} at once and {8 * LIMITS.probes} that wait",
    "`SIGTERM`": f"requests under way have {LIMITS.stop_seconds} s",
}


@pytest.mark.parametrize("limit", LIMITED)
def test_readmes_limits_are_what_the_code_says(limit: str) -> None:
    (row,) = re.findall(rf"^\| {re.escape(limit)} \|.*$", readme(), re.MULTILINE)
    assert LIMITED[limit] in row


def missing_paths(text: str) -> list[str]:
    """List the paths of the project that a text names and that are not there."""
    files = set(tracked())
    folders = {"/".join(file.split("/")[:depth]) for file in files for depth in range(1, file.count("/") + 1)}
    named = (name.rstrip("/") for name in re.findall(r"`([\w.-]+/[\w./-]*)`", text))
    return [name for name in named if name.split("/")[0] in FOLDERS and name not in files | folders]


def test_readme_names_only_paths_that_exist() -> None:
    assert missing_paths(readme()) == []


def test_a_path_that_does_not_exist_is_found() -> None:
    assert missing_paths("`tenancy/rows.py`, `tests/`, `service/gone.py`, `application/json`") == [
        "service/gone.py"
    ]


def unused(fields: list[str], sources: tuple[Source, ...]) -> list[str]:
    """List the settings that no line of the product reads."""
    text = "\n".join(source.text for source in sources if in_product(source.path))
    return [field for field in fields if not re.search(rf"\.{field}\b", text)]


def test_every_setting_is_read_somewhere() -> None:
    assert unused(list(Settings.__struct_fields__), modules()) == []


def test_a_setting_that_nobody_reads_is_found() -> None:
    sources = (
        Source("service/app.py", "settings().pool_size"),
        Source("tests/world.py", "settings().colour"),
    )
    assert unused(["pool_size", "colour"], sources) == ["colour"]


def unhashed(lock: str) -> list[str]:
    """List the lines of a lock file that are neither a comment nor part of a pinned and hashed entry."""
    left = PINNED.sub("", lock)
    return [line for line in left.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_every_locked_package_has_its_hashes_and_no_address() -> None:
    lock = LOCK.read_text()
    assert unhashed(lock) == []
    assert "://" not in lock


@pytest.mark.parametrize(
    "line",
    [
        "litestar==2.25.0\n",
        "litestar>=2.25 \\\n    --hash=sha256:" + 64 * "0" + "\n",
        "litestar @ https://packages.example/litestar.whl \\\n    --hash=sha256:" + 64 * "0" + "\n",
        "--find-links .\n",
    ],
)
def test_a_lock_entry_that_pins_nothing_is_found(line: str) -> None:
    good = "msgspec==0.22.0 ; python_version < '3.14' \\\n    --hash=sha256:" + 64 * "0" + "\n"
    assert unhashed(good) == []
    assert unhashed(good + line + good)


def test_every_direct_dependency_is_locked() -> None:
    locked = {match["name"].lower() for match in PINNED.finditer(LOCK.read_text())}
    wanted = re.findall(r'^  "([A-Za-z0-9._-]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert "litestar" in wanted
    assert [name for name in wanted if name.lower() not in locked and not name.isupper()] == []
