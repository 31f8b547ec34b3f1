"""Registering, listing, changing and deleting clients, issuing tokens, hashing passwords: what is kept, what is refused."""

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

from auth.bearer import hash_of
from auth.clients import (
    LONGEST_LIFE,
    add_key,
    add_redirect_uri,
    create_client,
    delete_client,
    issue_token,
    list_clients,
    remove_key,
    remove_redirect_uri,
    rotate_secret,
)
from auth.passwords import LONGEST, hash_password
from auth.registration import MOST_KEYS, Registration, check_key, fingerprint, origins_of
from auth.scopes import ABOUT_PEOPLE, MAESTRO, SCOPES
from tenancy.accounts import suspend_user
from tenancy.errors import BadRequest, Conflict, NotFound
from tenancy.rows import rows_of
from tests.world import World

LARGE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    """Write the public half of a key."""
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


PRIVATE = LARGE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


BACK = "https://app.example/callback"


def app(account_id: UUID, **changes: Any) -> Registration:
    """Describe a client that can be registered."""
    fields: dict[str, Any] = {"kind": "confidential", "name": "App", "redirect_uris": [BACK]}
    return Registration(account_id=account_id, **fields | changes)


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
    uris = [] if kind == "machine" else [BACK]
    client_id, secret = await create_client(app(world.acme.id, kind=kind, name=" App ", redirect_uris=uris))
    row = await stored(world, client_id)
    assert row["name"] == "App"
    assert (secret is not None) is keeps_secrets
    assert row["secret_hash"] == (hash_of(secret) if secret else None)
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
    client_id, _ = await create_client(app(world.acme.id, kind="public", redirect_uris=[uri]))
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
        *[{"kind": kind, "redirect_uris": []} for kind in ("confidential", "public")],
        {"kind": "public", "public_keys": [pem(LARGE)]},
        *[{"kind": "machine", "redirect_uris": [], "scopes": ["signature", scope]} for scope in ABOUT_PEOPLE],
        {"kind": "machine"},
        {"public_keys": [pem(LARGE)] * (MOST_KEYS + 1)},
        *[
            {"public_keys": [pem(LARGE), key]}
            for key in ("", "-----BEGIN PUBLIC KEY-----", pem(SMALL), pem(CURVE), PRIVATE, "\ud800")
        ],
    ],
    ids=lambda change: ascii(change)[:60],
)
async def test_create_client_refuses_what_no_client_can_be(change: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        await create_client(app(uuid4(), **change))


async def test_create_client_takes_one_that_signs_assertions_and_sends_nobody_anywhere(world: World) -> None:
    keys = [pem(LARGE)] * MOST_KEYS
    client_id, _ = await create_client(app(world.acme.id, redirect_uris=[], public_keys=keys))
    assert (await stored(world, client_id))["public_keys"] == keys


@pytest.mark.parametrize(
    ("redirect_uris", "origins"),
    [
        ([BACK, "https://app.example/other"], ["https://app.example"]),
        (["https://APP.example:443/"], ["https://app.example"]),
        (["https://app.example:8443/back?a=1"], ["https://app.example:8443"]),
        (["http://localhost:80/", "http://127.0.0.1:3000/"], ["http://localhost", "http://127.0.0.1:3000"]),
        (["http://[::1]:9/back"], ["http://[::1]:9"]),
        (["com.example.app:/callback", "com.example.app://callback"], []),
    ],
)
async def test_create_client_keeps_the_origins_of_its_pages_as_browsers_write_them(
    world: World, redirect_uris: list[str], origins: list[str]
) -> None:
    assert origins_of(redirect_uris) == origins
    client_id, _ = await create_client(app(world.acme.id, kind="public", redirect_uris=redirect_uris))
    assert (await stored(world, client_id))["origins"] == origins


async def test_create_client_with_an_id_that_is_taken_is_refused(world: World) -> None:
    chosen = uuid4()
    assert (await create_client(app(world.acme.id), chosen))[0] == chosen
    for account_id in (world.acme.id, world.globex.id):
        with pytest.raises(Conflict, match="exists already"):
            await create_client(app(account_id), chosen)


async def test_create_client_with_a_users_id_is_refused(world: World) -> None:
    for user_id in (world.acme.admin_id, world.globex.member_id):
        with pytest.raises(Conflict, match="user's id"):
            await create_client(app(world.acme.id), user_id)


async def test_list_clients_shows_an_accounts_own_and_nothing_secret(world: World) -> None:
    client_id, secret = await create_client(app(world.acme.id, public_keys=[pem(LARGE)], scopes=MAESTRO))
    robot, listed = await list_clients(world.acme.id)
    assert (robot.name, robot.kind, robot.public_keys) == ("robot", "machine", 0)
    assert (listed.client_id, listed.redirect_uris, listed.scopes) == (client_id, [BACK], list(MAESTRO))
    assert (listed.public_keys, listed.status) == (1, "active")
    assert listed.fingerprints == [fingerprint(pem(LARGE))]
    row = await stored(world, client_id)
    assert secret is not None
    for kept_back in (secret, str(row["secret_hash"]), "PUBLIC KEY"):
        assert kept_back not in str(listed)
    assert [one.name for one in await list_clients(world.globex.id)] == ["robot"]
    with pytest.raises(NotFound, match="no account"):
        await list_clients(uuid4())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PRIVATE, "my key.pem is a private key; its public half: openssl rsa -in 'my key.pem' -pubout"),
        (pem(SMALL), "my key.pem has 1024 bits; it needs at least 2048."),
        (pem(CURVE), "my key.pem is not an RSA key, which RS256 needs."),
        ("", "my key.pem is not the PEM of an RSA public key."),
    ],
)
def test_check_key_says_which_file_is_wrong_and_how(text: str, told: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_key(text, "my key.pem")
    assert refused.value.detail == told


def test_fingerprint_is_what_openssl_makes_of_a_key() -> None:
    key = LARGE.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
    der = LARGE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert fingerprint(key) == fingerprint(pem(LARGE)) == hashlib.sha256(der).hexdigest()


async def test_keys_of_a_client_come_and_go_by_fingerprint_or_position(world: World) -> None:
    client_id, _ = await create_client(app(world.acme.id, redirect_uris=[], public_keys=[pem(LARGE)]))
    acme = world.acme.id
    await add_key(acme, client_id, pem(OTHER))
    assert (await stored(world, client_id))["public_keys"] == [pem(LARGE), pem(OTHER)]
    with pytest.raises(Conflict, match="already"):
        await add_key(acme, client_id, pem(OTHER))
    for which in ("0", "3", "", fingerprint(pem(LARGE))[:7], "f" * 64):
        with pytest.raises(NotFound, match="tutti client list"):
            await remove_key(acme, client_id, which)
    await remove_key(acme, client_id, fingerprint(pem(LARGE))[:8].upper())
    assert (await stored(world, client_id))["public_keys"] == [pem(OTHER)]
    with pytest.raises(BadRequest, match="needs a redirect URI"):
        await remove_key(acme, client_id, "1")
    await add_redirect_uri(acme, client_id, BACK)
    await remove_key(acme, client_id, "1")
    assert (await stored(world, client_id))["public_keys"] == []


async def test_a_key_that_create_client_would_refuse_is_refused_later_too(world: World) -> None:
    full, _ = await create_client(app(world.acme.id, public_keys=[pem(LARGE)] * MOST_KEYS))
    public, _ = await create_client(app(world.acme.id, kind="public"))
    for client_id, text, told in (
        (full, pem(OTHER), "at most"),
        (full, pem(SMALL), "1024 bits"),
        (public, pem(OTHER), "can keep no secret"),
    ):
        with pytest.raises(BadRequest, match=told):
            await add_key(world.acme.id, client_id, text)
    with pytest.raises(NotFound, match="tutti client list"):
        await add_key(world.globex.id, full, pem(OTHER))


async def test_redirect_uris_of_a_client_come_and_go_with_their_origins(world: World) -> None:
    client_id, _ = await create_client(app(world.acme.id, kind="public"))
    acme, local = world.acme.id, "http://localhost:3000/back"
    await add_redirect_uri(acme, client_id, local)
    row = await stored(world, client_id)
    assert row["redirect_uris"] == [BACK, local]
    assert row["origins"] == ["https://app.example", "http://localhost:3000"]
    with pytest.raises(Conflict, match="already"):
        await add_redirect_uri(acme, client_id, local)
    with pytest.raises(BadRequest, match="neither https"):
        await add_redirect_uri(acme, client_id, "http://app.example/")
    await remove_redirect_uri(acme, client_id, BACK)
    row = await stored(world, client_id)
    assert (row["redirect_uris"], row["origins"]) == ([local], ["http://localhost:3000"])
    with pytest.raises(NotFound, match="tutti client list"):
        await remove_redirect_uri(acme, client_id, BACK)
    with pytest.raises(BadRequest, match="needs a redirect URI"):
        await remove_redirect_uri(acme, client_id, local)
    robot, *_ = await list_clients(acme)
    with pytest.raises(BadRequest, match="acts for itself"):
        await add_redirect_uri(acme, robot.client_id, BACK)


async def test_issue_token_for_somebody_suspended_is_refused(world: World) -> None:
    await suspend_user(str(world.acme.member_id))
    with pytest.raises(Conflict, match=f"tutti user resume {world.acme.member_id}"):
        await issue_token(world.acme.id, ("user", world.acme.member_id), MAESTRO, 60)


async def test_rotate_secret_replaces_the_secret(world: World) -> None:
    client_id, old = await create_client(app(world.acme.id))
    new = await rotate_secret(world.acme.id, client_id)
    assert new != old
    assert (await stored(world, client_id))["secret_hash"] == hash_of(new)


async def test_rotate_secret_of_what_has_none_is_refused(world: World) -> None:
    public, _ = await create_client(app(world.acme.id, kind="public"))
    with pytest.raises(BadRequest, match="no secret"):
        await rotate_secret(world.acme.id, public)
    client_id, _ = await create_client(app(world.acme.id))
    for account_id, wanted in ((world.globex.id, client_id), (world.acme.id, uuid4()), (uuid4(), client_id)):
        with pytest.raises(NotFound, match="tutti client list"):
            await rotate_secret(account_id, wanted)


async def test_delete_client_ends_its_grants_and_tokens(world: World, owner: asyncpg.Connection) -> None:
    robot, *_ = await list_clients(world.acme.id)
    left = (
        "SELECT count(*) FROM access_token JOIN oauth_grant ON oauth_grant.id = grant_id WHERE client_id = $1"
    )
    assert await owner.fetchval(left, robot.client_id) == 1
    for account_id in (world.globex.id, uuid4()):
        with pytest.raises(NotFound, match="tutti client list"):
            await delete_client(account_id, robot.client_id)
    assert await owner.fetchval(left, robot.client_id) == 1
    await delete_client(world.acme.id, robot.client_id)
    assert await list_clients(world.acme.id) == []
    assert await owner.fetchval(left, robot.client_id) == 0
    assert not await owner.fetchval(
        "SELECT EXISTS (SELECT FROM access_token WHERE token_hash = $1)", hash_of(world.acme.machine)
    )
    with pytest.raises(NotFound):
        await delete_client(world.acme.id, robot.client_id)


async def test_create_client_of_no_account_is_refused(world: World) -> None:
    with pytest.raises(NotFound):
        await create_client(app(uuid4()))


@pytest.mark.parametrize("life", [0, -1, LONGEST_LIFE + 1, 10**30])
async def test_issue_token_refuses_an_odd_lifetime(life: int) -> None:
    with pytest.raises(BadRequest):
        await issue_token(uuid4(), ("user", uuid4()), MAESTRO, life)


async def test_issue_token_refuses_who_does_not_belong_to_the_account(world: World) -> None:
    public, _ = await create_client(app(world.acme.id, kind="public"))
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
