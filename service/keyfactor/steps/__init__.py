"""Keyfactor's steps as definitions of the language. Nothing here knows the database or HTTP."""

from service.keyfactor.steps.compiling import Compiled, Header, compiled
from service.keyfactor.steps.problems import Problem, StepsRefused
from service.keyfactor.steps.step import Condition, Signal, Step

__all__ = [
    "Compiled",
    "Condition",
    "Header",
    "Problem",
    "Signal",
    "Step",
    "StepsRefused",
    "compiled",
]
