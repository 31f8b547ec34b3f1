"""How policies of authentication are read (contract 7.1)."""

from typing import Any

import jq
import pytest

from service.language.authentication import TOKEN_EXCHANGE
from service.language.document import Authentication, HttpCall
from service.language.reading import read
from tests.language.definitions import found, problems_of, workflow

BASIC = {"username": "u", "password": "${ $secrets.p }"}
OAUTH = {"authority": "https://e.com", "grant": "client_credentials", "client": {"id": "c"}}


def call(policy: Any) -> dict[str, Any]:
    endpoint = {"uri": "https://example.com", "authentication": policy}
    return {"a": {"call": "http", "with": {"method": "get", "endpoint": endpoint}}}


def read_call(policy: Any, **use: Any) -> HttpCall:
    (task,) = read(workflow(call(policy), use={"secrets": ["p", "login"], **use})).tasks
    assert isinstance(task.work, HttpCall)
    return task.work


def fields_of(policy: Any) -> Any:
    authentication = read_call(policy).authentication
    assert isinstance(authentication, Authentication)
    assert authentication.fields is not None
    return authentication.fields.source


@pytest.mark.parametrize(
    "policy",
    [
        {"basic": BASIC},
        {"digest": BASIC},
        {"bearer": {"token": "${ $secrets.p }"}},
        {"oauth2": OAUTH},
        {"oidc": OAUTH},
        {"oauth2": OAUTH | {"grant": "password", "username": "u", "password": "p"}},
        {"oauth2": OAUTH | {"grant": TOKEN_EXCHANGE, "subject": {"token": "t", "type": "x"}}},
        {
            "oauth2": OAUTH
            | {
                "client": {"authentication": "private_key_jwt", "id": "c", "assertion": "a"},
                "request": {"encoding": "application/json"},
                "issuers": ["i"],
                "scopes": ["a", "${ .scope }"],
                "audiences": "${ .audiences }",
                "actor": {"token": "t", "type": "x"},
                "endpoints": {"token": "/token", "revocation": "/r", "introspection": "/i"},
            }
        },
        {"oauth2": OAUTH | {"client": {"authentication": "none"}, "authority": "${ .where }"}},
    ],
    ids=["basic", "digest", "bearer", "oauth2", "oidc", "password", "exchange", "everything", "no client"],
)
def test_a_policy_is_its_scheme_and_its_fields(policy: dict[str, Any]) -> None:
    authentication = read_call(policy).authentication
    assert authentication is not None
    assert authentication.scheme == next(iter(policy))
    assert fields_of(policy) == next(iter(policy.values()))


def test_a_scheme_may_stand_in_a_secret() -> None:
    work = read_call({"oauth2": {"use": "login"}})
    assert work.authentication == Authentication("oauth2", None, "login")
    assert work.secrets == ("login",)


def test_a_named_policy_brings_its_secrets_to_each_call() -> None:
    declared = {"authentications": {"shop": {"basic": BASIC}, "other": {"digest": {"use": "login"}}}}
    assert read_call({"use": "shop"}, **declared).secrets == ("p",)
    assert read_call({"use": "other"}, **declared).secrets == ("login",)


@pytest.mark.parametrize(
    ("data", "uri"),
    [
        ({"tenant": "a b/c"}, "https://e.com/a%20b%2Fc/x\\(1)"),
        ({"tenant": False}, "https://e.com/false/x\\(1)"),
        ({"tenant": None}, "https://e.com//x\\(1)"),
        ({}, "https://e.com//x\\(1)"),
        ([1], "https://e.com//x\\(1)"),
    ],
)
def test_the_authority_is_a_uri_template(data: Any, uri: str) -> None:
    text = fields_of({"oauth2": OAUTH | {"authority": "https://e.com/{tenant}/x\\(1)"}})["authority"]
    assert jq.compile(text[2:-1]).input_value(data).first() == uri


def test_a_list_does_not_fit_into_an_authority() -> None:
    text = fields_of({"oidc": OAUTH | {"authority": "https://e.com/{tenant}"}})["authority"]
    with pytest.raises(ValueError, match="a URI takes no array"):
        jq.compile(text[2:-1]).input_value({"tenant": [1]}).first()


def oauth(**fields: Any) -> dict[str, Any]:
    return {"oauth2": OAUTH | fields}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (5, [("wrong_type", "")]),
        ("shop", [("wrong_type", "")]),
        ({}, [("missing_field", "/basic")]),
        ({"other": {}}, [("missing_field", "/basic")]),
        ({"basic": BASIC, "bearer": {"token": "t"}}, [("bad_format", "")]),
        ({"basic": BASIC, "x": 1}, [("unknown_field", "/x")]),
        ({"certificate": {}}, [("unsupported_feature", "/certificate")]),
        ({"use": "nope"}, [("unknown_authentication", "/use")]),
        ({"use": 5}, [("wrong_type", "/use")]),
        (
            {"use": "shop", "basic": BASIC},
            [("unknown_field", "/basic"), ("unknown_authentication", "/use")],
        ),
        ({"basic": {"username": "u"}}, [("missing_field", "/basic/password")]),
        ({"basic": {"username": 1, "password": "p"}}, [("wrong_type", "/basic/username")]),
        ({"digest": {}}, [("missing_field", "/digest/password"), ("missing_field", "/digest/username")]),
        ({"bearer": "${ .token }"}, [("wrong_type", "/bearer")]),
        ({"bearer": {"token": "${ $secrets.nope }"}}, [("undeclared_secret", "/bearer/token")]),
        ({"bearer": {"use": "nope"}}, [("undeclared_secret", "/bearer/use")]),
        ({"bearer": {"use": 5}}, [("wrong_type", "/bearer/use")]),
        ({"bearer": {"use": "p", "token": "t"}}, [("unknown_field", "/bearer/token")]),
        (
            {"oauth2": {}},
            [("missing_field", "/oauth2/authority"), ("missing_field", "/oauth2/grant")],
        ),
        ({"oauth2": 5}, [("wrong_type", "/oauth2")]),
        ({"oidc": OAUTH | {"endpoints": {}}}, [("unknown_field", "/oidc/endpoints")]),
        (oauth(authority="e.com"), [("bad_format", "/oauth2/authority")]),
        (oauth(grant="client-credentials"), [("bad_format", "/oauth2/grant")]),
        (oauth(grant=5), [("bad_format", "/oauth2/grant")]),
        (oauth(grant=[]), [("bad_format", "/oauth2/grant")]),
        (oauth(grant="authorization_code"), [("unsupported_feature", "/oauth2/grant")]),
        (oauth(grant="refresh_token"), [("unsupported_feature", "/oauth2/grant")]),
        (
            oauth(grant="password"),
            [("missing_field", "/oauth2/password"), ("missing_field", "/oauth2/username")],
        ),
        (oauth(grant=TOKEN_EXCHANGE), [("missing_field", "/oauth2/subject")]),
        (oauth(client={}), [("missing_field", "/oauth2/client/id")]),
        (oauth(client=5), [("wrong_type", "/oauth2/client")]),
        (
            oauth(client={"id": "c", "authentication": "tls"}),
            [("bad_format", "/oauth2/client/authentication")],
        ),
        (
            oauth(client={"id": "c", "authentication": "private_key_jwt"}),
            [("missing_field", "/oauth2/client/assertion")],
        ),
        (oauth(request={"encoding": "xml"}), [("bad_format", "/oauth2/request/encoding")]),
        (oauth(scopes="a b"), [("wrong_type", "/oauth2/scopes")]),
        (oauth(scopes=[1]), [("wrong_type", "/oauth2/scopes/0")]),
        (oauth(audiences=["a"] * 101), [("too_large", "/oauth2/audiences")]),
        (oauth(actor={"token": "t"}), [("missing_field", "/oauth2/actor/type")]),
        (oauth(endpoints={"token": 1}), [("wrong_type", "/oauth2/endpoints/token")]),
    ],
)
def test_a_wrong_policy_is_refused_in_a_call_and_where_it_is_declared(
    policy: Any, expected: list[tuple[str, str]]
) -> None:
    place = "/do/0/a/with/endpoint/authentication"
    in_call = problems_of(workflow(call(policy), use={"secrets": ["p"]}))
    assert found(in_call) == [(code, place + pointer) for code, pointer in expected]
    if not isinstance(policy, dict) or "use" not in policy:
        declared = {"secrets": ["p"], "authentications": {"x": policy}}
        assert found(problems_of(workflow(use=declared))) == [
            (code, "/use/authentications/x" + pointer) for code, pointer in expected
        ]


def test_a_named_policy_may_not_refer_to_another_one() -> None:
    use = {"authentications": {"p": {"use": "q"}, "q": {"basic": BASIC}}, "secrets": ["p"]}
    (problem,) = problems_of(workflow(call({"use": "p"}), use=use))
    assert (problem.code, problem.pointer) == ("bad_format", "/use/authentications/p/use")
    assert "A named policy may not refer to another one" in problem.message
