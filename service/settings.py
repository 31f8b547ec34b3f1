"""Settings, read once from the environment. README.md shows them as a table, held to this file by a test."""

import base64
import os
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import msgspec.inspect

from auth.issuer import Issuer
from service.mail_server import MailServer, mail_server_in
from tenancy.errors import SetupRefused
from tenancy.postgres import Database, located

PREFIX = "TUTTI_"
SECRET_KEY_BYTES = 32
SECRET = (
    "database_url",
    "owner_database_url",
    "secret_keys",
    "smtp_url",
    "metrics_token",
)  # fields that are not shown
ADVICE = {
    "public_url": "a URL that begins with http:// or https://, without user, query or fragment",
    "trusted_proxies": "addresses or networks with commas between them, such as 10.0.0.1, 10.1.0.0/16",
    "metrics_token": "a text of 16 to 512 characters",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set: field `x` is read from `TUTTI_X`, `database_url` from `DATABASE_URL`."""

    database_url: Annotated[
        str | None,
        msgspec.Meta(
            description="PostgreSQL 15 or newer, as the application's role; unset: the embedded server"
        ),
    ] = None
    owner_database_url: Annotated[
        str | None,
        msgspec.Meta(
            description="the same database as the role that owns the tables; `tutti migrate` alone uses it"
        ),
    ] = None
    data_dir: Annotated[
        str,
        msgspec.Meta(
            description="folder of the embedded server (for root it is a name only: the data is in /var/lib/tutti)"
        ),
    ] = ".tutti"
    public_url: Annotated[
        str,
        msgspec.Meta(
            description="where clients reach this service; the OAuth issuer, and the beginning of URLs in answers",
            pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        ),
    ] = "http://127.0.0.1:8000"
    audience_aliases: Annotated[
        str,
        msgspec.Meta(
            description="further names, with blanks between them, that a client's signed assertion may give this server"
        ),
    ] = "account-d.docusign.com account.docusign.com"
    trusted_proxies: Annotated[
        Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F.:/, ]+$")] | None,
        msgspec.Meta(
            description="addresses or networks, with commas between them, of proxies whose X-Forwarded-For and -Proto count"
        ),
    ] = None
    maestro_dialect: Annotated[
        Literal["auto", "legacy", "first", "new"],
        msgspec.Meta(
            description="trigger status and error type: `auto` by the SDK's User-Agent, `legacy` 200 and application/json, "
            "`first` 201 and application/json, `new` 201 and application/problem+json"
        ),
    ] = "auto"
    paused_trigger_status: Annotated[
        Literal[400, 409],
        msgspec.Meta(
            description="status for a trigger on a paused workflow; SDKs know a typed error for 400 alone"
        ),
    ] = 400
    pool_size: Annotated[
        int, msgspec.Meta(ge=2, le=500, description="database connections of one process")
    ] = 16
    pool_wait_seconds: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=60,
            description="seconds that a request waits for a database connection before it is a 503",
        ),
    ] = 5
    transaction_seconds: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=60,
            description="seconds that a request's transaction may take in the database before it is a 503",
        ),
    ] = 10
    requests_at_once: Annotated[
        int,
        msgspec.Meta(
            ge=4,
            le=4096,
            description="requests that one process works on at once; 256 more wait for up to 5 s",
        ),
    ] = 32
    connections_at_once: Annotated[
        int,
        msgspec.Meta(ge=16, le=65_536, description="connections of clients that one process holds"),
    ] = 5000
    sandbox_processes: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=64, description="processes that evaluate expressions, for each process of the service"
        ),
    ] = 2
    instance_lifetime_hours: Annotated[
        int,
        msgspec.Meta(
            ge=0, le=43_800, description="lifetime of an instance whose definition has no timeout; 0: none"
        ),
    ] = 0
    egress_allow: Annotated[
        str | None,
        msgspec.Meta(
            description="networks, with commas between them, that calls of workflows may reach although they are not public; "
            "`make run` allows loopback"
        ),
    ] = None
    secret_keys: Annotated[
        str | None,
        msgspec.Meta(
            description="keys that encrypt accounts' secrets, with commas between them: the first encrypts, all decrypt; "
            "`tutti secret key` makes one"
        ),
    ] = None
    smtp_url: Annotated[
        str | None,
        msgspec.Meta(
            description="mail server for `call: email`: `smtp://user:password@host:587`, or `smtps://`; unset: e-mails are not sent"
        ),
    ] = None
    smtp_from: Annotated[
        str | None,
        msgspec.Meta(
            description="in whose name they are sent: an address, or a name with the address in `<` and `>`"
        ),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        msgspec.Meta(
            description="least severe log lines that are written; `debug` also writes a line for each request"
        ),
    ] = "info"

    metrics_token: Annotated[
        Annotated[str, msgspec.Meta(min_length=16, max_length=512)] | None,
        msgspec.Meta(
            description="bearer token, of 16 characters or more, that reads `/metrics` from anywhere; unset: this machine alone"
        ),
    ] = None
    metrics_dir: Annotated[
        str | None,
        msgspec.Meta(
            description="folder in which the processes of one service on one machine share their figures; "
            "unset: one for each user and database among the temporary files"
        ),
    ] = None
    ready_queue_seconds: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=86_400,
            description="`/readyz` answers 503 when jobs have been due for longer than this and nobody takes any",
        ),
    ] = 60

    def __repr__(self) -> str:
        """Show what is no secret: an address of a database may hold a password."""
        shown = (
            f"{name}={'...' if name in SECRET and value else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()
        )
        return f"Settings({', '.join(shown)})"

    @property
    def instance_lifetime(self) -> timedelta | None:
        """How long an instance whose definition has no timeout may take; None: for ever."""
        hours = self.instance_lifetime_hours
        return timedelta(hours=hours) if hours else None

    @property
    def egress_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """What calls may reach beside the public Internet."""
        return tuple(networks_in(self.egress_allow or ""))

    @property
    def mail_server(self) -> MailServer | None:
        """Where e-mails are handed over, if they are sent."""
        return mail_server_in(self.smtp_url, self.smtp_from)

    @property
    def issuer(self) -> Issuer:
        """This service as an authorization server."""
        return Issuer(self.public_url.rstrip("/"), tuple(self.audience_aliases.split()))

    @property
    def database(self) -> Database:
        """How to reach the database as each role."""
        return located(self.database_url, self.owner_database_url, Path(self.data_dir))


def variable(field: str) -> str:
    """Return the name of the environment variable that a field is read from."""
    return "DATABASE_URL" if field == "database_url" else PREFIX + field.upper()


@cache
def settings() -> Settings:
    """Read the settings, once for the process."""
    return read(os.environ)


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings from an environment.

    Raises:
        SetupRefused: a value of the wrong kind, or a `TUTTI_` variable that nobody reads (a misspelt one, most likely).
    """
    names = {variable(field): field for field in Settings.__struct_fields__}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in names)
    if unknown:
        known = ", ".join(sorted(name for name in names if name.startswith(PREFIX)))
        raise SetupRefused(f"Unknown setting {', '.join(unknown)}. Known: {known}.")
    values: dict[str, str | int] = {
        field: environment[name] for name, field in names.items() if environment.get(name)
    }
    if values.get("paused_trigger_status") in (
        "400",
        "409",
    ):  # no library turns text into one of several numbers
        values["paused_trigger_status"] = int(values["paused_trigger_status"])
    try:
        found = msgspec.convert(values, Settings, strict=False)
        check_proxies(found.trusted_proxies)
        networks_in(found.egress_allow or "")
        mail_server_in(found.smtp_url, found.smtp_from)
        if found.secret_keys is not None:
            secret_keys_in(found.secret_keys)
    except msgspec.ValidationError as error:
        field = str(error).rpartition("$.")[2].strip("`")
        if field in ADVICE:
            raise SetupRefused(f"{variable(field)} is {ADVICE[field]}.") from None
        description = msgspec.inspect.type_info(Settings.__annotations__[field])
        choices = getattr(getattr(description, "type", description), "values", ())
        allowed = f" Allowed: {', '.join(map(str, choices))}." if choices else ""
        raise SetupRefused(f"{variable(field)}: {str(error).partition(' - at')[0]}.{allowed}") from None
    return found


def check_proxies(listed: str | None) -> None:
    """Refuse what names no address: a proxy that is not recognised would make all clients share its address.

    Raises:
        SetupRefused: with the one that is wrong.
    """
    for one in (listed or "").split(","):
        try:
            ip_network(one.strip() or "127.0.0.1")
        except ValueError:
            raise SetupRefused(
                f"TUTTI_TRUSTED_PROXIES: {one.strip()!r} is neither an address nor a network."
            ) from None


def networks_in(listed: str) -> list[IPv4Network | IPv6Network]:
    """Read networks with commas between them.

    Raises:
        SetupRefused: with the one that is wrong.
    """
    found = []
    for one in filter(None, (each.strip() for each in listed.split(","))):
        try:
            found.append(ip_network(one))
        except ValueError:
            raise SetupRefused(
                f"TUTTI_EGRESS_ALLOW: {one!r} is not a network; write it as 10.1.0.0/16, the bits behind its length being zero."
            ) from None
    return found


def secret_keys_in(listed: str) -> list[bytes]:
    """Decode the keys that encrypt secrets.

    Raises:
        SetupRefused: with the place of the one that is wrong, and not with what it is.
    """
    found = []
    for place, one in enumerate(listed.split(","), 1):
        try:
            key = base64.b64decode(one.strip(), altchars=b"-_", validate=True)
        except ValueError:
            key = b""
        if len(key) != SECRET_KEY_BYTES:
            raise SetupRefused(
                f"TUTTI_SECRET_KEYS: number {place} is not a key. Unset it and print a new one with: tutti secret key"
            )
        found.append(key)
    return found
