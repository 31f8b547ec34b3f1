"""What is wrong with the steps of a definition, each problem with its place."""

import msgspec

from service.problems import ProblemsFound


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: with which step (None: with no single one), at which field of it, and what it has to be."""

    step: str | None
    field: str
    message: str

    def __str__(self) -> str:
        place = " ".join(filter(None, [f"step {self.step!r}" if self.step else "", self.field]))
        return f"{place}: {self.message}" if place else self.message


class StepsRefused(ProblemsFound[Problem]):
    """The steps cannot be run as they stand; the text names every problem with its step and field."""
