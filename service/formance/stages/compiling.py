"""Makes a definition of the language out of a Formance workflow: a task for each stage, a few for each activity."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import msgspec

from service.formance.stages import sending, updating, waiting
from service.formance.stages.activities import functions
from service.formance.stages.problems import Problem, StagesRefused
from service.formance.stages.values import Fields, variables_in
from service.language.texts import TEXT_LIMIT

STAGE_LIMIT = 100
TITLE_LIMIT = 255  # characters
NAMESPACE = "formance"
TOO_LARGE = (
    f"make more than {TEXT_LIMIT // 1024} KiB of tasks; make two workflows of them, or shorten their texts."
)

Compile = Callable[[Fields], list[dict[str, Any]]]

KINDS: Mapping[str, Compile] = {
    "noop": waiting.noop,
    "delay": waiting.delay,
    "wait_event": waiting.wait_event,
    "send": sending.send,
    "update": updating.update,
}


def compiled(config: Any) -> dict[str, Any]:
    """The definition that runs a workflow's `config`, as decoded from JSON or YAML: `{"name"?: string, "stages": [...]}`.

    It has one task for each stage at the top, `<kind>-<index>`, and keeps the config as it came in
    `document.metadata.formance`. Its inputs are the variables.

    Raises:
        StagesRefused: what is wrong with it, as far as no variable decides that.
    """
    problems: list[Problem] = []
    name, stages = _parts(config, problems)
    tasks = [_stage(index, stage, problems) for index, stage in enumerate(stages)]
    if problems:
        raise StagesRefused(problems)
    header = {
        "dsl": "1.0.3",
        "namespace": NAMESPACE,
        "name": f"flow-{uuid4()}",
        "version": "1.0.0",
        **({"title": name[:TITLE_LIMIT]} if name else {}),
        "metadata": {"formance": {"stages": stages} if name is None else {"name": name, "stages": stages}},
    }
    used = functions(_calls(tasks))
    document = {
        "document": header,
        "input": {"schema": {"document": _schema(stages)}},
        **({"use": used} if used else {}),
        "do": tasks,
    }
    if len(msgspec.json.encode(document)) > TEXT_LIMIT:
        raise StagesRefused([Problem(None, "stages", TOO_LARGE)])
    return document


def _parts(config: Any, problems: list[Problem]) -> tuple[str | None, list[Any]]:
    """The name and the stages; other fields are ignored."""
    if not isinstance(config, dict):
        problems.append(Problem(None, "", "A workflow is an object with `stages`."))
        return None, []
    name, stages = config.get("name"), config.get("stages")
    if not isinstance(name, str | None):
        problems.append(Problem(None, "name", "has to be a string."))
        name = None
    if not isinstance(stages, list):
        rule = (
            "is missing: a list of stages, which may be empty."
            if stages is None
            else "has to be a list of stages."
        )
        problems.append(Problem(None, "stages", rule))
        return name, []
    if len(stages) > STAGE_LIMIT:
        problems.append(Problem(None, "stages", f"has at most {STAGE_LIMIT} stages."))
        return name, []
    return name, stages


def _stage(index: int, stage: Any, problems: list[Problem]) -> dict[str, Any]:
    """The task of one stage."""
    if not isinstance(stage, dict) or len(stage) != 1:
        given = f"it has {len(stage)} keys" if isinstance(stage, dict) else "it is no object"
        problems.append(
            Problem(index, "", f"has to be an object with one key, its kind ({', '.join(KINDS)}); {given}.")
        )
        return {}
    ((kind, value),) = stage.items()
    if kind not in KINDS:
        problems.append(
            Problem(index, "", f"has the unknown kind {kind[:64]!r}; there are {', '.join(KINDS)}.")
        )
        return {}
    found: list[Problem] = []
    tasks = KINDS[kind](Fields(found, index, {} if value is None else value, kind))
    problems += found
    return {f"{kind}-{index}": {"do": tasks}}


def _calls(value: Any) -> Iterator[str]:
    """The name of every function that tasks call."""
    if isinstance(value, dict) and isinstance(value.get("call"), str):
        yield value["call"]
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _calls(inner)


def _schema(stages: list[Any]) -> dict[str, Any]:
    """What an instance is started with: a string for each variable; others are of no use and do no harm."""
    names = dict.fromkeys(variables_in(stages))
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "additionalProperties": {"type": "string"},
    }
