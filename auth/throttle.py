"""Limits on guessing: failures counted in the database, for all processes together, one round trip each.

| Failures of                              | in          | at most | then                                            |
|------------------------------------------|-------------|---------|-------------------------------------------------|
| a login: name and address                | 15 minutes  | 10      | refused until the window ends                   |
| a login: address                         | 15 minutes  | 100     | refused until the window ends                   |
| a login: known device, instead of both   | 15 minutes  | 10      | refused until the window ends                   |
| a login: name, from everywhere           | 15 minutes  | 20      | unknown devices wait, longer each time, 3 s at most |
| a login: address, in one process         | at once     | 10      | refused; a password takes 15 ms of a processor  |
| logins begun: address                    | 10 minutes  | 600     | refused until the window ends                   |
| a client's proof: client and address     | 1 minute    | 30      | further failures are refused                    |
| a client's proof: address                | 1 minute    | 300     | further failures are refused                    |
| an instance's, invitation's URL: address | 1 minute    | 60      | further failures are refused                    |

Nobody is locked out by a stranger elsewhere: what refuses is bound to an address or a device, and a device that the user
has logged in with before does not count with its address. A login that succeeds clears its first row, and no other: an
account of one's own buys no further guesses at others'. A client that proves itself is never refused, nor is a URL that is right.

An address is an IPv4 address or the /64 of an IPv6 address, which is what one customer gets. Names and addresses are
stored as hashes. Windows are the database's: aligned to its clock, the same for every process.
"""

import contextlib
import hashlib
from asyncio import sleep
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from litestar.connection import ASGIConnection

from auth.bearer import hash_of, new_secret
from auth.passwords import login_name
from tenancy.errors import Refusal, TooManyAttempts
from tenancy.rows import read, transaction

LOGIN_WINDOW = (
    900  # seconds: 40 guesses an hour at one name, and a person who forgot their password waits for coffee
)
MOST_OF_PAIR = 10  # more than a person mistypes, far less than guessing needs
MOST_OF_DEVICE = 10  # as for anybody: a device can be stolen
MOST_OF_ADDRESS = 100  # an office behind one address mistypes too; a list of leaked passwords is longer
UNSLOWED = 20  # failures of one name that people make by themselves; more come from many addresses
SLOWER = 0.1  # seconds for each failure beyond those
SLOWEST = 3.0  # seconds: less than a browser, or a person, gives up after
MOST_AT_ONCE = 10  # passwords of one address that are checked at the same time
CHECKING: Counter[str] = Counter()
BEGUN_WINDOW = 600  # seconds that a login which was begun waits for its person
MOST_BEGUN = 600  # of one address: an office in the morning; each is a row that a stranger can make
TOKEN_WINDOW = 60  # seconds: a client that was set up wrong is soon let go on
MOST_OF_CLIENT = 30  # a wrong secret in a loop that waits 2 s passes; guessing 256 bits does not get anywhere
MOST_OF_CLIENTS_ADDRESS = 300  # several clients of one address at their most
URL_WINDOW = 60  # seconds
MOST_OF_URLS = (
    60  # wrong ones of one address: old links of an office; guessing 256 bits does not get anywhere
)
MOST_DEVICES = 20  # of one user; the one not seen for longest goes first

START = "date_bin(make_interval(secs => $1), now(), 'epoch')"
COUNTED = """
throttle.key_hash, throttle.failures,
greatest(1, ceil(extract(epoch FROM throttle.window_start + make_interval(secs => $1) - now())))::int AS seconds_left
"""
KNOWN = """
SELECT FROM known_device JOIN app_user ON app_user.id = known_device.user_id
WHERE known_device.device_hash = $2 AND app_user.email = $3
"""
LOGIN_KEYS = f"SELECT unnest(CASE WHEN EXISTS ({KNOWN}) THEN $4::bytea[] ELSE $5::bytea[] END) AS key_hash"
LOGIN_FAILURES = f"""
SELECT {COUNTED} FROM throttle WHERE window_start = {START} AND key_hash IN ({LOGIN_KEYS})
"""
# What an address does beyond its limit is not told apart any more: made-up names would fill the table.
TOKEN_KEYS = f"""
SELECT unnest(CASE WHEN EXISTS (
    SELECT FROM throttle WHERE key_hash = $2 AND window_start = {START} AND failures > {MOST_OF_CLIENTS_ADDRESS}
) THEN ARRAY[$2::bytea] ELSE ARRAY[$2::bytea, $3::bytea] END) AS key_hash
"""
# In the keys' order, so that two that count the same ones wait for one another in one direction only.
COUNT = f"""
INSERT INTO throttle (id, key_hash, window_start, failures)
SELECT gen_random_uuid(), key_hash, {START}, 1 FROM (%s) AS failed ORDER BY key_hash
ON CONFLICT (key_hash, window_start) DO UPDATE SET failures = throttle.failures + 1 RETURNING {COUNTED}
"""
COUNT_LOGIN = COUNT % LOGIN_KEYS
COUNT_TOKEN = COUNT % TOKEN_KEYS
COUNT_ONE = COUNT % "SELECT $2::bytea AS key_hash"

# One login of a user at a time: their devices are counted.
LOCK = "SELECT FROM app_user WHERE id = $1 FOR NO KEY UPDATE"
SEEN = "UPDATE known_device SET seen_at = now() WHERE device_hash = $1 AND user_id = $2 RETURNING id"
CLEAR = "DELETE FROM throttle WHERE key_hash = $1"
REMEMBER = "INSERT INTO known_device (id, device_hash, user_id, seen_at) VALUES ($1, $2, $3, now())"
FORGET = f"""
DELETE FROM known_device
WHERE id IN (SELECT id FROM known_device WHERE user_id = $1 ORDER BY seen_at DESC, id OFFSET {MOST_DEVICES})
"""


class LoginAttempt(msgspec.Struct, frozen=True):
    """One attempt to log in, as it was typed: by which name, from which address, with which device cookie.

    `admit` it, check the password, then say that it `failed`, `succeeded` or `proved` somebody. Each may refuse. That the
    last may is what limits guesses that are sent all at once: of those beyond the limit nobody learns whether they were right.
    """

    email: str
    address: str
    device: str | None

    async def admit(self) -> None:
        """Let the attempt go on, after a moment if the name fails from everywhere.

        Raises:
            TooManyAttempts: too many failed before.
        """
        failures = await read(LOGIN_FAILURES, *self.arguments)
        self.refuse(failures, coming=1)
        for row in failures:
            if row["key_hash"] == self.name_key:
                await sleep(min(SLOWEST, SLOWER * max(0, row["failures"] - UNSLOWED)))

    async def failed(self) -> None:
        """Count a wrong name or password.

        Raises:
            TooManyAttempts: it was one of many at once, and more failed than may.
        """
        self.refuse(await read(COUNT_LOGIN, *self.arguments))

    async def succeeded(self, user_id: UUID) -> str:
        """Clear what was counted for this name from here, and remember the device; return what its cookie is to hold.

        Call it before a session is made, outside a transaction. A value belongs to one user: a browser that brings
        another user's gets one of its own.

        Raises:
            TooManyAttempts: it was one of many at once, and more failed than may.
        """
        async with transaction() as connection:
            self.refuse(await connection.fetch(LOGIN_FAILURES, *self.arguments), coming=1)
            await connection.execute(LOCK, user_id)
            if await connection.fetchval(SEEN, self.device_hash, user_id):
                await connection.execute(CLEAR, self.device_key)
                return self.device or ""
            await connection.execute(CLEAR, self.pair_key)
            device = new_secret()
            await connection.execute(REMEMBER, uuid4(), hash_of(device), user_id)
            await connection.execute(FORGET, user_id)
        return device

    async def proved(self) -> None:
        """Clear what was counted for this name from here, as `succeeded` does, where there is no device to remember.

        Raises:
            TooManyAttempts: it was one of many at once, and more failed than may.
        """
        async with transaction() as connection:
            self.refuse(await connection.fetch(LOGIN_FAILURES, *self.arguments), coming=1)
            await connection.execute(CLEAR, self.pair_key)

    def refuse(self, failures: Sequence[asyncpg.Record], coming: int = 0) -> None:
        """Refuse if more failed than may, `coming` failures included."""
        limits = {
            self.pair_key: MOST_OF_PAIR,
            self.address_key: MOST_OF_ADDRESS,
            self.device_key: MOST_OF_DEVICE,
        }
        refuse_beyond(limits, failures, coming)

    @property
    def arguments(self) -> tuple[object, ...]:
        """Window, what a known device is found by, the keys of a known device, the keys of any other."""
        stranger = [self.pair_key, self.address_key, self.name_key]
        return LOGIN_WINDOW, self.device_hash, login_name(self.email), [self.device_key], stranger

    @property
    def name(self) -> str:
        """The name as it is counted: one for all ways to type it, and one for all that nobody can have."""
        return login_name(self.email) or ""

    @property
    def device_hash(self) -> bytes | None:
        """What a known device is stored as; None for a cookie that cannot be one of ours."""
        return hash_of(self.device) if self.device and self.device.isascii() else None

    @property
    def pair_key(self) -> bytes:
        """The name from this address."""
        return key_of("login", self.name, network_of(self.address))

    @property
    def address_key(self) -> bytes:
        """The address, whatever the name."""
        return key_of("login from", network_of(self.address))

    @property
    def name_key(self) -> bytes:
        """The name, wherever from."""
        return key_of("login as", self.name)

    @property
    def device_key(self) -> bytes:
        """The device."""
        return key_of("login with", self.device or "")


async def begun(address: str) -> None:
    """Count a login that was begun in a browser in which nobody is logged in; outside a transaction.

    Raises:
        TooManyAttempts: so many wait for their person that no more are taken from this address.
    """
    key = key_of("login begun from", network_of(address))
    refuse_beyond({key: MOST_BEGUN}, await read(COUNT_ONE, BEGUN_WINDOW, key))


@contextlib.contextmanager
def one_of_few(address: str) -> Iterator[None]:
    """Let an address have a few passwords checked at once in this process, so that nobody else waits for its burst.

    Raises:
        TooManyAttempts: it has as many as it may.
    """
    network = network_of(address)
    if CHECKING[network] >= MOST_AT_ONCE:
        raise TooManyAttempts(1)
    CHECKING[network] += 1
    try:
        yield
    finally:
        CHECKING[network] -= 1
        if not CHECKING[network]:
            del CHECKING[network]


async def token_failure(client_id: str, address: str) -> None:
    """Count a wrong secret, code, refresh token or assertion; call it after the failure, outside a transaction.

    `client_id` is whatever the caller claimed to be.

    Raises:
        TooManyAttempts: too many failed; answer this instead of what was wrong.
    """
    of_address = key_of("client from", network_of(address))
    of_client = key_of("client", client_id, network_of(address))
    limits = {of_address: MOST_OF_CLIENTS_ADDRESS, of_client: MOST_OF_CLIENT}
    refuse_beyond(limits, await read(COUNT_TOKEN, TOKEN_WINDOW, of_address, of_client))


async def url_failure(address: str, what: str) -> None:
    """Count a URL that is none, of `what` (an instance, an invitation); call it after the failure, outside a transaction.

    Raises:
        TooManyAttempts: too many failed; answer this instead of what was wrong.
    """
    key = key_of(f"{what} URL from", network_of(address))
    refuse_beyond({key: MOST_OF_URLS}, await read(COUNT_ONE, URL_WINDOW, key))


@contextlib.asynccontextmanager
async def url_failures_counted(
    connection: ASGIConnection[Any, Any, Any, Any], failure: type[Refusal], what: str
) -> AsyncIterator[None]:
    """Count the address that a request comes from where the block raises `failure`: secrets are not to be guessed.

    Raises:
        TooManyAttempts: instead of `failure`, if there were too many.
    """
    try:
        yield
    except failure:
        await url_failure(address_of(connection), what)
        raise


def refuse_beyond(limits: Mapping[bytes, int], failures: Sequence[asyncpg.Record], coming: int = 0) -> None:
    """Compare what was counted with its limits.

    Raises:
        TooManyAttempts: beyond one of them, until its window ends.
    """
    for row in failures:
        limit = limits.get(row["key_hash"])
        if limit is not None and row["failures"] + coming > limit:
            raise TooManyAttempts(row["seconds_left"])


def address_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return the address that a request comes from; behind a proxy that is trusted, the one that it tells."""
    return connection.client.host if connection.client else ""


def network_of(address: str) -> str:
    """Return what one customer has: an IPv4 address, the /64 of an IPv6 address; text that is neither, as it is."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed), 64), strict=False))


def key_of(*parts: str) -> bytes:
    """Hash what is counted, each part by itself first: no text of one part looks like two."""
    digests = [hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest() for part in parts]
    return hashlib.sha256(b"".join(digests)).digest()
