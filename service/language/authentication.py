"""Reading how a call proves who it is: policies and their schemes (contract 7.1)."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

import msgspec

from service.language.document import Authentication
from service.language.endpoints import as_jq, uri_template
from service.language.errors import below
from service.language.expressions import is_expression, template
from service.language.fields import BODY, listed
from service.language.tasks import TaskReader

POLICY = (*BODY, "secrets")
NAME_LIMIT = 100  # scopes, audiences and issuers each

SCHEMES = ("basic", "bearer", "digest", "oauth2", "oidc")
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - the name of a grant
GRANTS = ("client_credentials", "password", TOKEN_EXCHANGE)
_REFUSED_GRANTS = ("authorization_code", "refresh_token")
_CLIENT = ("client_secret_post", "client_secret_basic", "client_secret_jwt", "private_key_jwt", "none")
_ENCODINGS = ("application/x-www-form-urlencoded", "application/json")
_LISTS = ("issuers", "scopes", "audiences")
_OIDC = ("authority", "grant", "client", "request", *_LISTS, "username", "password", "subject", "actor")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "basic": ("username", "password"),
    "digest": ("username", "password"),
    "bearer": ("token",),
    "oauth2": (*_OIDC, "endpoints"),
    "oidc": _OIDC,
}


class Policy(msgspec.Struct, frozen=True):
    """A policy, and the names of the secrets that it may read."""

    authentication: Authentication
    secrets: frozenset[str]


def policy(reader: TaskReader, value: Any, pointer: str) -> Policy | None:
    """The `authentication` of an endpoint: a policy, or `{use: name}` for one that `use` declares."""
    if isinstance(value, dict) and "use" in value:
        name = reader.text(reader.closed(value, pointer, ("use",)), "use", pointer)
        if name is None:
            return None
        return reader.declaration("authentications", name, pointer + "/use", partial(own_policy, reader))
    return own_policy(reader, value, pointer)


def own_policy(reader: TaskReader, value: Any, pointer: str) -> Policy | None:
    """A policy: an object with exactly one scheme."""
    if isinstance(value, dict) and "certificate" in value:
        message = f"Authentication by certificate is not supported; the schemes are {listed(SCHEMES)}."
        reader.refuse("unsupported_feature", message, pointer + "/certificate")
        return None
    if isinstance(value, dict) and "use" in value:  # the reference of an endpoint is read before
        message = f"A named policy may not refer to another one; write the policy here, by one of {listed(SCHEMES)}."
        reader.refuse("bad_format", message, pointer + "/use")
        return None
    scheme = reader.one_of(value, pointer, SCHEMES)
    if scheme is None:
        return None
    reader.closed(value, pointer, SCHEMES)
    start, place, fields = len(reader.expressions), below(pointer, scheme), value[scheme]
    kind = cast(Literal["basic", "bearer", "digest", "oauth2", "oidc"], scheme)
    if isinstance(fields, dict) and "use" in fields:
        name = reader.text(reader.closed(fields, place, ("use",)), "use", place)
        secret = reader.secret(name, place + "/use") if name is not None else ""
        return Policy(Authentication(kind, None, secret), frozenset({secret}))
    if scheme in {"oauth2", "oidc"}:
        given = _oauth(reader, scheme, fields, place)
    else:
        given = _texts(reader, fields, place, _FIELDS[scheme], _FIELDS[scheme])
    names = reader.visible(POLICY)
    reader.leaves(given, place, names)
    secrets = frozenset(reader.secrets_since(start))
    return Policy(Authentication(kind, template(_filled_in(given), names), None), secrets)


def _texts(
    reader: TaskReader, value: Any, pointer: str, allowed: tuple[str, ...], required: tuple[str, ...]
) -> Mapping[str, Any]:
    """An object of strings, each literal or `${ … }`."""
    fields = reader.closed(value, pointer, allowed, required)
    for name in allowed:
        reader.text(fields, name, pointer)
    return fields


def _oauth(reader: TaskReader, scheme: str, value: Any, pointer: str) -> Mapping[str, Any]:
    """The fields of `oauth2` and `oidc`."""
    fields = reader.closed(value, pointer, _FIELDS[scheme], ("authority", "grant"))
    if not fields:
        return {}
    for name in ("username", "password"):
        reader.text(fields, name, pointer)
    authority = reader.text(fields, "authority", pointer)
    if authority is not None and not is_expression(authority):
        uri_template(reader, authority, pointer + "/authority")
    _grant(reader, fields, pointer)
    _client(reader, fields.get("client", {}), pointer + "/client")
    request = reader.closed(fields.get("request", {}), pointer + "/request", ("encoding",))
    reader.choice(request, "encoding", pointer + "/request", _ENCODINGS)
    for name in ("subject", "actor"):
        if name in fields:
            _texts(reader, fields[name], below(pointer, name), ("token", "type"), ("token", "type"))
    if "endpoints" in fields:
        endpoints = ("token", "revocation", "introspection")
        _texts(reader, fields["endpoints"], pointer + "/endpoints", endpoints, ())
    for name in _LISTS:
        _names(reader, fields.get(name, []), below(pointer, name))
    return fields


def _grant(reader: TaskReader, fields: Mapping[str, Any], pointer: str) -> None:
    """The grant, and what it cannot do without."""
    grant, place = fields.get("grant"), pointer + "/grant"
    if "grant" in fields and (not isinstance(grant, str) or grant not in (*GRANTS, *_REFUSED_GRANTS)):
        reader.refuse("bad_format", f"`grant` is one of {listed(GRANTS)}.", place)
    if grant in _REFUSED_GRANTS:
        message = f"`{grant}` needs a browser or a stored token; the supported grants are {listed(GRANTS)}."
        reader.refuse("unsupported_feature", message, place)
    needed = {"password": ("username", "password"), TOKEN_EXCHANGE: ("subject",)}
    for name in needed.get(str(grant), ()):
        if name not in fields:
            message = f"The field `{name}` is missing; the grant `{grant}` needs it."
            reader.refuse("missing_field", message, below(pointer, name))


def _client(reader: TaskReader, value: Any, pointer: str) -> None:
    """Who asks for the token."""
    fields = reader.closed(value, pointer, ("id", "secret", "assertion", "authentication"))
    for name in ("id", "secret", "assertion"):
        reader.text(fields, name, pointer)
    how = reader.choice(fields, "authentication", pointer, _CLIENT)
    if isinstance(value, dict) and how != "none" and "id" not in fields:
        message = "The field `id` is missing; only `authentication: none` goes without."
        reader.refuse("missing_field", message, pointer + "/id")
    if how == "private_key_jwt" and "assertion" not in fields:
        message = "The field `assertion` is missing; `private_key_jwt` sends it."
        reader.refuse("missing_field", message, pointer + "/assertion")


def _names(reader: TaskReader, value: Any, pointer: str) -> None:
    """A list of strings, any of them and the whole of it literal or `${ … }`."""
    if is_expression(value):
        return
    for name, place in reader.list_of(value, pointer, "strings", NAME_LIMIT):
        if not isinstance(name, str):
            reader.refuse("wrong_type", "This is a string; quote it.", place)


def _filled_in(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields with the names in the authority's URI template replaced, which only this field has."""
    authority = fields.get("authority")
    if not isinstance(authority, str) or is_expression(authority) or "{" not in authority:
        return fields
    return {**fields, "authority": as_jq(authority)}
