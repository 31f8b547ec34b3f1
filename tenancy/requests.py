"""Which request is being answered, for whatever writes or waits on its behalf."""

from contextvars import ContextVar
from uuid import UUID

# Its id; None for what no request asked for.
current_request: ContextVar[UUID | None] = ContextVar("current_request", default=None)
