"""The dialect's routes as the application itself tells them, and a body for each that takes one."""

from tests.maestro.routes import Route, account_routes

# By the models that routes say they read; a route whose model is not listed here fails the tests that send one.
BODIES = {
    "WorkflowConfig": b'{"name": "test", "stages": [{"wait_event": {"event": "test"}}]}',
    "Variables": b'{"who": "test"}',
    "InstanceEvent": b'{"name": "test"}',
    "TriggerData": b'{"event": "test", "workflowID": "0190f3b4-6a0c-7c3e-9a55-3f8f2d6b1c01"}',
    "EventPayload": b'{"amount": 1}',
}
ROUTES = account_routes("formance")
WITH_BODY = [route for route in ROUTES if route.model]
PAGED = [route for route in ROUTES if "cursor" in route.query]


def body_of(route: Route) -> bytes:
    """A body that is well-formed, where the route reads one."""
    return BODIES[route.model] if route.model else b""
