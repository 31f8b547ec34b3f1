"""The stages that move nothing: `noop`, `delay` and `wait_event`."""

import re
from typing import Any

from service.formance.stages import times
from service.formance.stages.values import Fields, failure, is_computed
from service.language.writing import written

PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. /:-]*")  # neither an expression nor a pattern of the language
ONE_LENGTH = "A delay needs exactly one of duration, until."
TWO_LENGTHS = f'if has("duration") == has("until") then {failure(ONE_LENGTH)} else . end'
# Without what came to nothing, at every depth.
PRESENT = """
def present: if type == "object" then with_entries(select(.value != null) | .value |= present) else . end; present
""".strip()


def resolve(stage: dict[str, Any], check: str = "") -> dict[str, Any]:
    """The first task of every stage: its fields with the variables filled in, which the others find in `$context.stage`.

    A field that came to nothing is left out, then `check` looks at the whole.
    """
    task: dict[str, Any] = {"set": written(stage) or "${ {} }"}
    if is_computed(stage):
        task["output"] = {"as": " | ".join(filter(None, (PRESENT, check)))}
    return {"resolve": {**task, "export": {"as": "{stage: .}"}}}


def noop(_: Fields) -> list[dict[str, Any]]:
    """Nothing at all."""
    return [resolve({})]


def delay(fields: Fields) -> list[dict[str, Any]]:
    """A length of time, or until an instant; what is past is over at once."""
    given = {"duration": fields.length("duration"), "until": fields.instant("until")}
    known = [name for name, value in given.items() if isinstance(value, str)]
    if len(known) > 1 or not (known or is_computed(given) or fields.problems):
        fields.refuse("", ONE_LENGTH)
    return [resolve(given, TWO_LENGTHS), {"wait": {"wait": _length(given)}}]


def _length(given: dict[str, Any]) -> dict[str, int] | str:
    """How long the timer runs."""
    if isinstance(given["duration"], str) and given["until"] is None:
        return {"milliseconds": max(times.milliseconds(given["duration"]) or 0, 0)}
    instant = f"(.until | {times.INSTANT_JQ}) - $task.startedAt.epoch.milliseconds"
    length = f"if .duration then .duration | {times.LENGTH_JQ} else {instant} end"
    if isinstance(given["until"], str) and given["duration"] is None:
        length = f"{times.epoch_milliseconds(given['until'])} - $task.startedAt.epoch.milliseconds"
    return f"${{ {length} | if . > 0 then ceil else 0 end | {{milliseconds: .}} }}"


def wait_event(fields: Fields) -> list[dict[str, Any]]:
    """An event by its name, letter by letter, that was sent to this very instance; for as long as it takes.

    A plain name stands in the definition itself: who listens for it is then found by it.
    """
    given = {"event": fields.text("event", required=True)}
    plain = isinstance(given["event"], str) and PLAIN.fullmatch(given["event"])
    wanted = {
        "type": given["event"] if plain else "${ . == $context.stage.event }",
        "subject": "${ . == $workflow.id }",
    }
    return [resolve(given), {"wait": {"listen": {"to": {"one": {"with": wanted}}}}}]
