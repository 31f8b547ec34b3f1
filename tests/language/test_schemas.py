"""Where JSON Schemas stand in a definition, and how they are checked."""

from typing import Any

import pytest

from service.language.reading import BAD_SCHEMA_LIMIT, check, read
from service.language.sandbox import Sandbox
from service.language.tasks import SCHEMA_COUNT
from tests.language.definitions import (
    ACCOUNT,
    Recorded,
    found,
    problems_of,
    problems_of_task,
    task_of,
    workflow,
)

OBJECT = {"document": {"type": "object"}}


def with_schema(schema: Any) -> dict[str, Any]:
    return {
        "set": ".",
        "input": {"schema": schema},
        "output": {"schema": schema},
        "export": {"schema": schema},
    }


def test_a_task_has_three_schemas() -> None:
    task = task_of(with_schema(OBJECT))
    assert (task.input_schema, task.output_schema, task.export_schema) == ({"type": "object"},) * 3
    plain = task_of({"set": "."})
    assert (plain.input_schema, plain.output_schema, plain.export_schema) == (None,) * 3


@pytest.mark.parametrize(
    ("schema", "carried"),
    [
        ({"document": {"x": 1}}, {"x": 1}),
        ({"document": {"x": 1}, "format": "json"}, {"x": 1}),
        (
            {"document": {"x": 1}, "format": "json:draft4"},
            {"$schema": "http://json-schema.org/draft-04/schema#", "x": 1},
        ),
        ({"document": {"$schema": "own"}, "format": "json:draft4"}, {"$schema": "own"}),
        ({"document": False, "format": "json:draft4"}, False),
    ],
    ids=["default", "json", "draft", "own", "boolean"],
)
def test_a_schema_carries_its_draft(schema: Any, carried: Any) -> None:
    assert task_of(with_schema(schema)).output_schema == carried


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (5, [("wrong_type", "")]),
        ({}, [("missing_field", "/document")]),
        ({"document": []}, [("wrong_type", "/document")]),
        ({"document": {}, "uri": "x"}, [("unknown_field", "/uri")]),
        ({"resource": {"endpoint": "https://e.com"}}, [("unsupported_feature", "/resource")]),
        ({"document": {}, "resource": {}}, [("unsupported_feature", "/resource")]),
        ({"document": {}, "format": "avro"}, [("unsupported_feature", "/format")]),
        ({"document": {}, "format": 5}, [("wrong_type", "/format")]),
    ],
)
def test_a_wrong_schema_is_refused(schema: Any, expected: list[tuple[str, str]]) -> None:
    for part in ("input", "output", "export"):
        assert problems_of_task({"set": ".", part: {"schema": schema}}) == [
            (code, f"/{part}/schema{pointer}") for code, pointer in expected
        ]
    assert found(problems_of(workflow(output={"schema": schema}))) == [
        (code, f"/output/schema{pointer}") for code, pointer in expected
    ]


async def test_every_schema_is_checked_where_it_stands() -> None:
    wrong = {"document": {"type": "objekt"}}
    foreach = {"output": {"schema": wrong}, "export": {"schema": wrong}}
    use = {"functions": {"f": {"set": ".", "input": {"schema": wrong}}}}
    tasks: list[dict[str, Any]] = [
        {"a": with_schema(wrong)},
        {"b": {"listen": {"to": {"any": []}}, "foreach": foreach}},
        {"c": {"call": "f"}},
        {"d": {"call": "f"}},
    ]
    async with Sandbox(1) as sandbox:
        checked = await check(
            workflow(*tasks, use=use, input={"schema": wrong}, output={"schema": wrong}), sandbox, ACCOUNT
        )
    assert found(checked.problems) == [
        ("bad_schema", f"{place}/schema/document")
        for place in (
            "/do/0/a/export",
            "/do/0/a/input",
            "/do/0/a/output",
            "/do/1/b/foreach/export",
            "/do/1/b/foreach/output",
            "/input",
            "/output",
            "/use/functions/f/input",
        )
    ]


@pytest.mark.parametrize("reference", ["https://example.com/s", "file:///etc/passwd"])
async def test_nothing_is_fetched_for_a_schema(reference: str) -> None:
    async with Sandbox(1) as sandbox:
        checked = await check(
            workflow({"a": {"set": ".", "input": {"schema": {"document": {"$ref": reference}}}}}),
            sandbox,
            ACCOUNT,
        )
    assert found(checked.problems) == [("bad_schema", "/do/0/a/input/schema/document")]


def test_a_definition_has_so_many_schemas() -> None:
    def tasks(number: int) -> list[dict[str, Any]]:
        return [{f"t{n}": {"set": ".", "input": {"schema": OBJECT}}} for n in range(number)]

    assert len(read(workflow(*tasks(SCHEMA_COUNT))).tasks) == SCHEMA_COUNT
    assert found(problems_of(workflow(*tasks(SCHEMA_COUNT + 1)))) == [
        ("too_large", f"/do/{SCHEMA_COUNT}/t{SCHEMA_COUNT}/input/schema/document")
    ]


async def test_after_some_bad_schemas_no_more_are_checked() -> None:
    compiler = Recorded(schema="no")
    await check(workflow(*({f"t{n}": with_schema(OBJECT)} for n in range(20))), compiler, ACCOUNT)
    assert len(compiler.schemas) == BAD_SCHEMA_LIMIT
