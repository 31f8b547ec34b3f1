"""Which generation of the vendor's SDKs gets which status for a trigger, and which content type for an error."""

from typing import Any

import httpx
import pytest

from tests.maestro.conftest import Scene
from tests.world import bearer

SDK = "docusign-sdk/v1/1.0.0-beta.{}/{}/node_20.20.2/2.723.8/@docusign/iam-sdk"
LEGACY, FIRST, NEW = (200, "application/json"), (201, "application/json"), (201, "application/problem+json")
GENERATIONS = [
    *(
        (SDK.format(beta, language), FIRST)
        for beta in (1, 2)
        for language in ("typescript", "csharp", "java")
    ),
    *(
        (SDK.format(beta, language), LEGACY)
        for beta in range(3, 8)
        for language in ("typescript", "csharp", "java")
    ),
    (SDK.format(8, "java"), LEGACY),
    (
        "docusign-sdk/v1/1.0.0-beta.8/java/OpenJDK Runtime Environment_17.0.9/2.803.3/com.docusign.iam.sdk",
        LEGACY,
    ),
    *((SDK.format(8, language), NEW) for language in ("typescript", "csharp")),
    *(
        (SDK.format(beta, language), NEW)
        for beta in (9, 10, 33)
        for language in ("typescript", "csharp", "java")
    ),
    (SDK.format("9" * 3000, "typescript"), NEW),
    (SDK.format(5, "python"), NEW),
    (SDK.format("", "typescript"), NEW),
    ("docusign-sdk/v1/1.0.0/typescript/node_20/2/x", NEW),
    ("docusign-sdk/undefined/undefined/typescript//", NEW),
    ("curl/8.5.0", NEW),
    ("", NEW),
]


@pytest.mark.parametrize(("agent", "dialect"), GENERATIONS)
async def test_answers_are_in_the_dialect_of_the_callers_sdk(
    client: httpx.AsyncClient, scene: Scene, agent: str, dialect: tuple[int, str]
) -> None:
    acme = scene.world.acme
    started = await client.post(
        f"{acme.workflow_url('greeting')}/actions/trigger",
        json={"instance_name": "a", "trigger_inputs": {"who": "Ada"}},
        headers={**bearer(acme.admin), "User-Agent": agent},
    )
    assert (started.status_code, started.headers["content-type"]) == (dialect[0], "application/json")
    for url in (acme.workflow_url("greeting"), f"{acme.url}/nonsense", f"{acme.url}/workflows/nonsense"):
        refused = await client.post(
            f"{url}/actions/resume", headers={**bearer(acme.admin), "User-Agent": agent}
        )
        assert refused.status_code >= 400
        assert refused.headers["content-type"] == dialect[1]
        assert refused.json()["code"] == str(refused.status_code)


@pytest.mark.parametrize(("forced", "dialect"), [("legacy", LEGACY), ("first", FIRST), ("new", NEW)])
async def test_setting_forces_one_dialect_for_everyone(
    client: httpx.AsyncClient,
    scene: Scene,
    changed_settings: Any,
    forced: str,
    dialect: tuple[int, str],
) -> None:
    changed_settings(TUTTI_MAESTRO_DIALECT=forced)
    for agent in (SDK.format(1, "java"), SDK.format(5, "typescript"), SDK.format(8, "typescript"), "curl"):
        await test_answers_are_in_the_dialect_of_the_callers_sdk(client, scene, agent, dialect)
