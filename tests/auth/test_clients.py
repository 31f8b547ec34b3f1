"""Registering clients, issuing tokens and hashing passwords: what is kept, and what is refused."""

import hashlib
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from auth.clients import LONGEST_LIFE, Registration, create_client, issue_token
from auth.passwords import LONGEST, hash_password
from auth.scopes import MAESTRO, SCOPES
from tenancy.errors import BadRequest, NotFound
from tenancy.rows import rows_of
from tests.world import World

LARGE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
CURVE = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    """Write the public half of a key."""
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


PRIVATE = LARGE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


async def stored(world: World, client_id: UUID) -> asyncpg.Record:
    """Return a client's row."""
    async with rows_of(world.acme.id) as connection:
        row = await connection.fetchrow("SELECT * FROM client WHERE id = $1", client_id)
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("kind", "keeps_secrets"), [("confidential", True), ("machine", True), ("public", False)]
)
async def test_create_client_keeps_the_hash_of_its_secret_alone(
    world: World, kind: str, *, keeps_secrets: bool
) -> None:
    client_id, secret = await create_client(Registration(account_id=world.acme.id, kind=kind, name=" App "))
    row = await stored(world, client_id)
    assert row["name"] == "App"
    assert (secret is not None) is keeps_secrets
    assert row["secret_hash"] == (hashlib.sha256(secret.encode()).digest() if secret else None)
    assert secret is None or secret not in str(tuple(row))


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example/callback",
        "https://app.example:8443/callback?tenant=1",
        "http://localhost:3000/callback",
        "http://127.0.0.1/",
        "http://[::1]:9/back",
        "com.example.app:/callback",
        "com.example.app://callback",
    ],
)
async def test_create_client_takes_a_safe_redirect_uri(world: World, uri: str) -> None:
    wanted = Registration(account_id=world.acme.id, kind="public", name="App", redirect_uris=[uri])
    client_id, _ = await create_client(wanted)
    assert (await stored(world, client_id))["redirect_uris"] == [uri]


@pytest.mark.parametrize(
    "change",
    [
        *[{"kind": kind} for kind in ("", "Public", "robot")],
        *[{"name": name} for name in ("", "  ", "x" * 201, "a\0b", "\ud800", "a\nb")],
        *[{"scopes": scopes} for scopes in (["nonsense"], ["aow_manage", "Signature"], [""])],
        *[
            {"redirect_uris": ["https://fine.example/", uri]}
            for uri in (
                *(
                    "",
                    "/callback",
                    "app.example/callback",
                    "https://",
                    "https:///path",
                    "http://[::1",
                    "http://",
                ),
                *(
                    "http://app.example/callback",
                    "javascript:alert(1)",
                    "data:text/html,x",
                    "file:///etc/passwd",
                ),
                *(
                    "https://app.example/#part",
                    "https://app.example/#",
                    "https://*.example/",
                    "https://a b.example/",
                ),
                *(
                    "https://user@app.example/",
                    "https://app.example/\n",
                    "https://büch.er/",
                    "https://a.example\\b",
                ),
                *("urn:ietf:wg:oauth:2.0:oob", "com.example.app:", "https://a.example:99999/"),
            )
        ],
        *[
            {"public_keys": [pem(LARGE), key]}
            for key in ("", "-----BEGIN PUBLIC KEY-----", pem(SMALL), pem(CURVE), PRIVATE, "\ud800")
        ],
    ],
    ids=lambda change: ascii(change)[:60],
)
async def test_create_client_refuses_what_no_client_can_be(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"account_id": uuid4(), "kind": "confidential", "name": "App"} | change
    with pytest.raises(BadRequest):
        await create_client(Registration(**fields))


async def test_create_client_of_no_account_is_refused(world: World) -> None:
    with pytest.raises(NotFound):
        await create_client(Registration(account_id=uuid4(), kind="public", name="App"))


@pytest.mark.parametrize("life", [0, -1, LONGEST_LIFE + 1, 10**30])
async def test_issue_token_refuses_an_odd_lifetime(life: int) -> None:
    with pytest.raises(BadRequest):
        await issue_token(uuid4(), ("user", uuid4()), MAESTRO, life)


async def test_issue_token_refuses_who_does_not_belong_to_the_account(world: World) -> None:
    public, _ = await create_client(Registration(account_id=world.acme.id, kind="public", name="App"))
    for holder in (
        ("user", world.globex.admin_id),
        ("user", uuid4()),
        ("client", public),
        ("client", uuid4()),
    ):
        with pytest.raises(NotFound):
            await issue_token(world.acme.id, holder, MAESTRO, 60)
    with pytest.raises(NotFound):
        await issue_token(uuid4(), ("user", world.acme.admin_id), MAESTRO, 60)


async def test_issue_token_refuses_an_unknown_scope() -> None:
    with pytest.raises(BadRequest, match="nonsense"):
        await issue_token(uuid4(), ("user", uuid4()), ("aow_manage", "nonsense"), 60)


def test_every_scope_says_in_one_line_what_it_allows() -> None:
    assert set(MAESTRO) <= set(SCOPES)
    for scope, meaning in SCOPES.items():
        assert scope.isprintable()
        assert set(scope) & set(' "\\') == set()  # RFC 6749, 3.3
        assert meaning.endswith(".")
        assert "\n" not in meaning


def test_hash_password_makes_an_argon2id_hash_of_owasps_strength() -> None:
    hashed = hash_password("correct horse")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hashed != hash_password("correct horse")
    Argon2id.verify_phc_encoded(b"correct horse", hashed)
    with pytest.raises(InvalidKey):
        Argon2id.verify_phc_encoded(b"correct house", hashed)


def test_hash_password_takes_one_text_for_the_same_however_it_was_typed() -> None:
    composed, decomposed = "caf\u00e9 f\u00fcr alle", "cafe\u0301 fu\u0308r alle"
    Argon2id.verify_phc_encoded(composed.encode(), hash_password(decomposed))


@pytest.mark.parametrize("password", ["", "short", "x" * (LONGEST + 1), "é" * LONGEST, "\ud800" * 9])
def test_hash_password_refuses_what_is_too_short_too_long_or_no_text(password: str) -> None:
    with pytest.raises(BadRequest):
        hash_password(password)
