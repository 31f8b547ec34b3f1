"""The types of workflows and the kinds of steps that there are, as the API tells them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from service.keyfactor.steps.graph import CONTINUE
from service.keyfactor.steps.kinds import KINDS, Kind
from service.keyfactor.steps.parameters import Parameter, Type

# What the keys of each type name. Nothing is enrolled, revoked or collected here: whoever starts instances knows the keys.
WORKFLOW_TYPES = {
    "Enrollment": "CertificateTemplate",
    "Revocation": "CertificateTemplate",
    "CertificateEnteredCollection": "CertificateCollection",
    "CertificateLeftCollection": "CertificateCollection",
    "Expiration": "ExpirationAlert",
}

# How each type of parameter is asked for; these numbers too are ours.
CONTROLS = {
    Type.TEXT: 0,
    Type.LONG_TEXT: 1,
    Type.NUMBER: 2,
    Type.CHOICE: 3,
    Type.TEXTS: 4,
    Type.HEADERS: 5,
    Type.SECRET: 6,
}

ParameterType = Annotated[
    int,
    Meta(
        ge=0,
        le=7,
        description="0 text, 1 whole number, 2 list of texts, 3 lists of texts by names, 4 secret, 5 text of several lines,"
        " 6 one of PotentialValues",
    ),
]
ControlType = Annotated[
    int,
    Meta(
        ge=0,
        le=7,
        description="0 line, 1 area, 2 number, 3 choice, 4 list, 5 table, 6 hidden line",
    ),
]


class ParameterDefinition(msgspec.Struct, kw_only=True, rename="pascal"):
    """A parameter of a step, or of a signal."""

    display_name: str
    parameter_type: ParameterType
    required: bool
    default_value: str | None
    control_type: ControlType
    potential_values: dict[str, str] | None
    support_token_replacement: Annotated[bool, Meta(description="whether $(name) in it is replaced")]
    depends_on: dict[str, str] | None


class SignalDefinition(msgspec.Struct, rename="pascal"):
    """A signal that a step waits for."""

    input_parameters: dict[str, ParameterDefinition]


class AvailableStepQueryResponse(msgspec.Struct, kw_only=True, rename="pascal"):
    """A kind of step, in a list."""

    display_name: str
    extension_name: str
    supported_workflow_types: list[str]
    configuration_parameters_definition: dict[str, ParameterDefinition]
    signals_definition: dict[str, SignalDefinition]


class AvailableStepResponse(msgspec.Struct, kw_only=True, rename="pascal"):
    """A kind of step."""

    display_name: str
    extension_name: str
    outputs: Annotated[list[str], Meta(description="names that its outputs may have")]
    configuration_parameters_definition: dict[str, ParameterDefinition]
    signals_definition: dict[str, SignalDefinition]


class WorkflowTypeQueryResponse(msgspec.Struct, kw_only=True, rename="pascal"):
    """A type of workflow."""

    workflow_type: str
    key_type: Annotated[str, Meta(description="what the keys of its definitions name")]
    context_parameters: Annotated[
        list[str], Meta(description="empty: the data bucket has what whoever starts an instance puts into it")
    ]
    built_in_steps: list[AvailableStepResponse]


def outlined(name: str) -> AvailableStepQueryResponse:
    """Tell a kind of step in a list."""
    parameters, signals = definitions_of(KINDS[name])
    return AvailableStepQueryResponse(
        display_name=KINDS[name].title,
        extension_name=name,
        supported_workflow_types=list(WORKFLOW_TYPES),
        configuration_parameters_definition=parameters,
        signals_definition=signals,
    )


def available(name: str) -> AvailableStepResponse:
    """Tell a kind of step."""
    parameters, signals = definitions_of(KINDS[name])
    return AvailableStepResponse(
        display_name=KINDS[name].title,
        extension_name=name,
        outputs=[CONTINUE],
        configuration_parameters_definition=parameters,
        signals_definition=signals,
    )


def definitions_of(kind: Kind) -> tuple[dict[str, ParameterDefinition], dict[str, SignalDefinition]]:
    """Tell the parameters of a kind of step, and its signals."""
    signals = {
        name: SignalDefinition({one.name: parameter(one) for one in parameters})
        for name, parameters in kind.signals.items()
    }
    return {one.name: parameter(one) for one in kind.parameters}, signals


def parameter(one: Parameter) -> ParameterDefinition:
    """Tell a parameter."""
    return ParameterDefinition(
        display_name=one.title,
        parameter_type=one.type,
        required=one.required,
        default_value=one.default,
        control_type=CONTROLS[one.type],
        potential_values={choice: choice for choice in one.choices} or None,
        support_token_replacement=one.tokens,
        depends_on=None,
    )


def workflow_type(name: str) -> WorkflowTypeQueryResponse:
    """Tell a type of workflow."""
    return WorkflowTypeQueryResponse(
        workflow_type=name,
        key_type=WORKFLOW_TYPES[name],
        context_parameters=[],
        built_in_steps=[available("NOOPStep")],
    )


def step_named(name: str) -> str | None:
    """Find a kind of step by its name in any case."""
    return next((one for one in KINDS if one.lower() == name.lower()), None)


def type_named(name: str) -> str | None:
    """Find a type of workflow by its name in any case."""
    return next((one for one in WORKFLOW_TYPES if one.lower() == name.strip().lower()), None)
