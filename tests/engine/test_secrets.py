"""Secrets: what is stored tells nothing, belongs to one account and name, and follows the operator's keys."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import UUID

import asyncpg
import pytest

from auth.bearer import Operator
from service.engine.vault import SecretsUnreadableError, keys, opened, sealed, secrets_of
from service.operations import secrets
from service.settings import read, settings
from tenancy.errors import BadRequest, Conflict, NotFound, SetupRefused, TooLarge
from tenancy.rows import rows_of
from tests.tenancy.catalogue import OWNED
from tests.world import World

NOBODY, SOMEBODY = (UUID(f"00000000-0000-4000-8000-00000000000{number}") for number in range(2))
VALUE = "a-value-that-nobody-may-read"
LOGIN = {"username": "ada", "password": VALUE}


def key(number: int) -> str:
    """A key as `tutti secret key` prints it; the same one for the same number."""
    return base64.urlsafe_b64encode(hashlib.sha256(bytes([number])).digest()).decode()


ONE, TWO = key(1), key(2)


class Keys:
    """The operator's keys, as a process that starts anew would find them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def are(self, *listed: str) -> None:
        """Set them; without any the variable is not there."""
        if listed:
            self._monkeypatch.setenv("TUTTI_SECRET_KEYS", ",".join(listed))
        else:
            self._monkeypatch.delenv("TUTTI_SECRET_KEYS", raising=False)
        settings.cache_clear()


@pytest.fixture
def operator_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    """One key, which a test may change."""
    found = Keys(monkeypatch)
    found.are(ONE)
    yield found
    monkeypatch.undo()
    settings.cache_clear()


pytestmark = pytest.mark.usefixtures("operator_keys")


async def test_a_call_gets_the_secrets_that_it_names_and_that_exist(world: World) -> None:
    acme = Operator(world.acme.id)
    assert await secrets.set_secret(acme, "token", VALUE) is False
    await secrets.set_secret(acme, "login", LOGIN)
    await secrets.set_secret(acme, "other", "never asked for")
    assert await secrets_of(world.acme.id, ["token", "login", "missing"]) == {"token": VALUE, "login": LOGIN}
    assert await secrets_of(world.acme.id, []) == {}
    assert await secrets_of(world.globex.id, ["token", "login"]) == {}


async def test_a_secret_that_is_set_again_is_replaced(world: World) -> None:
    acme = Operator(world.acme.id)
    await secrets.set_secret(acme, "token", "old")
    (first,) = await secrets.list_secrets(acme)
    assert await secrets.set_secret(acme, "token", "new") is True
    (second,) = await secrets.list_secrets(acme)
    assert await secrets_of(world.acme.id, ["token"]) == {"token": "new"}
    assert second.created_at == first.created_at
    assert second.modified_at > first.modified_at


async def test_a_deleted_secret_is_gone_and_can_be_deleted_once(world: World) -> None:
    acme = Operator(world.acme.id)
    await secrets.set_secret(acme, "token", VALUE)
    with pytest.raises(NotFound, match="no secret token"):
        await secrets.delete_secret(Operator(world.globex.id), "token")
    await secrets.delete_secret(acme, "token")
    assert await secrets_of(world.acme.id, ["token"]) == {}
    assert await secrets.list_secrets(acme) == []
    with pytest.raises(NotFound, match="no secret token"):
        await secrets.delete_secret(acme, "token")


async def test_each_change_is_told_without_the_value(world: World) -> None:
    acme = Operator(world.acme.id)
    for value in (VALUE, "another value"):
        await secrets.set_secret(acme, "token", value)
    await secrets.delete_secret(acme, "token")
    async with rows_of(world.acme.id) as connection:
        told = await connection.fetch(
            "SELECT type, actor, workflow_id, data FROM event WHERE type LIKE 'secret.%' ORDER BY id"
        )
    assert [(row["type"], row["actor"].int, row["workflow_id"]) for row in told] == [
        ("secret.set", 0, None),
        ("secret.set", 0, None),
        ("secret.deleted", 0, None),
    ]
    assert [value for value in (VALUE, "another value") if value in str(told)] == []


def disguises(text: str) -> list[bytes]:
    """The ways in which a value could stand in a row without being seen at once."""
    raw = text.encode()
    # Base64 without what depends on the bytes before and behind.
    shifted = [base64.b64encode(b"x" * shift + raw)[4:-4] for shift in range(3)]
    return [raw, raw[::-1], raw.hex().encode(), quote(text).encode(), *shifted]


async def rows_of_everything(owner: asyncpg.Connection, account_id: UUID) -> bytes:
    """Every row of an account in every table, as text and, for its bytes, as they are."""
    found = b""
    async with rows_of(account_id) as connection:
        for table in await owner.fetch(OWNED):
            for row in await connection.fetch(f"SELECT * FROM {table['name']}"):
                for value in row.values():
                    found += value if isinstance(value, bytes) else str(value).encode()
                    found += b"\n"
    return found


async def test_nothing_that_is_stored_tells_the_value(world: World, owner: asyncpg.Connection) -> None:
    await secrets.set_secret(Operator(world.acme.id), "token", VALUE)
    await secrets.set_secret(Operator(world.acme.id), "login", LOGIN)
    await secrets.rotate_secrets()
    dump = await rows_of_everything(owner, world.acme.id)
    assert b"token" in dump  # the names are there to be found
    assert [disguise for disguise in disguises(VALUE) if disguise in dump] == []
    assert base64.urlsafe_b64decode(ONE) not in dump


async def stored(account_id: UUID, name: str) -> bytes:
    """What the database has of a secret."""
    async with rows_of(account_id) as connection:
        found: bytes = await connection.fetchval("SELECT ciphertext FROM secret WHERE name = $1", name)
    return found


async def test_the_same_value_never_looks_the_same(world: World) -> None:
    seen = set()
    for name in ("one", "two", "one"):
        await secrets.set_secret(Operator(world.acme.id), name, VALUE)
        seen.add((await stored(world.acme.id, name))[-len(VALUE) :])
    assert len(seen) == 3


def test_a_row_is_of_use_to_its_account_and_name_alone(operator_keys: Keys) -> None:
    row = sealed(NOBODY, "token", VALUE)
    operator_keys.are(TWO, ONE)
    assert opened(NOBODY, "token", row) == VALUE
    for account_id, name in ((SOMEBODY, "token"), (NOBODY, "shown"), (NOBODY, "toke")):
        with pytest.raises(
            SecretsUnreadableError, match=f"{name} is not what was stored for this account and name"
        ):
            opened(account_id, name, row)


@pytest.mark.parametrize("place", [0, 3, 12, 25, -1], ids=["version", "key", "nonce", "value", "tag"])
def test_a_changed_byte_is_noticed_wherever_it_is(place: int) -> None:
    row = bytearray(sealed(NOBODY, "token", VALUE))
    row[place] ^= 1
    with pytest.raises(SecretsUnreadableError, match=r"^The secret token "):
        opened(NOBODY, "token", bytes(row))


@pytest.mark.parametrize("length", [0, 9, 20, 21, 36])
def test_a_row_that_was_cut_off_is_noticed(length: int) -> None:
    with pytest.raises(SecretsUnreadableError, match=r"^The secret token "):
        opened(NOBODY, "token", sealed(NOBODY, "token", VALUE)[:length])


async def test_a_new_key_encrypts_and_the_old_one_still_decrypts(world: World, operator_keys: Keys) -> None:
    acme = Operator(world.acme.id)
    await secrets.set_secret(acme, "old", VALUE)
    operator_keys.are(TWO, ONE)
    await secrets.set_secret(acme, "new", LOGIN)
    assert await secrets_of(world.acme.id, ["old", "new"]) == {"old": VALUE, "new": LOGIN}
    operator_keys.are(TWO)
    assert await secrets_of(world.acme.id, ["new"]) == {"new": LOGIN}
    with pytest.raises(
        SecretsUnreadableError, match="old was encrypted by a key that TUTTI_SECRET_KEYS does not"
    ):
        await secrets_of(world.acme.id, ["old"])


async def test_a_rotation_frees_every_account_of_the_old_key(world: World, operator_keys: Keys) -> None:
    for tenant in (world.acme, world.globex):
        await secrets.set_secret(Operator(tenant.id), "token", str(tenant.id))
        await secrets.set_secret(Operator(tenant.id), "login", LOGIN)
    listed = await secrets.list_secrets(Operator(world.acme.id))
    operator_keys.are(TWO, ONE)
    assert await secrets.rotate_secrets() == secrets.Rotated(encrypted=4, unreadable=[])
    assert await secrets.rotate_secrets() == secrets.Rotated(encrypted=0, unreadable=[])
    operator_keys.are(TWO)
    for tenant in (world.acme, world.globex):
        found = await secrets_of(tenant.id, ["token", "login"])
        assert found == {"token": str(tenant.id), "login": LOGIN}
    assert await secrets.list_secrets(Operator(world.acme.id)) == listed


async def test_a_rotation_names_what_it_cannot_read_and_does_the_rest(
    world: World, operator_keys: Keys
) -> None:
    acme = Operator(world.acme.id)
    await secrets.set_secret(acme, "lost", VALUE)
    operator_keys.are(TWO)
    await secrets.set_secret(acme, "kept", VALUE)
    operator_keys.are(key(3), TWO)
    assert await secrets.rotate_secrets() == secrets.Rotated(1, [f"{world.acme.id} lost"])
    operator_keys.are(ONE)
    assert await secrets_of(world.acme.id, ["lost"]) == {"lost": VALUE}


async def test_without_keys_nothing_is_set_or_read_and_the_message_says_how_to_make_one(
    world: World, operator_keys: Keys
) -> None:
    acme = Operator(world.acme.id)
    await secrets.set_secret(acme, "token", VALUE)
    operator_keys.are()
    for refused in (
        secrets.set_secret(acme, "token", VALUE),
        secrets.require_settable(acme, "token"),
        secrets.rotate_secrets(),
        secrets_of(world.acme.id, ["token"]),
    ):
        with pytest.raises(SetupRefused, match=r"TUTTI_SECRET_KEYS is not set.*tutti secret key"):
            await refused
    assert await secrets_of(world.acme.id, ["missing"]) == {}  # what is not there needs no key
    assert len(await secrets.list_secrets(acme)) == 1
    await secrets.delete_secret(acme, "token")


async def test_a_name_is_one_that_a_definition_can_say(world: World) -> None:
    names = ["A1", "_", "a", "crm-token", "crm_token", "x" * 128]
    for name in names:
        await secrets.set_secret(Operator(world.acme.id), name, VALUE)
    assert await secrets_of(world.acme.id, names) == dict.fromkeys(names, VALUE)
    assert [one.name for one in await secrets.list_secrets(Operator(world.acme.id))] == names


@pytest.mark.parametrize("name", ["", "1a", "-a", "a.b", "a b", "a\n", "\u00e9", "a\0", "x" * 129])
async def test_any_other_name_is_refused(name: str) -> None:
    for refused in (
        secrets.set_secret(Operator(NOBODY), name, VALUE),
        secrets.require_settable(Operator(NOBODY), name),
    ):
        with pytest.raises(BadRequest, match="A secret's name has 1 to 128 letters"):
            await refused


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        ("", BadRequest),
        ({}, BadRequest),
        ("nul \0", BadRequest),
        ({"nul": "\0"}, BadRequest),
        ("\u00e9" * 32769, TooLarge),
        ({"password": "x" * 65536}, TooLarge),
    ],
    ids=["empty", "no-members", "nul", "nul-inside", "long", "long-object"],
)
async def test_a_value_that_cannot_be_kept_is_refused(
    value: str | dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        await secrets.set_secret(Operator(NOBODY), "token", value)


async def test_any_other_value_comes_back_as_it_was(world: World) -> None:
    for value in ("x" * 65536, "line\nline\r\n", " \t\x7f\u2028", {"a": {"b": [1, None, 0.5]}}):
        await secrets.set_secret(Operator(world.acme.id), "token", value)
        assert await secrets_of(world.acme.id, ["token"]) == {"token": value}


@pytest.mark.parametrize(
    "text", ["", "x", '"a-password"', "[1]", '{"a-password": 1, "a-password": 2}', '{"a": 1e999}', "{" * 999]
)
def test_what_is_no_object_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        secrets.object_in(text)
    assert "password" not in str(refused.value)
    assert "e999" not in str(refused.value)


async def test_an_account_has_at_most_100_secrets(world: World) -> None:
    acme = Operator(world.acme.id)
    for number in range(secrets.MOST):
        await secrets.set_secret(acme, f"secret-{number}", VALUE)
    with pytest.raises(Conflict, match="at most 100 secrets"):
        await secrets.set_secret(acme, "one-more", VALUE)
    assert await secrets.set_secret(acme, "secret-7", "new") is True
    await secrets.set_secret(Operator(world.globex.id), "one-more", VALUE)


async def test_an_account_that_is_not_there_has_no_secrets(world: World) -> None:
    nobody = Operator(NOBODY)
    for refused in (
        secrets.set_secret(nobody, "token", VALUE),
        secrets.require_settable(nobody, "token"),
        secrets.list_secrets(nobody),
        secrets.delete_secret(nobody, "token"),
    ):
        with pytest.raises(NotFound, match=f"no account {NOBODY}"):
            await refused


def test_keys_do_not_show_themselves() -> None:
    assert ONE not in repr(keys())
    assert repr(base64.urlsafe_b64decode(ONE)) not in repr(keys())
    assert ONE not in repr(settings())


@pytest.mark.parametrize(
    "listed",
    [
        "x",
        ONE[:-2],
        ONE + "A",
        f"{ONE},",
        f",{ONE}",
        f"{ONE};{TWO}",
        "\u00e9" * 43,
        base64.b64encode(bytes(31)).decode(),
    ],
)
def test_what_is_no_key_is_refused_by_its_place_and_not_shown(listed: str) -> None:
    with pytest.raises(
        SetupRefused, match=r"^TUTTI_SECRET_KEYS: number [12] is not a key\. .*tutti secret key$"
    ) as no:
        read({"TUTTI_SECRET_KEYS": listed})
    assert listed not in str(no.value)
    assert ONE not in str(no.value)
