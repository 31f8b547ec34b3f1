"""What is wrong with a definition that is written in a dialect's words: all of it at once."""

from collections.abc import Sequence
from typing import Generic, TypeVar

PROBLEM_LIMIT = 20  # nobody reads more in one message

Problem = TypeVar("Problem")


class ProblemsFound(Exception, Generic[Problem]):  # noqa: N818 - named after the situation
    """A definition cannot be run as it stands; the text names every problem with its place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep the problems; each says in its own text where it is."""
        super().__init__("; ".join(map(str, problems[:PROBLEM_LIMIT])))
        self.problems = problems
