"""An upgrade without a pause: the schema changes beneath the previous release, which serves on until this one takes over."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tenancy.schema import known_migrations
from tests.tenancy.databases import fresh_database
from tests.tenancy.test_migrations import shape
from tests.upgrade.previous import ROOT, Release, files_of_previous, unpacked
from tests.waiting import eventually

GO = "upgrade.go"
LISTENING: dict[str, Any] = {
    "document": {"dsl": "1.0.3", "namespace": "upgrade", "name": "listening", "version": "1.0.0"},
    "do": [
        {"first": {"set": "${ . + {n: (.n + 1)} }"}},
        {"pause": {"wait": {"milliseconds": 10}}},
        {
            "hear": {
                "listen": {"to": {"one": {"with": {"type": GO}}}},
                "output": {"as": "$input + {got: .[0].n}"},
            }
        },
        {"last": {"set": "${ . + {n: (.n + 1)} }"}},
    ],
}


class User:
    """Somebody who uses a process of either release."""

    def __init__(self, url: str, demo: dict[str, Any], token: str, workflow: str = "") -> None:
        self.demo = demo
        self.account = f"/v1/accounts/{demo['accounts']['Acme']}"
        self.workflow = workflow
        self.http = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    async def publish(self) -> None:
        """Make the workflow that instances are of."""
        made = (await self.http.post(f"{self.account}/workflows", json=LISTENING)).raise_for_status()
        self.workflow = httpx.URL(made.headers["location"]).path
        (await self.http.post(f"{self.workflow}/actions/publish")).raise_for_status()

    async def trigger(self) -> str:
        """Begin an instance; return its path."""
        body = {"instance_name": "Upgrade", "trigger_inputs": {"n": 1}}
        started = (await self.http.post(f"{self.workflow}/actions/trigger", json=body)).raise_for_status()
        return f"{self.workflow}/instances/{started.json()['instance_id']}"

    async def get(self, instance: str) -> dict[str, Any]:
        """Read an instance."""
        found: dict[str, Any] = (await self.http.get(instance)).raise_for_status().json()
        return found

    async def signal(self, instance: str) -> None:
        """Send an instance what it waits for."""
        event = {"type": GO, "id": str(uuid4()), "data": {"n": 7}}
        (await self.http.post(f"{instance}/actions/signal", json=event)).raise_for_status()

    async def ended(self, instance: str) -> dict[str, Any]:
        """Wait until an instance has ended."""
        found = await self.http.get(f"{instance}/wait", params={"until": "terminal", "timeout": "20"})
        answer: dict[str, Any] = found.raise_for_status().json()
        return answer

    async def at_its_listener(self, instance: str) -> None:
        """Wait until an instance has been advanced to where it waits for its event."""
        history = f"{instance}/history"

        async def there() -> bool:
            rows = (await self.http.get(history)).raise_for_status().json()["data"]
            return any(row["task_name"] == "hear" for row in rows)

        await eventually(there, 20)

    async def do_everything(self) -> None:
        """Go through all that has to work while an upgrade is under way."""
        instance = await self.trigger()
        await self.at_its_listener(instance)
        listed = (await self.http.get(f"{self.workflow}/instances")).raise_for_status().json()["data"]
        assert instance.rpartition("/")[2] in {one["id"] for one in listed}
        await self.signal(instance)
        assert (await self.ended(instance))["workflow_status"] == "Completed"
        cancelled = await self.trigger()
        (await self.http.post(f"{cancelled}/actions/cancel")).raise_for_status()
        assert (await self.get(cancelled))["workflow_status"] == "Canceled"
        (await self.http.get("/oauth/userinfo")).raise_for_status()
        await self.log_in()

    async def log_in(self) -> str:
        """Prove a machine client's secret and a person's password; return the machine's token."""
        robot = (self.demo["machine_client_id"], self.demo["machine_client_secret"])
        granted = await self.http.post("/oauth/token", auth=robot, data={"grant_type": "client_credentials"})
        person = (f"Acme\\{self.demo['email']}", self.demo["password"])
        listed = await self.http.get(
            "/KeyfactorAPI/Workflow/Instances", auth=person, headers={"x-keyfactor-requested-with": "tests"}
        )
        assert listed.raise_for_status().status_code == 200
        token: str = granted.raise_for_status().json()["access_token"]
        return token


@contextlib.asynccontextmanager
async def asking(user: User, answers: Counter[str]) -> AsyncIterator[None]:
    """Trigger and read, again and again, for as long as the block runs."""

    async def ask() -> None:
        while True:
            try:
                instance = await user.trigger()
                await user.get(instance)
                answers["well"] += 1
            except httpx.HTTPError as error:
                answers[repr(error)] += 1
            await asyncio.sleep(0.02)

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        task.cancel()


@pytest.fixture
async def releases(database: None, tmp_path: Path) -> AsyncIterator[tuple[Release, Release, Any]]:
    """The previous release and this one, over a database that nobody has made tables in."""
    async with fresh_database() as made:
        old, new = Release(unpacked(tmp_path / "previous"), made, tmp_path), Release(ROOT, made, tmp_path)
        try:
            yield old, new, made
        finally:
            old.stop()
            new.stop()


@pytest.mark.timeout(300)  # it starts a dozen processes
async def test_this_release_takes_over_from_the_previous_one_without_a_pause(
    releases: tuple[Release, Release, Any],
) -> None:
    old, new, database = releases
    assert old.place().count(str(old.code)) == 3
    demo = await asyncio.to_thread(old.run, "demo")
    before = User(await asyncio.to_thread(old.serve), demo, demo["access_token"])
    await before.publish()
    early = await before.trigger()
    await before.at_its_listener(early)

    answers: Counter[str] = Counter()
    async with asking(before, answers):
        applied = (await asyncio.to_thread(new.run, "migrate"))["applied"]
        await asyncio.sleep(0.5)
    assert set(applied) == set(of_this_release())
    assert list(answers) == ["well"]

    # The previous release goes on, with what its connections have prepared and with new ones, and starts anew.
    await before.do_everything()
    schema = await shape(database)
    assert await asyncio.to_thread(old.run, "migrate") == {"applied": []}
    assert await shape(database) == schema
    again = User(await asyncio.to_thread(old.serve), demo, demo["access_token"], before.workflow)
    await again.do_everything()

    # Both releases side by side: each goes on with what the other one began, and takes its tokens.
    after = User(await asyncio.to_thread(new.serve), demo, demo["access_token"], before.workflow)
    await after.do_everything()
    late = await after.trigger()
    assert (await before.get(late))["workflow_status"] == "In Progress"
    again.http.headers["authorization"] = f"Bearer {await after.log_in()}"
    assert (await again.get(late))["name"] == "Upgrade"

    # This release alone.
    unfinished = await before.trigger()
    await asyncio.to_thread(old.stop)
    for instance in (early, late, unfinished):
        await after.signal(instance)
        assert (await after.ended(instance))["workflow_status"] == "Completed"
    for user in (before, again, after):
        await user.http.aclose()


def of_this_release() -> list[str]:
    """List the ids of the migrations that the previous release does not have."""
    known = files_of_previous("auth/migrations", "service/migrations", "tenancy/migrations")
    ours = {path.relative_to(ROOT).as_posix(): path for path in ROOT.glob("*/migrations/*_2*.py")}
    texts = [path.read_text() for name, path in ours.items() if name not in known]
    return [name for _, name in known_migrations() if any(f'"{name}"' in text for text in texts)]
