"""The dialect's routes as the application itself tells them, and a body for each that takes one."""

from tests.maestro.routes import Route, account_routes

# By the models that routes say they read; a route whose model is not listed here fails the tests that send one.
BODIES = {
    "SignalRequest": b'{"SignalKey": "goods.goods.arrived", "Data": {"a": 1}}',
    "RestartRequest": b'{"Version": 1}',
    "DefinitionCreateRequest": b'{"DisplayName": "test", "Key": "1", "WorkflowType": "Enrollment"}',
    "DefinitionUpdateRequest": b'{"DisplayName": "test"}',
    "DefinitionStepRequests": b'[{"ExtensionName": "UpdateMetadata", "UniqueName": "One", "Outputs": {},'
    b' "ConfigurationParameters": {"Name": "a", "Value": "b"}}]',
    "DefinitionEnabled": b"true",
}
ROUTES = account_routes("keyfactor")
WITH_BODY = [route for route in ROUTES if route.model]
LISTS = [route for route in ROUTES if any(name.endswith("queryString") for name in route.query)]


def body_of(route: Route) -> bytes:
    """A body that is well-formed, where the route reads one."""
    return BODIES[route.model] if route.model else b""
