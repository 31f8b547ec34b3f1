"""Each role may do what the README's table says, told from the route table: a new route is covered, or fails here."""

import re
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import httpx
import pytest

from auth.bearer import Credential
from auth.clients import create_client, issue_token
from auth.registration import Registration
from auth.roles import HOLDERS, Right, needed_role
from auth.scopes import ADMINISTRATION, MAESTRO
from tenancy.errors import Forbidden
from tenancy.tables import ROLES as MEMBERS
from tests.documents import committed, operations_of
from tests.maestro.conftest import Scene
from tests.maestro.people import colleague
from tests.maestro.routes import ROUTES, Route
from tests.maestro.test_refusals import own_url, send
from tests.world import LIFE, bearer

README = Path(__file__).parents[2] / "README.md"
LACKING = "This needs the role"
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
async def test_an_operation_asks_for_the_roles_that_its_route_declares(
    client: httpx.AsyncClient,
    scene: Scene,
    tokens: dict[str, str],
    route: Route,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Right] = []

    def noted(self: Credential, right: Right) -> NoReturn:
        asked.append(right)
        raise Forbidden

    monkeypatch.setattr(Credential, "proof", noted)
    response = await send(client, route, own_url(scene, route), headers=bearer(tokens["admin"]))
    assert (response.status_code, len(asked)) == (403, 1)
    assert HOLDERS[asked[0]] == HOLDERS[route.right]


def test_what_changes_something_takes_more_than_reading() -> None:
    assert [route.name for route in ROUTES if route.method != "GET" and route.right is Right.READ] == []


@EACH_ROUTE
async def test_a_malformed_request_is_refused_for_the_role_first(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, str], route: Route
) -> None:
    for role in sorted(tokens.keys() - set(HOLDERS[route.right])):
        url = f"{own_url(scene, route)}?nonsense=1"
        response = await send(client, route, url, headers=bearer(tokens[role]))
        assert (role, response.status_code) == (role, 403)


async def test_who_is_refused_for_their_role_is_told_what_it_takes(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, str]
) -> None:
    for role, path, told in (
        ("machine", "settings", "admin in the account, which users alone have"),
        ("viewer", "webhooks", "admin in the account, or a machine client"),
        ("viewer", "bulk-actions", "admin or manager in the account, or a machine client"),
    ):
        answer = await client.get(f"{scene.world.acme.url}/{path}", headers=bearer(tokens[role]))
        assert answer.json()["detail"].startswith(f"{LACKING} {told};")


def test_the_document_tells_the_roles_of_each_operation() -> None:
    document = operations_of(committed("maestro.json"))
    for route in ROUTES:
        told = f"This needs {needed_role(route.right)}."
        everybody = route.right in (Right.READ, Right.DECIDE)
        assert (told in document[route.name]["description"]) is not everybody, route.name


@EACH_ROUTE
async def test_a_route_refuses_the_roles_that_lack_its_right(
    client: httpx.AsyncClient, scene: Scene, tokens: dict[str, str], route: Route
) -> None:
    for role in tokens.keys() - set(HOLDERS[route.right]):
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
    for role in HOLDERS[route.right]:
        response = await send(client, route, route.url(missing), headers=bearer(tokens[role]))
        assert (role, response.status_code) == (role, 404)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.right is Right.ADMINISTER], ids=lambda one: one.name
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
