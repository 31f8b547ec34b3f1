"""Each role may do what the README's table says, told from the route table: a new route is covered, or fails here."""

import re
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from auth.clients import create_client, issue_token
from auth.registration import Registration
from auth.roles import HOLDERS, Right
from auth.scopes import ADMINISTRATION, MAESTRO
from tenancy.tables import ROLES as MEMBERS
from tests.maestro.conftest import Scene
from tests.maestro.people import colleague
from tests.maestro.routes import ROUTES, Route
from tests.maestro.test_refusals import own_url, send
from tests.world import LIFE, bearer

README = Path(__file__).parents[2] / "README.md"
LACKING = "This needs the role"
START = {"TriggerWorkflow"}
DECIDE = {"claimWorkItem", "completeWorkItem", "reassignWorkItem", "releaseWorkItem"}
OPERATE = {
    *("createWorkflow", "createWorkflowFromYaml", "replaceWorkflow", "replaceWorkflowFromYaml"),
    *("publishWorkflow", "archiveWorkflow", "pauseNewWorkflowInstances", "resumePausedWorkflow"),
    *(
        "cancelWorkflowInstance",
        "suspendWorkflowInstance",
        "resumeWorkflowInstance",
        "restartWorkflowInstance",
    ),
    *("deleteWorkflowInstance", "signalWorkflowInstance", "publishEvent"),
    *("cancelWorkflowInstances", "restartWorkflowInstances"),
    *("getBulkActions", "getBulkAction", "cancelBulkAction"),
}
TAGS: dict[str, Right] = {
    "Audit": Right.OVERSEE,
    "Webhooks": Right.OVERSEE,
    "Account": Right.ADMINISTER,
    "Members": Right.ADMINISTER,
    "Integrations": Right.ADMINISTER,
}


def right_of(route: Route) -> Right:
    """Say which right a route needs; what changes something has to be named here."""
    if route.tag in TAGS:
        return TAGS[route.tag]
    for right, names in ((Right.START, START), (Right.DECIDE, DECIDE), (Right.OPERATE, OPERATE)):
        if route.name in names:
            return right
    assert route.method == "GET", f"{route.name} changes something: which role does it take?"
    return Right.READ


EACH_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)


@pytest.fixture(scope="module")
async def tokens(scene: Scene) -> dict[str, str]:
    """Issue the tokens of a member of each role and of a machine client, with every scope."""
    found = {role: (await colleague(scene.world.acme, f"some-{role}", role))[1] for role in MEMBERS}
    scopes = (*MAESTRO, ADMINISTRATION)
    wanted = Registration(account_id=scene.world.acme.id, kind="machine", name="some machine", scopes=scopes)
    machine_id, _ = await create_client(wanted)
    found["machine"] = await issue_token(scene.world.acme.id, ("client", machine_id), scopes, LIFE)
    scene.stored = await scene.rows()
    return found


@EACH_ROUTE
async def test_a_route_refuses_the_roles_that_lack_its_right(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, str], route: Route
) -> None:
    for role in tokens.keys() - set(HOLDERS[right_of(route)]):
        response = await send(client, route, own_url(scene, route), headers=bearer(tokens[role]))
        assert (role, response.status_code) == (role, 403)
        assert response.json()["detail"].startswith(LACKING)
    assert await scene.rows() == scene.stored


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if len(route.ids) > 1 and not route.lasting], ids=lambda one: one.name
)
async def test_a_route_takes_the_roles_that_have_its_right(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, str], route: Route
) -> None:
    missing = {name: str(uuid4()) for name in route.ids} | {"accountId": str(scene.world.acme.id)}
    for role in HOLDERS[right_of(route)]:
        response = await send(client, route, route.url(missing), headers=bearer(tokens[role]))
        assert (role, response.status_code) == (role, 404)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if right_of(route) is Right.ADMINISTER], ids=lambda one: one.name
)
async def test_the_account_is_managed_with_a_scope_of_its_own(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, str], route: Route
) -> None:
    admin = ("user", scene.world.acme.admin_id)
    usual = await issue_token(scene.world.acme.id, admin, MAESTRO, LIFE)
    scene.stored = await scene.rows()
    response = await send(client, route, own_url(scene, route), headers=bearer(usual))
    assert response.status_code == 403
    assert ADMINISTRATION in response.json()["detail"]
    assert ADMINISTRATION in response.headers["www-authenticate"]
    assert await scene.rows() == scene.stored


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if "instanceId" in route.ids], ids=lambda one: one.name
)
async def test_a_sender_is_told_nothing_of_what_another_started(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, str], route: Route
) -> None:
    response = await send(client, route, own_url(scene, route), headers=bearer(tokens["sender"]))
    assert response.status_code == 403
    assert await scene.rows() == scene.stored


def test_the_readme_tells_the_roles_of_each_right() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|(.+)\|$", README.read_text(), flags=re.MULTILINE)
    told = {
        name: tuple(cell.strip() == "yes" for cell in cells.split("|"))
        for name, cells in rows
        if name in list(Right)
    }
    columns = (*MEMBERS, "machine")
    assert told == {right: tuple(role in HOLDERS[right] for role in columns) for right in Right}
