"""All routes of the dialect in one router, and its two that are about no workflow: what there is, and who may decide."""

from typing import Annotated

import msgspec
from litestar import Controller, Response, Router, get
from msgspec import Meta

from auth.roles import Right
from service.claims import Request_, credential
from service.keyfactor.definitions import DefinitionsController
from service.keyfactor.errors import EXCEPTION_HANDLERS, PREFIX
from service.keyfactor.instances import InstanceController, InstancesController
from service.keyfactor.requests import listed, only_known_clients
from service.keyfactor.roles import ROLES


class Role(msgspec.Struct, rename="pascal"):
    """A role of the account's members; steps of a workflow name by its number who may answer."""

    id: Annotated[int, Meta(description="what RoleIds of a step hold")]
    name: str
    description: str


class StatusController(Controller):
    """What there is."""

    path = "/Status"
    tags = ["Status"]

    @get("/Endpoints", operation_id="StatusGetEndpoints")
    async def endpoints(self, request: Request_) -> list[str]:
        """List the paths of the API; the vendor's SDKs call this when they are made."""
        async with credential(request).rows(Right.READ):
            return sorted(
                {route.path_format for route in request.app.routes if route.path.startswith(PREFIX)}
            )


class SecurityController(Controller):
    """Who may decide."""

    path = "/Security"
    tags = ["Security"]

    @get("/Roles", operation_id="SecurityGetSecurityRoles")
    async def roles(self, request: Request_) -> Response[list[Role]]:
        """List the roles that a step's signals can name."""
        async with credential(request).rows(Right.READ):
            roles = [Role(number, *told) for number, told in ROLES.items()]
            return listed(roles, len(roles))


CONTROLLERS: list[type[Controller]] = [
    StatusController,
    SecurityController,
    InstancesController,
    InstanceController,
    DefinitionsController,
]


def keyfactor_router() -> Router:
    """Put the dialect's routes together with its way of letting in and refusing."""
    return Router(
        path=PREFIX,
        route_handlers=CONTROLLERS,
        before_request=only_known_clients,
        exception_handlers=EXCEPTION_HANDLERS,
        opt={"dialect": "keyfactor"},
    )
