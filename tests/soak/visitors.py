"""Who comes beside the load: listeners that follow events, people and machines that log in, and somebody who cancels by the dozen."""

import asyncio
import base64
import itertools
from typing import Any
from uuid import UUID

import httpx

from auth.issuer import Issuer
from service.demo import ACME, APP_REDIRECTS
from tests.auth.oauth import VERIFIER, App
from tests.auth.person import Person
from tests.benchmarks.following import Listener
from tests.cell import Account, Demo
from tests.chaos.asking import Asked
from tests.chaos.mix import Kind
from tests.chaos.scene import CERTIFICATES, Tenant
from tests.soak.load import PATIENCE, Load

LISTENERS = 6
LISTEN_SECONDS = 10.0
VISIT_EVERY = 5.0  # seconds
SWEEP_EVERY = 15.0  # seconds
CHANGED = 409  # that there are more or fewer than were counted
SCOPES = "openid profile email offline_access signature aow_manage"


class Visitors:
    """Those who come, and what they have met with."""

    def __init__(self, port: int, demo: Demo, load: Load) -> None:
        self.heard = 0  # ends of instances, by all listeners
        self.visits = 0
        self._port = port
        self._demo = demo
        self._load = load

    async def listen(self, account: Account) -> None:
        """Follow an account's events for a while, then anew, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            transport, listener = await loop.create_connection(
                lambda: Listener(account), "127.0.0.1", self._port
            )
            try:
                await asyncio.sleep(LISTEN_SECONDS)
            finally:
                transport.close()
            if not listener.opened.done():
                self._load.note("follow events", 0)
            self.heard += len(listener.heard)

    async def visit(self) -> None:
        """Come as a machine, by a browser and with a password, again and again, until cancelled."""
        url = f"http://127.0.0.1:{self._port}"
        for number in itertools.count():
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
                try:
                    await self._machine(http, revoked=number % 2 == 0)
                    await self._password(http)
                    await self._browser(http, url)
                except httpx.TransportError:
                    self._load.note("a visit", 0)
            self.visits += 1
            await asyncio.sleep(VISIT_EVERY)

    async def _machine(self, http: httpx.AsyncClient, *, revoked: bool) -> None:
        robot = App(
            id=UUID(self._demo.machine_client_id), secret=self._demo.machine_client_secret, account_id=ACME
        )
        tokens = self._answered(
            "machine's token", await robot.token(http, {"grant_type": "client_credentials"})
        )
        if tokens:
            await self._used(http, tokens["access_token"])
            if revoked:
                self._answered("revocation", await robot.revoke(http, tokens["access_token"]))

    async def _password(self, http: httpx.AsyncClient) -> None:
        proof = base64.b64encode(f"Acme\\{self._demo.email}:{self._demo.password}".encode()).decode()
        headers = {"Authorization": f"Basic {proof}", "x-keyfactor-requested-with": "APIClient"}
        self._answered("password", await http.get(f"{CERTIFICATES}/Workflow/Instances/My", headers=headers))

    async def _browser(self, http: httpx.AsyncClient, url: str) -> None:
        app = App(
            id=UUID(self._demo.public_client_id), secret=None, account_id=ACME, redirect_uri=APP_REDIRECTS[0]
        )
        person = Customer(self._demo, url)
        try:
            told = await person.allows(app, scope=SCOPES)
        finally:
            await person.http.aclose()
        fields = {
            "grant_type": "authorization_code",
            "redirect_uri": app.redirect_uri,
            "code_verifier": VERIFIER,
        }
        tokens = self._answered("code", await app.token(http, fields | {"code": told["code"]}))
        if tokens:
            await self._used(http, tokens["access_token"])
            refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
            self._answered("refresh", await app.token(http, refresh))

    async def _used(self, http: httpx.AsyncClient, token: str) -> None:
        path = f"/v1/accounts/{ACME}/workflows"
        self._answered("token", await http.get(path, headers={"Authorization": f"Bearer {token}"}))

    def _answered(self, what: str, answer: httpx.Response) -> Any:
        self._load.note(what, answer.status_code)
        return answer.json() if answer.is_success and answer.content else None

    async def sweep(self, tenant: Tenant, kind: Kind) -> None:
        """Cancel whatever there is of a kind, by one bulk action after the other, until cancelled."""
        path = f"{tenant.url}/workflow-instances/actions/cancel?status=In%20Progress"
        path += f"&workflow_definition_id={tenant.workflows[kind.name]}"
        while True:
            counted = await self._load.ask(tenant, Asked("count", kind.name, "POST", path))
            count = counted.json()["matched_count"] if counted.taken else 0
            if count:
                body = {"confirm_count": count}
                await self._load.ask(tenant, Asked("sweep", kind.name, "POST", path, body), CHANGED)
            await asyncio.sleep(SWEEP_EVERY)


class Customer(Person):
    """The demo's administrator, in a browser that asks the service over the network."""

    def __init__(self, demo: Demo, url: str) -> None:
        super().__init__(demo.email, Issuer(url))
        self.http = httpx.AsyncClient(base_url=url, timeout=PATIENCE)
        self._password = demo.password

    async def logs_in(self, page: httpx.Response, password: str | None = None) -> httpx.Response:
        """Give e-mail address and password."""
        return await super().logs_in(page, password or self._password)
