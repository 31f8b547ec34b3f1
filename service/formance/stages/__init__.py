"""Formance's stages as definitions of the language. Nothing here knows the database or HTTP."""

from service.formance.stages.compiling import compiled
from service.formance.stages.problems import Problem, StagesRefused

__all__ = ["Problem", "StagesRefused", "compiled"]
