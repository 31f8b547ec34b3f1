"""A live service with two companies on it, the vendor's SDK in the hands of each, and clients to log in to."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest

from tests.compat.apps import LOOPBACK, PASSWORD, App, KeyPair, Script, new_keys, register, with_password
from tests.compat.formance import Bank, Flows, driven
from tests.compat.live import Live
from tests.compat.login import Person
from tests.compat.node import FOLDER, installed
from tests.compat.sdk import Sdk, Session

SCOPES = ("aow_manage signature", "signature")


class Company(msgspec.Struct, frozen=True):
    """An account, its administrator, its workflows by name, and a token that lacks a scope."""

    id: str
    admin_id: str
    admin: Session
    narrow: Session
    workflows: dict[str, str]
    http: httpx.Client

    @property
    def url(self) -> str:
        """Where the company's resources are."""
        return f"{self.admin.url}/v1/accounts/{self.id}"

    @property
    def headers(self) -> dict[str, str]:
        """The administrator's proof, for requests past the SDK."""
        return {"Authorization": f"Bearer {self.admin.token}"}

    def stored(self, name: str) -> str:
        """Store a new workflow, not yet published; return its id. The vendor's SDK cannot do this itself."""
        document = {
            "document": {
                "dsl": "1.0.3",
                "namespace": "made",
                "name": f"{name}-{uuid4().hex[:8]}",
                "version": "1.0.0",
            },
            "do": [{"only": {"set": {"done": True}}}],
        }
        answer = self.http.post(f"{self.url}/workflows", json=document, headers=self.headers)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        workflow_id: str = answer.json()["id"]
        return workflow_id

    def published(self, name: str) -> str:
        """Make a workflow for one test to pause or archive."""
        workflow_id = self.stored(name)
        self.act(workflow_id, "publish")
        return workflow_id

    def write(self, name: str) -> None:
        """Publish a definition of the folder over HTTP."""
        headers = self.headers | {"Content-Type": "application/yaml"}
        answer = self.http.post(
            f"{self.url}/yaml-workflows", content=definition(name).read_bytes(), headers=headers
        )
        assert answer.status_code == httpx.codes.CREATED, answer.text
        self.workflows[name] = answer.json()["id"]
        self.act(self.workflows[name], "publish")

    def act(self, workflow_id: str, action: str) -> None:
        """Publish or archive a workflow."""
        self.http.post(
            f"{self.url}/workflows/{workflow_id}/actions/{action}", headers=self.headers
        ).raise_for_status()


class Companies(msgspec.Struct, frozen=True):
    """Two that have nothing to do with one another."""

    acme: Company
    globex: Company


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running service on an empty, current database; who calls it waits until it is ready."""
    service = Live(tmp_path_factory.mktemp("live"))
    try:
        service.tutti("migrate")
        service.serve()
        yield service
    finally:
        service.remove()


@pytest.fixture(scope="session")
def sdk() -> Iterator[Sdk]:
    """The vendor's SDK, at the version that package.json names."""
    driven = Sdk(installed(FOLDER))
    yield driven
    driven.close()


@pytest.fixture(scope="session")
def companies(sdk: Sdk, live: Live) -> Companies:
    """Both companies, made by the command line while the service starts and runs."""
    with ThreadPoolExecutor() as threads:
        acme, globex = threads.map(lambda name: company(live, sdk, name), ["Acme", "Globex"])
    live.wait()
    published = live.tutti("workflow", "publish", str(definition("order")), "--account", acme.id)
    acme.workflows["order"] = published["workflow_id"]
    assert published["version"] == "2.1.0"
    acme.write("approval")
    acme.write("refusal")
    globex.write("approval")
    return Companies(acme, globex)


@pytest.fixture(scope="session")
def acme(companies: Companies) -> Company:
    """The company that most tests work for."""
    return companies.acme


@pytest.fixture(scope="session")
def globex(companies: Companies) -> Company:
    """The other company."""
    return companies.globex


def company(live: Live, sdk: Sdk, name: str) -> Company:
    """Make an account with an administrator and two tokens, one of which lacks a scope."""
    account_id = live.tutti("account", "create", name)["account_id"]
    on = ("--account", account_id)
    person = ("user", "create", f"admin@{name.lower()}.example", "--name", f"{name} Admin", "--role", "admin")
    admin_id = live.tutti(*person, *on)["user_id"]
    issue = ("token", "issue", "--user", admin_id, *on)
    with ThreadPoolExecutor() as threads:
        tokens = threads.map(lambda scope: live.tutti(*issue, "--scope", scope)["access_token"], SCOPES)
        whole, narrow = (Session(sdk, live.url, account_id, token) for token in tokens)
    return Company(account_id, admin_id, whole, narrow, {}, live.http)


def definition(name: str) -> Path:
    """Say where a workflow's definition is."""
    return Path(__file__).parent / "workflows" / f"{name}.yaml"


class Logins(msgspec.Struct, frozen=True):
    """Who and what logs in: Acme's clients of each kind, its administrator, and a member of both companies.

    Nobody is sent to the `agent` by the way: what people have allowed it is for its own tests to say.
    """

    server: App
    agent: App
    native: App
    robot: App
    keys: KeyPair
    ada_id: str
    grace_id: str
    acme: Company
    globex: Company
    transport: httpx.HTTPTransport

    def ada(self) -> Person:
        """Acme's administrator, in a new browser."""
        return Person(self.transport, "admin@acme.example", PASSWORD)

    def grace(self) -> Person:
        """A member of both companies, in a new browser."""
        return Person(self.transport, "grace@example.org", PASSWORD)


@pytest.fixture(scope="session")
def logins(companies: Companies, live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logins]:
    """Passwords for people and clients to log in to, made by the command line."""
    acme, globex = companies.acme, companies.globex
    keys = new_keys(tmp_path_factory.mktemp("keys"))
    joining = ("create", "grace@example.org", "--name", "Grace Hopper", "--account")
    with ThreadPoolExecutor() as threads:
        server = threads.submit(register, live, acme.id, "confidential", keys=keys)
        agent = threads.submit(register, live, acme.id, "confidential", keys=keys)
        native = threads.submit(register, live, acme.id, "public", LOOPBACK)
        scopes = ("aow_manage", "signature", "orchestration:read")
        robot = threads.submit(register, live, acme.id, "machine", keys=keys, scopes=scopes)
        ada_id = threads.submit(with_password, live, "set-password", "admin@acme.example")
        grace_id = with_password(live, *joining, acme.id)
        live.tutti("user", *joining, globex.id)
    clients = (server.result(), agent.result(), native.result(), robot.result())
    with httpx.HTTPTransport() as transport:
        yield Logins(*clients, keys, ada_id.result(), grace_id, acme, globex, transport)


@pytest.fixture(scope="session")
def auth() -> Iterator[Script]:
    """What the vendor's SDK has for logging in."""
    driven = Script(installed(FOLDER), "oauth.mjs")
    yield driven
    driven.close()


@pytest.fixture(scope="session")
def openid() -> Iterator[Script]:
    """A certified OpenID client, at the version that package.json names."""
    driven = Script(installed(FOLDER), "openid.mjs")
    yield driven
    driven.close()


@pytest.fixture(scope="session")
def banks(live: Live) -> tuple[Bank, Bank]:
    """Two accounts with a machine client each, for Formance's SDKs, made by the command line."""

    def bank(name: str) -> Bank:
        account_id = live.tutti("account", "create", name)["account_id"]
        scopes = ("orchestration:read", "orchestration:write")
        return Bank(account_id, register(live, account_id, "machine", scopes=scopes))

    with ThreadPoolExecutor() as threads:
        ours, theirs = threads.map(bank, ["Bank", "Other Bank"])
    live.wait()
    return ours, theirs


@pytest.fixture(params=["v1", "v2"])
def bank(banks: tuple[Bank, Bank], request: pytest.FixtureRequest) -> Iterator[Flows]:
    """Our account by each version in turn; every answer is one that the TypeScript SDK would take."""
    with driven(banks[0].app, request.param) as flows:
        yield flows


@pytest.fixture
def other(banks: tuple[Bank, Bank], bank: Flows) -> Iterator[Flows]:
    """The other account, by the same version."""
    with driven(banks[1].app, bank.version) as flows:
        yield flows


@pytest.fixture(scope="session")
def formance_script() -> Iterator[Script]:
    """Formance's TypeScript SDK, at the version that package.json names."""
    driven = Script(installed(FOLDER), "formance.mjs")
    yield driven
    driven.close()
