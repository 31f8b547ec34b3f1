"""The sandbox: what strangers' programs may do to it, and what they may not do to each other.

Every test drives real worker processes.
"""

import asyncio
import gc
import os
import platform
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvloop

from service.language import sandbox_worker as wire
from service.language import schemas
from service.language.expressions import Evaluation, ExpressionFailure, expression, template
from service.language.questions import Violation
from service.language.sandbox import Sandbox, SandboxUnavailableError, encoding
from service.language.sandbox import pool as pools
from service.language.sandbox import process as processing
from service.language.sandbox.limits import DEPTH_LIMIT, INPUT_LIMIT_BYTES, OUTPUT_LIMIT_BYTES
from service.language.schemas import is_tame

ACCOUNT = uuid4()
OTHER_ACCOUNT = uuid4()
ENDLESS = "def f: f; f"


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(size=2) as started:
        yield started


@asynccontextmanager
async def pool(size: int) -> AsyncIterator[Sandbox]:
    async with Sandbox(size) as started:
        yield started


def asked(text: str, dot: Any = None, **variables: Any) -> Evaluation:
    return Evaluation(expression(text, variables), dot, variables)


async def value(
    sandbox: Sandbox, text: str, dot: Any = None, *, account: UUID = ACCOUNT, **variables: Any
) -> Any:
    (found,) = await sandbox.answer(account, [asked(text, dot, **variables)])
    return found


def title(found: Any) -> str:
    assert isinstance(found, ExpressionFailure), found
    return found.title


def processes(sandbox: Sandbox) -> set[int]:
    return {worker.process.pid for worker in sandbox._workers}


def at_work(sandbox: Sandbox) -> int:
    """The process that works on a frame."""
    (process,) = (worker.process.pid for worker in sandbox._workers if worker.request is not None)
    return process


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def told(process: int, what: str) -> str:
    return Path(f"/proc/{process}/{what}").read_text()


def altered(folder: Path, text: str, replacement: str) -> Path:
    """The worker's program with one thing changed, in a file of its own."""
    program = Path(wire.__file__).read_text()
    assert text in program
    other = folder / "worker.py"
    other.write_text(program.replace(text, replacement))
    return other


async def until(condition: Any, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)


# --- What a program gives -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "dot", "expected"),
    [
        (".a + 1", {"a": 1}, 2),
        ("[.[] | select(. > 1)]", [1, 2, 3], [2, 3]),
        ("(.a, .b)", {"a": "first", "b": "second"}, "first"),
        ("repeat(1)", None, 1),
        ("(.)", 12345678901234567890123, 12345678901234567890123),
        ("(.)", "\u0000 é 😀", "\u0000 é 😀"),
        (".a?  // null", {"a": None}, None),
        ("1 # a comment that ends in a backslash \\", None, 1),
        ('"\\(1 + 1) is two"', None, "2 is two"),
        ("nan", None, None),
    ],
)
async def test_a_program_gives_its_first_value(sandbox: Sandbox, text: str, dot: Any, expected: Any) -> None:
    assert await value(sandbox, text, dot) == expected


async def test_variables_of_the_place_are_bound_and_absent_ones_are_null(sandbox: Sandbox) -> None:
    assert await value(sandbox, "$context.x + $item", None, context={"x": 1}, item=2) == 3
    unbound = Evaluation(expression("[$context]", ["context"]), None, {})
    assert await sandbox.answer(ACCOUNT, [unbound]) == [[None]]


@pytest.mark.parametrize("text", ["empty", "(.a)?", "select(false)", "inputs", "halt"])
async def test_a_program_without_a_value_says_so(sandbox: Sandbox, text: str) -> None:
    assert title(await value(sandbox, text, 1)) == "no result"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ('error("as told")', "as told"),
        ("error({code: 7})", '{"code":7}'),
        ("error(null)", "null"),
        (".a + 1 | .b", "Cannot index number"),
        ('error({"e": "posing"})', '{"e":"posing"}'),
        ('"x" * 3000 | error', "…"),
    ],
)
async def test_an_error_is_told_in_words(sandbox: Sandbox, text: str, detail: str) -> None:
    found = await value(sandbox, text, {})
    assert title(found) == "expression failed"
    assert detail in found.detail
    assert len(found.detail) <= 2_000


async def test_a_value_cannot_pose_as_an_error(sandbox: Sandbox) -> None:
    assert await value(sandbox, '{"e": "posing"} | .') == {"e": "posing"}
    assert await value(sandbox, "[] | .") == []


async def test_a_template_is_one_program_and_names_the_leaf_that_fails(sandbox: Sandbox) -> None:
    fields = {
        "kept": ["\\(1)", 1.0, {"n": 10**30}],
        "sum": "${ .a + 1 }",
        "path": "${ .a }",
        "a/b": ["${ .x + error }"],
    }
    made = template(fields, [])
    good = template({**fields, "a/b": ["${ [.a] }"]}, [])
    failure, answer = await sandbox.answer(
        ACCOUNT, [Evaluation(made, {"a": 1}, {}), Evaluation(good, {"a": 1}, {})]
    )
    assert failure == ExpressionFailure("expression failed", '/a~1b/0: {"a":1}')
    assert answer == {"kept": ["\\(1)", 1.0, {"n": 10**30}], "sum": 2, "path": 1, "a/b": [[1]]}


async def test_answers_come_in_the_order_of_the_questions_however_many(sandbox: Sandbox) -> None:
    numbers = list(range(150))
    asked_for = [asked(". + 1" if number % 3 else ".", number) for number in numbers]
    assert await sandbox.answer(ACCOUNT, asked_for) == [
        number + 1 if number % 3 else number for number in numbers
    ]
    assert await sandbox.answer(ACCOUNT, []) == []


# --- What a program cannot reach ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$ENV", {}),
        ("[$ENV.PATH]", [None]),
        ("env", {}),
        ("input_filename", None),
        ("input_line_number", 0),
        ("get_search_list", []),
        ("1 | debug | debug(2) | stderr", 1),
    ],
)
async def test_nothing_of_the_process_is_in_sight(sandbox: Sandbox, text: str, expected: Any) -> None:
    assert await value(sandbox, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        'import "passwd" as $d {search: "/etc"}; $d',
        'include "x" {search: "/"}; 1',
        '"x" | modulemeta',
        "halt_error",
        "halt_error(3)",
        "input",
        "$__prog_args",
        '"unclosed',
        '1, "\\(2',
    ],
)
async def test_what_would_leave_the_place_of_the_expression_fails(sandbox: Sandbox, text: str) -> None:
    assert title(await value(sandbox, text)) == "expression failed"
    assert await value(sandbox, "1 + 1") == 2


async def test_workers_have_given_up_everything(sandbox: Sandbox) -> None:
    assert {"resource limits", "no new privileges", "parent-death signal"} <= set(sandbox.confinement)
    for process in processes(sandbox):
        status = told(process, "status")
        assert "NoNewPrivs:\t1" in status
        if platform.machine() == "x86_64":
            assert "Seccomp:\t2" in status
        if os.geteuid() == 0:
            assert "Uid:\t65534\t65534\t65534\t65534" in status
        assert f"Max address space         {256 * 1024 * 1024}" in told(process, "limits")


# --- Limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [ENDLESS, "[range(1e9)]", "last(range(infinite))"])
async def test_a_program_that_does_not_end_is_ended_after_a_second(text: str, sandbox: Sandbox) -> None:
    started = time.monotonic()
    assert title(await value(sandbox, text)) in {"time limit", "memory limit"}
    assert time.monotonic() - started < 3
    assert await value(sandbox, "1 + 1") == 2


@pytest.mark.parametrize("text", ['"a" * 1e9', "def f: [f]; f", 'last("x" | recurse(. + .))'])
async def test_a_program_that_takes_all_memory_meets_its_limit(text: str, sandbox: Sandbox) -> None:
    assert title(await value(sandbox, text)) in {"memory limit", "time limit"}
    assert await value(sandbox, "1 + 1") == 2


async def test_a_result_may_be_nested_512_levels_deep_and_no_deeper(sandbox: Sandbox) -> None:
    nested = "reduce range({}) as $i (0; [.])"
    assert isinstance(await value(sandbox, nested.format(DEPTH_LIMIT)), list)
    assert title(await value(sandbox, nested.format(DEPTH_LIMIT + 1))) == "depth limit"
    assert title(await value(sandbox, nested.format(5_000))) == "depth limit"
    assert title(await value(sandbox, "reduce range(100000) as $i (0; [.])")) == "depth limit"
    assert len(await value(sandbox, "[range(2000) | [{}]]")) == 2_000  # wide is not deep


async def test_input_and_output_have_a_size_limit(sandbox: Sandbox) -> None:
    text = "x" * (INPUT_LIMIT_BYTES // 2)
    assert await value(sandbox, "length", text) == len(text)
    assert title(await value(sandbox, "length", text * 2)) == "input size limit"
    assert await value(sandbox, f'"y" * {OUTPUT_LIMIT_BYTES - 6} | length') == OUTPUT_LIMIT_BYTES - 6
    assert title(await value(sandbox, f'"y" * {OUTPUT_LIMIT_BYTES}')) == "output size limit"
    three = [asked("length", text)] * 3  # too much for one frame, so it travels in several
    assert await sandbox.answer(ACCOUNT, three) == [len(text)] * 3


async def test_data_that_is_no_text_fails_before_it_is_sent(sandbox: Sandbox) -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert title(await value(sandbox, "(.)", "\ud800")) == "expression failed"
    assert title(await value(sandbox, "(.)", endless)) == "depth limit"
    assert title(await value(sandbox, "(.)", object())) == "expression failed"
    assert title(await value(sandbox, "1e1000")) == "expression failed"


async def test_in_a_frame_of_several_only_the_program_to_blame_fails(sandbox: Sandbox) -> None:
    found = await sandbox.answer(
        ACCOUNT, [asked("1 + 1"), asked(ENDLESS), asked("2 + 2"), asked('"a" * 1e9'), asked("3 + 3")]
    )
    assert [found[0], found[2], found[4]] == [2, 4, 6]
    assert [title(found[1]), title(found[3])] == ["time limit", "memory limit"]


# --- Workers come and go --------------------------------------------------------------------------------------------


async def test_an_idle_worker_that_is_killed_is_replaced() -> None:
    async with pool(1) as sandbox:
        before = processes(sandbox)
        for process in before:
            os.kill(process, signal.SIGKILL)
        assert await value(sandbox, "1 + 1") == 2
        await until(lambda: len(sandbox._idle) == 2)
        assert not processes(sandbox) & before


async def test_a_program_whose_worker_is_killed_by_another_is_run_once_more() -> None:
    async with pool(1) as sandbox:
        slow = asyncio.create_task(value(sandbox, "last(range(200000))"))
        await asyncio.sleep(0.005)
        os.kill(at_work(sandbox), signal.SIGKILL)
        assert await slow == 199_999

        endless = asyncio.create_task(value(sandbox, ENDLESS))
        for _ in range(2):
            await until(lambda: sandbox._at_work)
            victim = at_work(sandbox)
            os.kill(victim, signal.SIGKILL)
            await until(lambda victim=victim: victim not in processes(sandbox))
        assert title(await endless) == "evaluator stopped"


async def test_a_worker_is_replaced_after_its_share_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "RECYCLE_AFTER", 3)
    async with pool(1) as sandbox:
        used = {worker.process.pid for worker in sandbox._workers}
        for number in range(7):
            assert await value(sandbox, ". + 1", number) == number + 1
        await until(lambda: len(sandbox._idle) == 2)
        assert len(processes(sandbox) - used) == 2


async def test_a_worker_that_has_grown_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = altered(tmp_path, "RETIREMENT_MEMORY = 128 * MEBIBYTE", "RETIREMENT_MEMORY = MEBIBYTE")
    monkeypatch.setattr(processing, "WORKER_PROGRAM", small)
    async with pool(1) as sandbox:
        before = processes(sandbox)
        assert await value(sandbox, "1 + 1") == 2
        await until(lambda: before - processes(sandbox))
        assert await value(sandbox, "1 + 1") == 2


async def test_a_worker_that_says_nonsense_is_ended() -> None:
    async with pool(1) as sandbox:
        worker = next(iter(sandbox._workers))
        worker.data_received(
            wire.packed(wire.Answer(wire.READY, b"[]"))
        )  # it was ready before, and nobody asked
        assert await value(sandbox, "1 + 1") == 2
        for nonsense in (
            wire.ANSWER.pack(2**31, wire.VALUE),
            wire.packed(wire.Answer(99, b"")),
            wire.packed(wire.Answer(wire.END, b"")),
        ):
            running = asyncio.create_task(value(sandbox, ENDLESS))
            await until(lambda: sandbox._at_work)
            (worker,) = (worker for worker in sandbox._workers if worker.request is not None)
            worker.data_received(nonsense)
            assert title(await running) == "evaluator stopped"
            assert await value(sandbox, "1 + 1") == 2


@pytest.mark.parametrize("text", ["last(range(30000))", ENDLESS])
async def test_the_answer_to_one_who_has_gone_is_given_to_nobody_else(text: str) -> None:
    async with pool(1) as sandbox:
        gone = asyncio.create_task(value(sandbox, text))
        waiting = asyncio.create_task(value(sandbox, '"never sent"'))
        next_one = asyncio.create_task(value(sandbox, '"mine" | .'))
        await until(lambda: sandbox._at_work)
        gone.cancel()
        waiting.cancel()
        assert await next_one == "mine"
        assert await asyncio.gather(*(value(sandbox, ". + 1", number) for number in range(50))) == list(
            range(1, 51)
        )


async def test_a_stopped_sandbox_leaves_no_process_and_refuses_who_waits() -> None:
    sandbox = Sandbox(size=2)
    await sandbox.start()
    left = processes(sandbox)
    running = [asyncio.create_task(value(sandbox, ENDLESS)) for _ in range(3)]
    await until(lambda: sandbox._at_work)
    await sandbox.stop()
    for outcome in await asyncio.gather(*running, return_exceptions=True):
        assert isinstance(outcome, SandboxUnavailableError)
    assert not any(is_alive(process) for process in left)
    with pytest.raises(SandboxUnavailableError):
        await value(sandbox, "1 + 1")


async def test_a_machine_that_does_not_confine_gets_no_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = altered(tmp_path, "= 1, 22, 38", "= 1, 22, 9999")  # a prctl that no kernel knows
    monkeypatch.setattr(processing, "WORKER_PROGRAM", refusing)
    with pytest.raises(SandboxUnavailableError, match=r"cannot be confined: prctl\(9999\) failed"):
        await Sandbox(size=2).start()


async def test_a_worker_that_ends_at_once_is_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        processing,
        "WORKER_PROGRAM",
        altered(tmp_path, "def main() -> None:", "def main() -> None:\n    sys.exit()"),
    )
    with pytest.raises(SandboxUnavailableError, match="ended before it was ready"):
        await Sandbox(size=1).start()


async def test_a_worker_that_does_not_report_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = altered(tmp_path, "def main() -> None:", "def main() -> None:\n    signal.pause()")
    monkeypatch.setattr(processing, "WORKER_PROGRAM", silent)
    monkeypatch.setattr(pools, "START_LIMIT_SECONDS", 0.3)
    with pytest.raises(SandboxUnavailableError, match="ended before it was ready"):
        await Sandbox(size=1).start()


async def test_a_start_that_is_given_up_leaves_no_process() -> None:
    for moment in (0, 0.001, 0.01):
        sandbox = Sandbox(size=2)
        starting = asyncio.create_task(sandbox.start())
        await asyncio.sleep(moment)
        left = processes(sandbox)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not any(is_alive(process) for process in left)


async def test_whoever_waits_is_refused_while_no_worker_starts_and_served_once_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool(1) as sandbox:
        with monkeypatch.context() as broken:
            broken.setattr(processing, "WORKER_PROGRAM", tmp_path / "missing.py")
            for process in processes(sandbox):
                os.kill(process, signal.SIGKILL)
            with pytest.raises(SandboxUnavailableError):
                await value(sandbox, "1 + 1")
        await until(lambda: sandbox._idle)
        assert await value(sandbox, "1 + 1") == 2


def test_it_runs_on_uvloop_as_well() -> None:
    async def main() -> Any:
        async with Sandbox(size=1) as sandbox:
            return await sandbox.answer(ACCOUNT, [asked(". + 1", 1), asked(ENDLESS), asked("2 + 2")])

    first, second, third = uvloop.run(main())
    assert (first, title(second), third) == (2, "time limit", 4)
    gc.collect()


def test_an_answer_that_came_while_this_process_was_held_up_is_no_late_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processing, "TIME_LIMIT_SECONDS", 0.1)

    async def main() -> Any:
        async with Sandbox(size=1) as sandbox:
            asking = asyncio.create_task(value(sandbox, '"y" * 900000'))
            await asyncio.sleep(0.001)
            time.sleep(0.8)  # noqa: ASYNC251 - the loop is held up on purpose
            return len(await asking), title(await value(sandbox, ENDLESS))

    for run in (asyncio.run, uvloop.run):
        assert run(main()) == (
            900_000,
            "time limit",
        )  # more than a socket holds, so it takes several readings
    gc.collect()


# --- Turns ----------------------------------------------------------------------------------------------------------


async def test_one_account_has_at_most_half_of_the_workers() -> None:
    async with pool(2) as sandbox:
        greedy = [asyncio.create_task(value(sandbox, ENDLESS)) for _ in range(4)]
        await asyncio.sleep(0.05)
        started = time.monotonic()
        for number in range(20):
            assert await value(sandbox, ". + 1", number, account=OTHER_ACCOUNT) == number + 1
        assert time.monotonic() - started < 1
        for task in greedy:
            task.cancel()


async def test_accounts_take_turns_however_many_frames_one_of_them_has() -> None:
    async with pool(1) as sandbox:
        order: list[str] = []

        async def ask(name: str, account: UUID) -> None:
            await value(sandbox, "last(range(1000))", account=account)
            order.append(name)

        await asyncio.gather(
            *(ask("many", ACCOUNT) for _ in range(20)), *(ask("few", OTHER_ACCOUNT) for _ in range(3))
        )
        assert order.index("few") < 3
        assert [index for index, name in enumerate(order) if name == "few"][-1] < 8


# --- Compiling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".a + 1", None),
        (".", None),
        ("$context.x", None),
        ("1 # comment \\", None),
        ("def double: . * 2; double", None),
        ("$output", "$output is not defined here; available: $context, $input"),
        ("[$output.x]", "$output is not defined here; available: $context, $input (line 1, column 2)"),
        (".a +\n\n", "syntax error"),
        ("${ [$output] }", "$output is not defined here; available: $context, $input (line 1, column 5)"),
        (".a\n| foo(1)", "foo/1 is not defined (line 2, column 3)"),
        ('"é" | foo', "foo/0 is not defined (line 1, column 7)"),
        (".a +", "syntax error, unexpected end of file (line 1, column 4)"),
        ("", "syntax error, unexpected end of file (line 1, column 1)"),
        ("(", "syntax error"),
        ('"abc', "a string is not closed (line 1, column 2)"),
        ("1) , (2", "syntax error, unexpected character, expecting end of file (line 1, column 2)"),
        ("1) | ($context", "syntax error"),
        ('import "a" as $x; 1', "syntax error, unexpected import"),
        ("break $out", "there is no label $out around this break (line 1, column 1)"),
        ("1 \0", "character that is not text"),
        ("1 \ud800", "character that is not text"),
        ("1" + " " * 70_000, "more than 65536 characters"),
    ],
)
async def test_what_does_not_compile_is_told_where_and_why(
    sandbox: Sandbox, text: str, expected: str | None
) -> None:
    (found,) = await sandbox.compile(ACCOUNT, [expression(text, ["context", "input"])])
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(expected) or expected in found


async def test_a_template_that_does_not_compile_names_its_leaf(sandbox: Sandbox) -> None:
    made = [
        template({"a": [1, "${ .x + }"]}, []),
        template({"a": "${ $input }"}, []),
        template({"a": "literal"}, []),
    ]
    found = await sandbox.compile(ACCOUNT, made)
    assert found == [
        "/a/1: syntax error, unexpected end of file (line 1, column 8)",
        "/a: $input is not defined here; available: no variables",
        None,
    ]


async def test_leaves_cannot_complete_one_another(sandbox: Sandbox) -> None:
    made = template(['${ 1, " }', '${ ", 2 }'], [])
    (found,) = await sandbox.compile(ACCOUNT, [made])
    assert found is not None
    assert found.startswith("/0: ")


async def test_a_hundred_expressions_compile_in_one_call(sandbox: Sandbox) -> None:
    assert (
        await sandbox.compile(ACCOUNT, [expression(f". + {number}", []) for number in range(100)])
        == [None] * 100
    )


# --- Schemas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object"}, None),
        (True, None),
        ({"$ref": "#"}, None),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"pattern": "^(a+)+$"}}}, None),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {}}, None),
        ({"const": {"$ref": "https://example.com"}}, None),
        ({"type": "strin"}, '/type: "strin" is not valid'),
        ({"$ref": "https://example.com/schema"}, "leads outside of this schema"),
        ({"items": [{"$dynamicRef": "file:///etc/passwd"}]}, "leads outside of this schema"),
        ({"properties": {"const": {"$ref": "other.json"}}}, "not present in a registry"),
        ({"$ref": "#/$defs/none"}, "does not exist"),
        ({"pattern": "(?=a)b"}, '/pattern: the pattern "(?=a)b" is not supported'),
        ({"pattern": "(a"}, "is not supported"),
        ({"pattern": "((a{1000}){1000}){1000}"}, "is not supported"),
        ({"patternProperties": {"(?!a)": True}}, 'the pattern "(?!a)" is not supported'),
        ({"$schema": "https://example.com/own"}, "Unknown meta-schema"),
        (3, "3 is not of type"),
        ("\ud800", "surrogate"),
        ({"description": "x" * INPUT_LIMIT_BYTES}, "bytes of data"),
    ],
)
async def test_a_schema_is_checked_before_it_is_used(
    sandbox: Sandbox, schema: Any, expected: str | None
) -> None:
    found = await sandbox.check_schema(ACCOUNT, schema)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert expected in found


FIELDS = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "count": {"type": "integer"},
        "kind": {"enum": ["a", "b"]},
    },
    "additionalProperties": False,
}


@pytest.mark.parametrize("wild", [{}, {"patternProperties": {"^never$": True}}])
async def test_a_violation_says_where_and_why_here_and_in_the_sandbox(
    sandbox: Sandbox, wild: dict[str, Any]
) -> None:
    schema = {**FIELDS, **wild}
    assert is_tame(schema) == (not wild)
    assert await sandbox.validate(ACCOUNT, schema, {"name": "ok", "count": 3.0}) == []
    found = await sandbox.validate(
        ACCOUNT, schema, {"name": "secret text", "count": "many", "kind": "c", "more": 1}
    )
    assert isinstance(found, list)
    assert {(*violation.path, violation.keyword) for violation in found} == {
        ("name", "maxLength"),
        ("count", "type"),
        ("kind", "enum"),
        ("more", "additionalProperties"),
    }
    assert not any("secret" in violation.message for violation in found)
    assert await sandbox.validate(ACCOUNT, schema, {}) == [Violation(["name"], "required", "is required")]


@pytest.mark.parametrize("wild", [{}, {"pattern": "x"}])
async def test_violations_are_at_most_a_hundred_and_short(sandbox: Sandbox, wild: dict[str, Any]) -> None:
    schema = {"items": {"type": "string"}, "additionalProperties": False, **wild}
    found = await sandbox.validate(ACCOUNT, schema, list(range(500)))
    assert isinstance(found, list)
    assert len(found) == 100
    (only,) = await sandbox.validate(ACCOUNT, schema, {f"property-{number}": 1 for number in range(500)})  # type: ignore[misc]
    assert len(only.message) <= 300


def exponential() -> dict[str, Any]:
    levels = {str(level): {"allOf": [{"$ref": f"#/$defs/{level + 1}"}] * 2} for level in range(40)}
    return {"$ref": "#/$defs/0", "$defs": {**levels, "40": {"type": "string"}}}


async def test_schemas_made_to_harm_do_none(sandbox: Sandbox) -> None:
    assert title(await sandbox.validate(ACCOUNT, exponential(), "a")) == "time limit"
    assert await sandbox.validate(ACCOUNT, {"$ref": "#"}, "a") == []
    loops = await sandbox.validate(ACCOUNT, {"allOf": [{"$ref": "#"}]}, "a")
    assert loops == [] or title(loops) in {"time limit", "memory limit", "schema failed"}
    started = time.monotonic()
    found = await sandbox.validate(ACCOUNT, {"pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}, "a" * 50_000)
    assert found == [Violation([], "pattern", 'the value does not match "^(([a-z])+.)+[A-Z]([a-z])+$"')]
    assert time.monotonic() - started < 1
    assert await sandbox.validate(ACCOUNT, {"type": "string"}, "a") == []


async def test_what_cannot_be_validated_is_a_failure_and_no_violation(sandbox: Sandbox) -> None:
    deep: Any = 0
    for _ in range(400):
        deep = [deep]
    for schema in ({"type": "array"}, {"type": "array", "pattern": "x"}):
        found = await sandbox.validate(ACCOUNT, schema, deep)
        assert found == [] or title(found) == "schema failed"
    assert title(await sandbox.validate(ACCOUNT, {"type": "strin"}, 1)) == "schema failed"
    assert title(await sandbox.validate(ACCOUNT, {"type": "string"}, "\ud800")) == "expression failed"
    assert title(await sandbox.validate(ACCOUNT, "\ud800", 1)) == "expression failed"
    assert title(await sandbox.validate(ACCOUNT, {}, "x" * INPUT_LIMIT_BYTES)) == "input size limit"


def nested(depth: int) -> dict[str, Any]:
    return {"items": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    ("schema", "tame"),
    [
        (FIELDS, True),
        (True, True),
        ({"anyOf": [{"type": "string"}, {"not": {"const": 1}}]}, True),
        ({"properties": {"pattern": {"type": "string"}, "$ref": {}}}, True),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "format": "email"}, True),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "format": "regex"}, False),
        ({"properties": {"a": {"$ref": "#"}}}, False),
        ({"items": {"pattern": "a"}}, False),
        ({"uniqueItems": True}, False),
        ({"items": [{}]}, False),
        ({"properties": []}, False),
        ({"allOf": {}}, False),
        (nested(10), True),
        (nested(20), False),
        ({"allOf": [{}] * 300}, False),
        ({"enum": list(range(101))}, False),
        ({"description": "x" * 20_000}, True),
        (3, False),
    ],
)
async def test_only_tame_schemas_are_applied_outside_of_the_sandbox(
    sandbox: Sandbox, schema: Any, *, tame: bool
) -> None:
    assert is_tame(schema) == tame
    assert await sandbox.validate(ACCOUNT, schema, {}) == [] or not tame or schema is FIELDS


async def test_many_different_schemas_do_not_pile_up(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "SCHEMA_CACHE", 5)
    for number in [*range(20), 19]:
        assert await sandbox.validate(ACCOUNT, {"minimum": number}, 100) == []
    assert len(schemas.validators) <= schemas.SCHEMA_CACHE + 60


async def test_nothing_else_is_read_out_of_a_worker(sandbox: Sandbox) -> None:
    asked_for = asked(". + 1", 1)
    assert title(encoding.value_of(wire.Answer(wire.VALUE, b"7"), asked_for)) == "expression failed"
    assert title(encoding.value_of(wire.Answer(wire.VALUE, b"\xff"), asked_for)) == "expression failed"
    assert title(encoding.violations_of(wire.Answer(wire.VALUE, b'[{"path": 3}]'))) == "schema failed"
    assert title(encoding.violations_of(wire.Answer(wire.TOO_LARGE, b""))) == "output size limit"


async def test_what_takes_too_long_to_check_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = altered(tmp_path, "signal.alarm(GUARD_SECONDS)", "while True: pass")
    monkeypatch.setattr(processing, "WORKER_PROGRAM", slow)
    monkeypatch.setattr(processing, "TIME_LIMIT_SECONDS", 0.05)
    async with pool(1) as sandbox:
        (compiled,) = await sandbox.compile(ACCOUNT, [expression(". + 1", [])])
        assert compiled is not None
        assert compiled.startswith("the expression cannot be compiled: time limit")
        checked = await sandbox.check_schema(ACCOUNT, {"pattern": "a"})
        assert checked is not None
        assert checked.startswith("the schema cannot be checked: time limit")


async def test_a_worker_ends_itself_when_nobody_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        processing, "WORKER_PROGRAM", altered(tmp_path, "GUARD_SECONDS = 3", "GUARD_SECONDS = 1")
    )
    monkeypatch.setattr(processing, "TIME_LIMIT_SECONDS", 60.0)
    async with pool(1) as sandbox:
        assert title(await value(sandbox, ENDLESS)) == "time limit"


# --- The worker's program, in this process --------------------------------------------------------------------------


def conversation(*items: wire.Item) -> list[wire.Answer]:
    """What a worker answers to a frame."""
    return [wire.answer(*item) for item in wire.items(processing.framed(items))]


def test_frames_are_read_as_they_were_written() -> None:
    frame = processing.framed(
        [wire.Item(wire.EVALUATE, b".", b"1"), wire.Item(wire.VALIDATE, "é".encode(), b"")]
    )
    assert list(wire.items(frame)) == [(wire.EVALUATE, ".", "1"), (wire.VALIDATE, "é", "")]


def test_a_frame_may_hold_work_of_every_kind() -> None:
    program, compiled, schema, fitting = conversation(
        wire.Item(wire.EVALUATE, b"[.] | tojson", b"1.10"),
        wire.Item(wire.COMPILE, b"1 +", b""),
        wire.Item(wire.CHECK_SCHEMA, b"{}", b""),
        wire.Item(wire.VALIDATE, b"{}", b"1"),
    )
    assert program == wire.Answer(wire.VALUE, b"[1.10]")
    assert compiled.status == wire.FAILED
    assert schema == wire.Answer(wire.VALUE, b"")
    assert fitting == wire.Answer(wire.VALUE, b"[]")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (b'{"items": [{"$ref": "other"}]}', b"leads outside"),
        (b'{"patternProperties": {"(?=a)": true}}', b"is not supported"),
        (b'{"type": "strin"}', b'/type: "strin" is not valid'),
        (b"3", b"3 is not of type"),
        (b"{", b"Expecting"),
    ],
)
def test_a_bad_schema_is_answered_in_one_sentence(schema: bytes, expected: bytes) -> None:
    (found,) = conversation(wire.Item(wire.CHECK_SCHEMA, schema, b""))
    assert found.status == wire.FAILED
    assert expected in found.payload


def test_a_result_that_is_too_long_is_left_out() -> None:
    program = f'"y" * {OUTPUT_LIMIT_BYTES} | tojson'.encode()
    assert conversation(wire.Item(wire.EVALUATE, program, b"1")) == [wire.Answer(wire.TOO_LARGE, b"")]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter is written for one architecture")
def test_the_system_call_filter_ends_in_a_refusal() -> None:
    program = wire.system_call_filter(own=1)
    assert len(program) % 8 == 0
    assert len(program) // 8 < 256
    assert program.endswith(wire.instruction(wire.RETURN, wire.REFUSE))


def test_recent_things_are_kept_and_old_ones_are_not() -> None:
    made: list[str] = []
    recent = wire.Recent(lambda text: made.append(text) or text, 2)  # type: ignore[func-returns-value]
    for text in ("a", "b", "a", "c", "a", "b"):
        assert recent.of(text) == text
    assert made == ["a", "b", "c", "b"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_knows_what_it_holds() -> None:
    memory = wire.Memory()
    assert memory.held() > 1024 * 1024
    assert memory.file is not None
    memory.file.close()
