"""What is wrong with the stages of a workflow, each problem with its place."""

import msgspec

from service.problems import ProblemsFound


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: in which stage (None: outside of them), at which field of it, and what it has to be."""

    stage: int | None
    field: str
    message: str

    def __str__(self) -> str:
        place = [] if self.stage is None else [f"stage {self.stage}"]
        return f"{': '.join([*place, self.field] if self.field else place)}: {self.message}".lstrip(": ")


class StagesRefused(ProblemsFound[Problem]):
    """The stages cannot be run as they stand; the text names every problem with its stage and field."""
