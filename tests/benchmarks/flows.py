"""Running, reading and listing by the Formance dialect: beside a bare handler, and beside the same by Maestro's."""

from uuid import UUID

import msgspec

from auth.clients import issue_token
from service.formance.requests import READ, WRITE
from service.formance.stages import compiled
from service.language.sandbox import Sandbox
from tenancy.postgres import pool
from tests.benchmarks.load import asked
from tests.benchmarks.subjects import Bench, cycled
from tests.world import LIFE, Tenant

HERE = "/api/orchestration/v2"
STAGES = {"name": "bench", "stages": [{"noop": {}}]}
# What each is held against: the bare handler's rate, and that of the other dialect.
PAIRS = {
    f"{name}, Formance / {other}": (f"{name}, Formance", f"{name}, {other}")
    for name in ("get instance", "list 50 instances", "run")
    for other in ("bare", "Maestro")
}


class Flow(msgspec.Struct, frozen=True):
    """A workflow of one stage that does nothing, and who may do all in either dialect."""

    workflow_id: UUID
    token: str


async def prepare_flow(of: Tenant) -> Flow:
    """Store the workflow, and let the administrator in."""
    async with pool(4), Sandbox(1) as of.sandbox:
        workflow_id = await of.publish(compiled(STAGES))
        return Flow(workflow_id, await issue_token(of.id, ("user", of.admin_id), (READ, WRITE), LIFE))


async def measure_flows(bench: Bench, large: Tenant, known: list[UUID]) -> None:
    """Ask for the same things by both dialects."""
    flow = await prepare_flow(large)
    chosen = bench.random.sample(known, min(len(known), 5000))
    waiting = large.workflow_url("waiting")
    await bench.compare(
        {
            "get instance, bare": cycled([asked("GET", f"/bare/instances/{one}") for one in chosen]),
            "get instance, Maestro": cycled(
                [asked("GET", f"{waiting}/instances/{one}", large.admin) for one in chosen]
            ),
            "get instance, Formance": cycled(
                [asked("GET", f"{HERE}/instances/{one}", flow.token) for one in chosen]
            ),
        }
    )
    workflow_id = large.workflows["waiting"]
    page = f"{HERE}/instances?workflowID={workflow_id}&pageSize=50"
    await bench.compare(
        {
            "list 50 instances, bare": cycled([asked("GET", f"/bare/workflows/{workflow_id}/instances")]),
            "list 50 instances, Maestro": cycled(
                [asked("GET", f"{waiting}/instances?page_size=50", large.admin)]
            ),
            "list 50 instances, Formance": cycled([asked("GET", page, flow.token)]),
        }
    )
    triggered = b'{"instance_name": "bench", "trigger_inputs": {"who": "Ada"}}'
    await bench.compare(
        {
            "run, bare": cycled([asked("POST", "/bare/instances")]),
            "run, Maestro": cycled(
                [
                    asked(
                        "POST",
                        f"{large.url}/workflows/{flow.workflow_id}/actions/trigger",
                        large.admin,
                        triggered,
                    )
                ]
            ),
            "run, Formance": cycled(
                [
                    asked(
                        "POST",
                        f"{HERE}/workflows/{flow.workflow_id}/instances",
                        flow.token,
                        b'{"who": "Ada"}',
                    )
                ]
            ),
        }
    )
