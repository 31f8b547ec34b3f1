"""Errors that tell what a workflow computed: whatever that is, it can be stored, caught, read, and told to a parent."""

from typing import Any

import httpx
import msgspec
import pytest

from tenancy.rows import rows_of
from tests.world import World, trigger, until

ODD = {
    "NUL": "[65, 0, 66] | implode",
    "half of a pair": "[65, 55296, 66] | implode",
    "beyond the planes": "[65, 1114111, 1114110] | implode",
    "control characters": "[range(1; 32), 127, 8232] | implode",
    "long": '"a" * 200000',
}


def document(name: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Write a definition."""
    return {"document": {"dsl": "1.0.3", "namespace": "tests", "name": name, "version": "1.0.0"}, "do": tasks}


def failing(text: str) -> dict[str, dict[str, Any]]:
    """Write tasks whose errors tell a computed text."""
    told = {"title": f"${{ {text} }}", "detail": f"${{ {text} }}", "instance": f'${{ "/" + ({text}) }}'}
    key = f"${{ {{({text}): 1}} }}"
    closed = {"schema": {"document": {"additionalProperties": False, "propertyNames": {"maxLength": 1}}}}
    return {
        "type": {"raise": {"error": {"type": f'${{ "urn:x:" + ({text}) }}', "status": 599}}},
        "error": {"set": {"x": f"${{ error({text}) }}"}},
        "output": {"set": {"x": 1}, "output": {"as": key, **closed}},
        "wait": {"wait": f"${{ {text} }}"},
        "arguments": {"call": "approval", "with": {"title": "t", "assignees": key}},
        "texts": {"raise": {"error": {"type": "urn:x", "status": 599, **told}}},
    }


@pytest.mark.parametrize("text", ODD.values(), ids=list(ODD))
async def test_whatever_an_error_tells_it_is_an_error_like_any_other(
    client: httpx.AsyncClient, world: World, text: str
) -> None:
    tasks = failing(text)
    pause = {"pause": {"wait": {"milliseconds": 1}}}
    caught = [
        {
            f"try-{name}": {
                "try": [{name: task}],
                "catch": {"do": [pause, {"keep": {"set": {"kept": "${ $error }"}}}]},
            }
        }
        for name, task in tasks.items()
    ]
    await world.acme.publish(document("odd", [*caught, {"last": tasks["texts"]}]))
    child = {"workflow": {"namespace": "tests", "name": "odd", "version": "1.0.0"}}
    await world.acme.publish(document("parent", [{"child": {"run": child}}]))

    url = await trigger(client, world.acme, "parent", {})
    instance = await until(client, world.acme, url, workflow_status="Failed")
    assert instance["error"]["status"] == 599
    async with rows_of(world.acme.id) as connection:
        rows = await connection.fetch(
            "SELECT name, error FROM task_run WHERE error IS NOT NULL AND name = ANY($1)", list(tasks)
        )
    told = {row["name"]: msgspec.json.decode(row["error"]) for row in rows}
    assert told.keys() == tasks.keys()
