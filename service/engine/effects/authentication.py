"""Proves to the called service who calls: the schemes of contract 7.1, from the evaluated fields of a policy."""

import base64
import hashlib
import re
from typing import Any, Literal
from uuid import UUID

import msgspec

from service.engine.effects.grants import OAuth, token_from
from service.engine.effects.redaction import Redaction
from service.engine.egress import CallError, Egress
from service.language.fields import listed
from service.language.misfits import misfit

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Password(msgspec.Struct, frozen=True):
    """The fields of `basic` and `digest`."""

    username: str
    password: str


class Bearer(msgspec.Struct, frozen=True):
    """The fields of `bearer`."""

    token: str


Scheme = Literal["basic", "bearer", "digest", "oauth2", "oidc"]
FIELDS: dict[Scheme, type[Password | Bearer | OAuth]] = {
    "basic": Password,
    "bearer": Bearer,
    "digest": Password,
    "oauth2": OAuth,
    "oidc": OAuth,
}


class Proof(msgspec.Struct, frozen=True):
    """What a request carries: a scheme and its parameter, or what answers the challenge of `digest`.

    `key` is where the token is kept, for the case that it is refused.
    """

    scheme: str
    parameter: str | None = None
    digest: tuple[str, str] | None = None
    key: bytes | None = None

    @property
    def argument(self) -> dict[str, Any]:
        """The value of `$authorization` (contract 3.2)."""
        return {"scheme": self.scheme, "parameter": self.parameter}

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request that carries it."""
        return {} if self.parameter is None else {"authorization": f"{self.scheme} {self.parameter}"}


async def prove(
    egress: Egress,
    account_id: UUID,
    scheme: Scheme,
    fields: Any,
    hidden: Redaction,
    *,
    secret: str | None = None,
) -> Proof:
    """Make the proof, for which `oauth2` and `oidc` may have to request a token; what is secret in it is hidden.

    `secret` is the name of the one that holds the fields, if one does.

    Raises:
        CallError: `configuration` for fields that are wrong, `authentication` when no token could be had.
    """
    hidden.learn(credentials_in(fields))
    if secret is not None and not isinstance(fields, dict):
        raise misconfigured(scheme, no_object(account_id, scheme, secret))
    policy = read(scheme, fields)
    if isinstance(policy, OAuth):
        key = hashlib.sha256(msgspec.json.encode((account_id, scheme, fields), order="sorted")).digest()
        token = await egress.tokens.get(key, lambda: token_from(egress, policy, discovers=scheme == "oidc"))
        proof = Proof("Bearer", token.value, key=key)
    elif isinstance(policy, Bearer):
        proof = Proof("Bearer", policy.token)
    elif ":" in policy.username:
        raise misconfigured(scheme, "its `username` has a colon in it, which the scheme cannot carry")
    elif scheme == "digest":
        return Proof("Digest", digest=(policy.username, policy.password))
    else:
        both = f"{policy.username}:{policy.password}"
        proof = Proof("Basic", base64.b64encode(both.encode(errors="replace")).decode())
    hidden.learn(proof.parameter)
    if _CONTROL.search(proof.parameter or ""):
        raise misconfigured(scheme, "its token has a line break or another control character in it")
    return proof


def read(scheme: Scheme, fields: Any) -> Password | Bearer | OAuth:
    """The fields as the scheme has them."""
    try:
        return msgspec.convert(fields, FIELDS[scheme])
    except msgspec.ValidationError as error:
        wrong = misfit(str(error))
        raise misconfigured(scheme, f"its `{wrong.place}` {wrong.rule}") from None


def no_object(account_id: UUID, scheme: Scheme, secret: str) -> str:
    """What is wrong with a secret that is a text, from which the scheme takes several fields."""
    fields = listed(field.name for field in msgspec.structs.fields(FIELDS[scheme]) if field.required)
    return (
        f"the secret `{secret}` is a text, and has to be an object with {fields}; set it again with: "
        f"tutti secret set {secret} --account {account_id} --json-value"
    )


def misconfigured(scheme: str, detail: str) -> CallError:
    """The error for a policy that cannot work."""
    return CallError("configuration", "The authentication cannot work", f"`{scheme}`: {detail}.")


def credentials_in(fields: Any) -> list[Any]:
    """What of a policy's fields nobody may see, whether it came from a secret or stands in the definition."""
    if not isinstance(fields, dict):
        return []
    client, *tokens = (fields.get(name) for name in ("client", "subject", "actor"))
    found = [fields.get("password"), fields.get("token")]
    if isinstance(client, dict):
        found += [client.get("secret"), client.get("assertion")]
    return [*found, *(one.get("token") for one in tokens if isinstance(one, dict))]
