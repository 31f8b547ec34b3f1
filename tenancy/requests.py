"""Which request is being answered, for whatever writes or waits on its behalf."""

from collections.abc import Callable
from contextvars import ContextVar
from uuid import UUID

# Its id; None for what no request asked for.
current_request: ContextVar[UUID | None] = ContextVar("current_request", default=None)
# Who wants to hear that its caller has proven to be one of an account's.
hears_of_proof: ContextVar[Callable[[UUID], None] | None] = ContextVar("hears_of_proof", default=None)
