"""The Authorization header in every shape that a client, or somebody who is none, may give it."""

import httpx
import pytest
from litestar import Litestar

from tests.copying import emptied
from tests.world import World


@pytest.fixture(scope="module")
async def settled(litestar: Litestar) -> World:
    """Two accounts, made once: these tests change nothing."""
    await emptied()
    return await World.made(litestar.state["sandbox"])


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Basic YTpi", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer\t{token}", 401),
        ("{token}", 401),
        ("Token {token}", 401),
        ("Bearer {token}", 200),
        ("bearer {token}", 200),
        ("BEARER  {token}", 200),
        ("Bearer {token} more", 401),
        ('Bearer "{token}"', 401),
        ("Bearer {token},", 401),
        ("Bearer {token}x", 401),
        ("Bearer bücher", 401),
        ("Bearer \xff\xfe", 401),
        ("Bearer " + "x" * 10_240, 401),
        ("Bearer" + " " * 10_240 + "{token}", 200),
        ("Bearer " + "é" * 1024, 401),
    ],
)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
async def test_an_odd_authorization_header_is_read_or_refused(
    client: httpx.AsyncClient, settled: World, header: str | None, status: int, encoding: str
) -> None:
    headers = (
        []
        if header is None
        else [(b"Authorization", header.replace("{token}", settled.acme.admin).encode(encoding))]
    )
    answer = await client.get(f"{settled.acme.url}/workflows", headers=headers)
    assert answer.status_code == status
    if status == 401:
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('Bearer realm="tutti"')
        assert ("error=" in challenge) is (header is not None)


async def test_two_authorization_headers_never_add_up(client: httpx.AsyncClient, settled: World) -> None:
    headers = [
        (b"Authorization", b"Bearer nonsense"),
        (b"Authorization", f"Bearer {settled.acme.admin}".encode()),
    ]
    answer = await client.get(f"{settled.globex.url}/workflows", headers=headers)
    assert answer.status_code in (401, 404)
