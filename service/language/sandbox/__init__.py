"""Strangers' jq, patterns and schemas, evaluated where they can do no harm.

A `Sandbox` owns a pool of worker processes (`sandbox_worker.py`) that have no environment, no files, no network, little
memory and one second. A frame of work goes to one of them at a time; a worker that is late or dies is replaced, and only
the program it was running fails.
"""

from service.language.sandbox.pool import Sandbox
from service.language.sandbox.process import SandboxUnavailableError
from service.language.schemas import is_tame

__all__ = ["Sandbox", "SandboxUnavailableError", "is_tame"]
