"""What the process has once, for all of its requests."""

from typing import Any

from litestar import Request

from service.engine.followers import Followers
from service.language.sandbox import Sandbox


def sandbox_of(request: Request[Any, Any, Any]) -> Sandbox:
    """Return the process's sandbox; Litestar's injection costs a trigger a tenth of its time."""
    sandbox: Sandbox = request.app.state["sandbox"]
    return sandbox


def followers_of(request: Request[Any, Any, Any]) -> Followers:
    """Return the process's followers; a server that stops has all of them stop (see `Http1Protocol.shutdown`)."""
    followers: Followers = request.app.state["followers"]
    request.scope["state"]["stop"] = followers.close
    return followers
