"""Makes a definition of the language out of steps: a task for each of them, named as it is, in the order of their outputs."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from service.keyfactor.steps import tokens
from service.keyfactor.steps.graph import STEP_LIMIT, in_order
from service.keyfactor.steps.kinds import KINDS, Reading
from service.keyfactor.steps.parameters import Type, checked
from service.keyfactor.steps.problems import Problem, StepsRefused
from service.keyfactor.steps.step import Condition, Signal, Step
from service.language.texts import TEXT_LIMIT
from service.language.values import flaw

NAMESPACE = "keyfactor"
MADE_HERE = "keyfactor"  # the name under which a definition's metadata hold what its author wrote
PARAMETERS_LIMIT = 64 * 1024  # bytes, of all steps
CONDITION_LIMIT = 20
TITLE_LIMIT = 255  # characters

# What the vendor's servers do and this one does not, and why.
ELSEWHERE = {
    "powershell": "no scripts are run here",
    "enrollstep": "nothing is enrolled here",
    "revokestep": "nothing is revoked here",
    "expirationrenewal": "nothing is renewed here",
    "awslambda": "call it by a RESTRequest",
    "azurefunction": "call it by a RESTRequest",
    "azurefunctionoauth": "call it by an OAuthRESTRequest",
}
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,70}")  # what a step's name has to be to stand in the name of its secret


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a definition is beside its steps."""

    id: UUID
    number: int
    display_name: str | None
    description: str | None
    workflow_type: str


class Compiled(msgspec.Struct, frozen=True):
    """A definition, and the values of secrets that came with its steps, by the names that the account has for them."""

    document: dict[str, Any]
    secrets: dict[str, dict[str, str]]


class Taken(msgspec.Struct, frozen=True):
    """A step with which nothing is wrong: as it is told again, its task, its secret, and the values that came for that."""

    told: dict[str, Any]
    task: dict[str, Any]
    secret: str | None
    values: dict[str, str]


def compiled(header: Header, steps: Sequence[Step], roles: Mapping[int, str]) -> Compiled:
    """The definition that runs steps.

    It keeps them as they came in `document.metadata.keyfactor`, but for the values of secrets. `roles` are those that signals
    may name, by their numbers.

    Raises:
        StepsRefused: what is wrong with them.
    """
    problems: list[Problem] = []
    order = in_order(steps, problems)
    _small(steps, problems)
    if len(steps) > STEP_LIMIT:
        raise StepsRefused(problems)
    taken = {step.unique_name: _taken(header.id, step, roles, problems) for step in steps}
    if problems:
        raise StepsRefused(problems)
    document = _document(header, steps, {step.unique_name: taken[step.unique_name] for step in order})
    if len(msgspec.json.encode(document)) > TEXT_LIMIT:
        raise StepsRefused([Problem(None, "", "The steps make too large a definition; shorten their texts.")])
    given = {one.secret: one.values for one in taken.values() if one.secret is not None and one.values}
    return Compiled(document, given)


def _document(header: Header, steps: Sequence[Step], taken: Mapping[str | None, Taken]) -> dict[str, Any]:
    made = {
        "WorkflowType": header.workflow_type,
        "Description": header.description,
        "Steps": [taken[step.unique_name].told for step in steps],
    }
    secrets = [one.secret for one in taken.values() if one.secret is not None]
    return {
        "document": {
            "dsl": "1.0.3",
            "namespace": NAMESPACE,
            "name": f"definition-{header.id}",
            "version": f"{header.number}.0.0",
            **({"title": header.display_name} if header.display_name else {}),
            "metadata": {MADE_HERE: made},
        },
        **({"use": {"secrets": secrets}} if secrets else {}),
        "do": [{str(name): one.task} for name, one in taken.items()],
    }


def _small(steps: Sequence[Step], problems: list[Problem]) -> None:
    """Refuse more than a definition may hold."""
    size = sum(len(msgspec.json.encode(step.configuration_parameters)) for step in steps)
    if size > PARAMETERS_LIMIT:
        rule = f"ConfigurationParameters have at most {PARAMETERS_LIMIT // 1024} KiB in all steps together."
        problems.append(Problem(None, "", rule))


def _taken(definition: UUID, step: Step, roles: Mapping[int, str], problems: list[Problem]) -> Taken:
    """Read one step."""
    name, extension = str(step.unique_name), step.extension_name or ""
    kind = next((one for one in KINDS if one.lower() == extension.lower()), None)
    if kind is None:
        problems.append(Problem(name, "ExtensionName", _unknown(extension)))
        return Taken({}, {}, None, {})
    found: list[Problem] = []
    given = checked(KINDS[kind].parameters, step.configuration_parameters or {}, name, found)
    reading = Reading(
        name=name,
        title=_title(step, found) or name,
        given=given,
        signals=_signals(kind, step, found),
        roles=roles,
        secret=secret_of(definition, name),
        problems=found,
        long={},
    )
    condition = _condition(step, found)
    task = {} if found else KINDS[kind].make(reading)
    problems += found
    if condition is not None:
        task = {"if": condition, **task}
    secret = [one.name for one in KINDS[kind].parameters if one.type is Type.SECRET]
    values = {one: given[one] for one in secret if given.get(one)}
    told = _told(kind, step, given | dict.fromkeys(secret))
    return Taken(told, task, reading.secret if reading.uses_secret else None, values)


def _title(step: Step, problems: list[Problem]) -> str:
    """What a step is called."""
    title = (step.display_name or "").strip()
    broken = flaw(title)
    if broken is not None or len(title) > TITLE_LIMIT:
        rule = broken or f"has at most {TITLE_LIMIT} characters"
        problems.append(Problem(str(step.unique_name), "DisplayName", f"{rule}."))
    return title


def _told(kind: str, step: Step, given: dict[str, Any]) -> dict[str, Any]:
    """The step as it is told again: the names of its parameters as they are written here, no value of a secret."""
    told = msgspec.structs.replace(
        step,
        extension_name=kind,
        enabled=step.enabled is not False,
        configuration_parameters=given,
        outputs={name: target for name, target in (step.outputs or {}).items() if target},
    )
    found: dict[str, Any] = msgspec.to_builtins(told)
    return found


def _unknown(extension: str) -> str:
    """Why there is no step of a kind."""
    if not extension:
        return "is missing."
    because = ELSEWHERE.get(extension.lower())
    known = f"the steps are {', '.join(KINDS)}."
    if because is not None:
        return f"{extension!r} is not done by this service: {because}; {known}"
    return f"{extension[:64]!r} is unknown; {known}"


def _signals(kind: str, step: Step, problems: list[Problem]) -> Sequence[Signal]:
    """The signals that a step waits for, which its kind has to know."""
    known = KINDS[kind].signals
    for signal in step.signals or ():
        if signal.signal_name not in known:
            told = ", ".join(known) or "no signals"
            message = f"has {(signal.signal_name or '')[:64]!r}; a {kind} waits for {told}."
            problems.append(Problem(str(step.unique_name), "Signals", message))
    return step.signals or ()


def _condition(step: Step, problems: list[Problem]) -> str | None:
    """The jq that tells whether a step is done; None where it always is."""
    conditions = step.conditions or ()
    if len(conditions) > CONDITION_LIMIT:
        message = f"has at most {CONDITION_LIMIT} conditions."
        problems.append(Problem(str(step.unique_name), "Conditions", message))
        return None
    found = [_one_condition(step, condition, problems) for condition in conditions]
    if step.enabled is False or "false" in found:
        return "false"
    unknown = [one for one in found if one != "true"]
    return tokens.PRELUDE + " and ".join(unknown) if unknown else None


def _one_condition(step: Step, condition: Condition, problems: list[Problem]) -> str:
    """The jq of one condition."""
    text = str(condition.value).strip() if condition.value is not None else ""
    if text.lower() in ("true", "false"):
        return text.lower()
    token = tokens.TOKEN.fullmatch(text)
    if token is None:
        message = "has to be True, False or one token, such as $(approved)."
        problems.append(Problem(str(step.unique_name), "Conditions", message))
        return "true"
    return tokens.is_true(token[1])


def secret_of(definition: UUID, step: str) -> str:
    """The name of the account's secret that holds what is secret of a step."""
    name = step if _SAFE.fullmatch(step) else hashlib.sha256(step.encode(errors="replace")).hexdigest()[:32]
    return f"{NAMESPACE}-{definition}-{name}"
