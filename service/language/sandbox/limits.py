"""What a stranger's program may take, and how the failure is called when it takes more."""

from typing import Final

from service.language import sandbox_worker as wire
from service.language.expressions import ExpressionFailure

TIME_LIMIT_SECONDS: Final = 1.0
"""Wall time of one frame."""
INPUT_LIMIT_BYTES: Final = wire.MEBIBYTE
"""Data of one evaluation (`.` and the variables it reads), and of one frame together."""
OUTPUT_LIMIT_BYTES: Final = wire.OUTPUT_LIMIT
MEMORY_LIMIT_BYTES: Final = wire.ADDRESS_SPACE
DEPTH_LIMIT: Final = 512

TIME_LIMIT: Final = "time limit"
MEMORY_LIMIT: Final = "memory limit"
INPUT_LIMIT: Final = "input size limit"
OUTPUT_LIMIT: Final = "output size limit"
NESTING_LIMIT: Final = "depth limit"
WORKER_LOST: Final = "evaluator stopped"

TOO_SLOW: Final = ExpressionFailure(TIME_LIMIT, f"no result after {TIME_LIMIT_SECONDS:g} s")
UNREADABLE: Final = ExpressionFailure(WORKER_LOST, "the evaluator's answer could not be read")
