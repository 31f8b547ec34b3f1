"""Two accounts with people, clients and tokens, all marked; `python -m tests.fuzz.accounts` makes them in DATABASE_URL."""

import asyncio
import sys
from uuid import UUID

import msgspec

from auth.clients import create_client, issue_token
from auth.passwords import hash_password
from auth.registration import Registration
from auth.scopes import ABOUT_PEOPLE, ADMINISTRATION, MAESTRO
from service.settings import settings
from tenancy.accounts import add_user, create_account, set_password
from tenancy.postgres import pool

LIFE = 8 * 3600  # seconds; longer than any run
ALL = (
    *(*MAESTRO, ADMINISTRATION),
    *("orchestration:read", "orchestration:write", "keyfactor:read", "keyfactor:write"),
)
NAMES = ("acme", "globex")
CALLBACK = "https://app.example/callback"


class Side(msgspec.Struct, frozen=True):
    """An account as its people see it. Every text of it carries the `marker`, which no text of the other one has."""

    marker: str
    account_id: UUID
    email: str
    password: str
    token: str  # of the administrator
    machine_id: UUID
    machine_secret: str
    machine_token: str
    app_id: UUID  # of a public client

    @property
    def url(self) -> str:
        """Where the account's resources are."""
        return f"/v1/accounts/{self.account_id}"


async def side(name: str) -> Side:
    """Make an account with an administrator, other members, a machine and a public client."""
    marker = f"zq{name}zq"
    account_id = await create_account(f"{marker} account")
    email = f"{marker}@{name}.example"
    admin_id = await add_user(email, f"{marker} admin", None, account_id, "admin")
    for role in ("manager", "sender", "viewer"):
        await add_user(f"{marker}.{role}@{name}.example", f"{marker} {role}", None, account_id, role)
    password = f"{marker} and more of it"
    await set_password(email, hash_password(password))
    machine_id, secret = await create_client(
        Registration(account_id=account_id, kind="machine", name=f"{marker} robot", scopes=ALL)
    )
    app_id, _ = await create_client(
        Registration(
            account_id=account_id,
            kind="public",
            name=f"{marker} app",
            redirect_uris=(CALLBACK,),
            scopes=(*ALL, *ABOUT_PEOPLE),
        )
    )
    return Side(
        marker=marker,
        account_id=account_id,
        email=email,
        password=password,
        token=await issue_token(account_id, ("user", admin_id), (*ALL, "openid", "email", "profile"), LIFE),
        machine_id=machine_id,
        machine_secret=secret or "",
        machine_token=await issue_token(account_id, ("client", machine_id), ALL, LIFE),
        app_id=app_id,
    )


async def main() -> None:
    """Make both and tell of them."""
    async with pool(2):
        made = [await side(name) for name in NAMES]
    sys.stdout.write(msgspec.json.encode(made).decode())


if __name__ == "__main__":
    settings()
    asyncio.run(main())
