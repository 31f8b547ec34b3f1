"""The document of the OAuth server: what each route reads, whom it asks for what proof, how it refuses."""

import base64
import hashlib
from typing import Any

import pytest

from auth.endpoints import GRANT_TYPES, metadata_of
from auth.issuer import TOKEN_PATHS
from auth.scopes import SCOPES
from service.openapi.oauth_forms import CHALLENGE, VERIFIER
from tests.auth.oauth import issuer
from tests.auth.routes import ROUTES
from tests.documents import committed, nodes, walked

FORM = "application/x-www-form-urlencoded"
# By proof: who is named as able to call, and the refusals that have to be documented.
PROOFS: dict[str, tuple[list[dict[str, list[str]]], set[str]]] = {
    "none": ([], {"500"}),
    "client": ([{"client": []}, {}], {"400", "413", "429", "500"}),
    "token": (
        [{"oauth2": ["openid"]}, {"oauth2": ["signature"]}, {"accessToken": []}],
        {"401", "403", "500"},
    ),
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The committed document."""
    return committed("oauth.json")


@pytest.fixture(scope="module")
def told(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation by method and path."""
    return {(method.upper(), path): operation for method, path, operation in walked(document)}


def form_of(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The schema of the form that an operation reads."""
    ((media_type, content),) = operation["requestBody"]["content"].items()
    assert media_type == FORM
    schema: dict[str, Any] = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    return schema


def test_every_operation_says_what_proof_its_route_asks_for(
    told: dict[tuple[str, str], dict[str, Any]],
) -> None:
    documented = [route for route in ROUTES if route.in_document]
    assert {(route.method, route.path) for route in documented} == set(told)
    for route in documented:
        operation = told[route.method, route.path]
        callers, refusals = PROOFS[route.proof]
        also_by_form: list[dict[str, list[str]]] = [{}] if route.name == "GetUserInfoByForm" else []
        assert operation["security"] == [*callers, *also_by_form], route.name
        assert refusals <= set(operation["responses"]), route.name


def test_only_the_token_endpoint_has_no_401_for_clients(told: dict[tuple[str, str], dict[str, Any]]) -> None:
    for route in ROUTES:
        if route.proof == "client":
            answers = set(told[route.method, route.path]["responses"])
            assert ("401" in answers) is (route.path not in TOKEN_PATHS)


def test_a_route_with_two_paths_is_told_twice_under_two_names(
    told: dict[tuple[str, str], dict[str, Any]],
) -> None:
    first, second = (told["POST", path] for path in TOKEN_PATHS)
    assert first.pop("operationId") != second.pop("operationId")
    assert first == second


def test_every_endpoint_of_the_metadata_is_served_and_programs_endpoints_are_documented(
    document: dict[str, Any],
) -> None:
    metadata = metadata_of(issuer())
    programs = [
        metadata.token_endpoint,
        metadata.userinfo_endpoint,
        metadata.revocation_endpoint,
        metadata.introspection_endpoint,
        metadata.jwks_uri,
    ]
    assert {address.removeprefix(issuer().url) for address in programs} <= set(document["paths"])


def test_every_field_of_every_form_says_what_it_means(document: dict[str, Any]) -> None:
    forms = {name: one for name, one in document["components"]["schemas"].items() if name.endswith("Form")}
    assert {"TokenForm", "RevocationForm", "IntrospectionForm", "UserInfoForm"} <= set(forms)
    for form in forms.values():
        assert all(field["description"] for field in form["properties"].values())


def test_every_grant_has_an_example_and_examples_hold_known_fields_only(
    document: dict[str, Any], told: dict[tuple[str, str], dict[str, Any]]
) -> None:
    schema = form_of(document, told["POST", "/oauth/token"])
    examples = told["POST", "/oauth/token"]["requestBody"]["content"][FORM]["examples"].values()
    assert {example["value"]["grant_type"] for example in examples} == set(GRANT_TYPES)
    for operation in told.values():
        if "requestBody" in operation:
            schema = form_of(document, operation)
            for example in operation["requestBody"]["content"][FORM]["examples"].values():
                assert set(example["value"]) <= set(schema["properties"])


def test_the_examples_code_verifier_fits_its_challenge() -> None:
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == CHALLENGE


def test_every_scope_is_explained(document: dict[str, Any]) -> None:
    flows = document["components"]["securitySchemes"]["oauth2"]["flows"]
    assert set(flows) == {"authorizationCode", "clientCredentials"}
    assert all(flow["scopes"] == SCOPES for flow in flows.values())


def test_every_refusal_is_an_oauth_error_and_401_has_a_challenge(document: dict[str, Any]) -> None:
    told = document["components"]["responses"]
    for name, response in told.items():
        if "application/json" in response.get("content", {}):
            content = response["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/OAuthError"}, name
    for _, _, operation in walked(document):
        for status, answer in operation["responses"].items():
            if status == "401":
                name = answer["$ref"].rpartition("/")[2]
                assert "WWW-Authenticate" in told[name]["headers"]


def test_no_reference_leads_nowhere(document: dict[str, Any]) -> None:
    for node in nodes(document):
        if isinstance(node.get("$ref"), str):
            kind, name = node["$ref"].removeprefix("#/components/").split("/")
            assert name in document["components"][kind]
