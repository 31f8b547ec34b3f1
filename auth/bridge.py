"""Runs Authlib's synchronous grants on the event loop: what they ask of the database is awaited outside of them.

Authlib 1.9 has no asynchronous server. A greenlet costs a seventh of a thread here, shares the open transaction of its
caller and can be cancelled like any coroutine. One rule: no lock is held across `wait`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

import greenlet

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Bridge(greenlet.greenlet):
    """A synchronous call under way, whose parent awaits on its behalf."""


async def bridged(
    call: Callable[Arguments, Result], /, *arguments: Arguments.args, **options: Arguments.kwargs
) -> Result:
    """Run a synchronous call that may `wait` for coroutines; its result or exception is the call's own."""
    child = Bridge(call)
    child.gr_context = greenlet.getcurrent().gr_context  # so that the open transaction is the caller's
    asked = child.switch(*arguments, **options)
    while not child.dead:
        try:
            answer = await asked
        except BaseException as error:  # noqa: BLE001 - cancellation, too, belongs to the call that waits
            asked = child.throw(error)
        else:
            asked = child.switch(answer)
    return cast("Result", asked)


def wait(awaitable: Awaitable[Result]) -> Result:
    """Await something from within a bridged call.

    Raises:
        RuntimeError: outside of one, where nobody awaits.
    """
    current = greenlet.getcurrent()
    if not isinstance(current, Bridge) or current.parent is None:
        raise RuntimeError("Nobody awaits here: call this from within bridged(...).")
    answer: Any = current.parent.switch(awaitable)
    return cast("Result", answer)
