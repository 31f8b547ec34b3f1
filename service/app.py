"""The application on one page: routers, handlers, background work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp

from auth import endpoints as oauth
from auth.pages.controllers import pages_router
from auth.sweeping import sweeping
from service.background import beside
from service.console.controllers import console_router
from service.engine.bell import telling_others
from service.engine.egress import Egress
from service.engine.followers import Followers
from service.engine.worker import Worker
from service.exchange import with_exchange
from service.formance import errors as formance
from service.formance.controllers import formance_routers
from service.keyfactor import errors as keyfactor
from service.keyfactor.controllers import keyfactor_router
from service.keyfactor.paths import with_folded_paths
from service.language.sandbox import Sandbox
from service.limits.known import refreshing
from service.maestro import actions, events
from service.maestro import controllers as maestro
from service.maestro.errors import EXCEPTION_HANDLERS, misunderstood
from service.maestro.requests import JSONRequest, only_well_formed
from service.operations.idempotency import forgetting
from service.options import tell_every_method
from service.settings import settings
from service.stopping import ending_in_time, hearing
from service.telemetry.endpoints import healthz, metrics, readyz
from service.telemetry.running import telling
from service.transport import with_strict_transport
from service.webhooks.courier import LIMITS, Courier
from tenancy.postgres import cut, pool

LARGEST_BODY = 1_048_576


@contextlib.asynccontextmanager
async def working(sandbox: Sandbox) -> AsyncIterator[Courier]:
    """Run a worker as the settings say, and a courier for webhooks."""
    networks = settings().egress_networks
    async with Egress(networks) as egress, Egress(networks, limits=LIMITS) as outward:
        courier = Courier(outward)
        worker = Worker(sandbox, egress, lifetime=settings().instance_lifetime)
        async with worker.running():
            courier.start()
            try:
                with hearing(worker.end), hearing(courier.end):
                    yield courier
            finally:
                ending = asyncio.create_task(courier.stop())  # while the worker comes to its end as well
        await ending


def maestro_router() -> Router:
    """Put Maestro's routes together with its way of refusing."""
    return Router(
        path="/",
        route_handlers=[
            *maestro.CONTROLLERS,
            events.EventController,
            actions.InstanceActionController,
            actions.BulkController,
        ],
        before_request=only_well_formed,
        request_class=JSONRequest,
        exception_handlers=EXCEPTION_HANDLERS,
    )


def unrouted(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer an unknown route or method, which belongs to no router, in the words of where it was looked for."""
    path = request.scope["path"]
    if path.startswith(("/oauth/", "/api/auth/", "/.well-known/")):
        return oauth.misunderstood(request, error)
    if formance.is_formance(path):
        return formance.misunderstood(request, error)
    return (
        keyfactor.misunderstood(request, error)
        if keyfactor.is_keyfactor(path)
        else misunderstood(request, error)
    )


def create_litestar(*, worker: bool) -> Litestar:
    """Make the application's inside; `worker` says whether this process also runs instances."""

    @contextlib.asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        async with (
            pool(settings().pool_size, settings().pool_wait_seconds, settings().transaction_seconds),
            Sandbox(settings().sandbox_processes) as sandbox,
        ):
            app.state["sandbox"] = sandbox
            app.state["followers"] = followers = Followers()
            async with (
                ending_in_time(cut),
                telling(sandbox),
                telling_others(),
                refreshing(),
                beside(forgetting()),
                working(sandbox) if worker else contextlib.nullcontext() as app.state["courier"],
                beside(sweeping()),
                followers.running(),
            ):
                yield

    app = Litestar(
        [
            *(
                healthz,
                readyz,
                metrics,
                oauth.oauth_router(),
                pages_router(),
                console_router(),
                maestro_router(),
            ),
            *formance_routers(),
            keyfactor_router(),
        ],
        lifespan=[running],
        openapi_config=None,
        state=State({"issuer": settings().issuer}),
        exception_handlers={**EXCEPTION_HANDLERS, HTTPException: unrouted},
        request_max_body_size=LARGEST_BODY,
        logging_config=None,
    )
    tell_every_method(app)
    return app


def create_app(inside: Litestar | None = None) -> ASGIApp:
    """Make the ASGI application that `tutti serve` runs."""
    whole = with_exchange(with_folded_paths(inside or create_litestar(worker=True)))
    return with_strict_transport(whole, secure=settings().issuer.secure)


def create_app_without_worker() -> ASGIApp:
    """Make the application for `tutti serve --no-worker`."""
    return create_app(create_litestar(worker=False))
