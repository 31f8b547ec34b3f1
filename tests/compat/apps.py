"""OAuth clients and people on the live service, made by the command line; and the programs that speak for clients."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.compat.live import COMMAND, ROOT, Live
from tests.compat.node import node
from tests.compat.sdk import Sdk

PASSWORD = "correct horse battery staple"
# Where the vendor's own examples listen, and where an app on a desk does.
CALLBACK = "http://localhost:3000/oauth2/callback"
LOOPBACK = "http://127.0.0.1:8910/callback"


class App(msgspec.Struct, frozen=True):
    """A registered client and what proves it: a secret, a private key (PEM), or nothing."""

    live: Live
    id: str
    secret: str | None
    key: str | None
    redirect_uri: str

    def authorization_url(self, **parameters: str) -> str:
        """Where this client sends people, with parameters of the test's choice."""
        asked = {"response_type": "code", "client_id": self.id, "redirect_uri": self.redirect_uri}
        return f"{self.live.url}/oauth/auth?{urlencode(asked | parameters)}"

    def worth(self, token: str) -> dict[str, Any]:
        """What the service says of a token of this client."""
        assert self.secret is not None
        answer = self.live.http.post(
            f"{self.live.url}/oauth/introspect", data={"token": token}, auth=(self.id, self.secret)
        )
        told: dict[str, Any] = answer.raise_for_status().json()
        return told


class Script(Sdk):
    """Another Node.js program that is called in the way of the SDK's, line by line."""

    def __init__(self, folder: Path, name: str) -> None:  # ends like the SDK's own process
        self._process = subprocess.Popen(
            [node(), name], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )


class KeyPair(msgspec.Struct, frozen=True):
    """A client's RSA keys: the private one as PEM, the public one as the file that the operator registers."""

    private: str
    public: Path


def new_keys(folder: Path) -> KeyPair:
    """Make a pair of keys in a folder of their own."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = folder / "public.pem"
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return KeyPair(private.decode(), public)


def register(
    live: Live,
    account_id: str,
    kind: str,
    redirect_uri: str = CALLBACK,
    *,
    keys: KeyPair | None = None,
    scopes: Sequence[str] = (),
) -> App:
    """Register a client."""
    options = [word for scope in scopes for word in ("--scope", scope)]
    if kind != "machine":
        options += ["--redirect-uri", redirect_uri]
    if keys is not None:
        options += ["--public-key", str(keys.public)]
    made = live.tutti("client", "create", "--account", account_id, "--kind", kind, *options)
    private = None if keys is None else keys.private
    return App(live, made["client_id"], made["client_secret"], private, redirect_uri)


def with_password(live: Live, *arguments: str) -> str:
    """Run a command that reads a password; return the user's id."""
    finished = subprocess.run(
        [*COMMAND, "user", *arguments, "--password-stdin", "--json"],
        cwd=ROOT,
        env=live.environment,
        input=PASSWORD,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    user_id: str = json.loads(finished.stdout)["user_id"]
    return user_id
