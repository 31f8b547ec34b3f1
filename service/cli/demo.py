"""The verb that loads the demo data."""

import asyncio

import msgspec
import rich_click as click
from rich.text import Text

from service import demo as demo_data
from service.cli.database import perform, server
from service.cli.terminal import json_option, show
from service.cli.verbs import Verb
from service.language.sandbox import Sandbox
from service.settings import settings
from tenancy.schema import migrate


@click.command(cls=Verb)
@json_option
def demo(*, as_json: bool) -> None:
    """Load the demo data: two accounts, people, published workflows; safe to run again."""

    async def work() -> demo_data.Demo:
        async with Sandbox(1) as sandbox:
            return await demo_data.load(sandbox)

    with server():
        asyncio.run(migrate(settings().database))
        made = perform(work)
    show(msgspec.to_builtins(made), demo_lines(made), as_json=as_json)


def demo_lines(made: demo_data.Demo) -> list[str | Text]:
    """Tell a newcomer what there is and what to paste."""
    url, account_id = settings().public_url, made.accounts["Acme"]
    quote = made.workflows["Price a quote"]
    workflow_url = f"{url}/v1/accounts/{account_id}/workflows/{quote}"
    return [
        Text("Accounts", "bold"),
        *(f"  {name:<8} {identifier}" for name, identifier in made.accounts.items()),
        Text("Workflows of Acme", "bold"),
        *(f"  {title:<20} {identifier}" for title, identifier in made.workflows.items()),
        Text.assemble(
            ("Token", "bold"), f" of Ada Lovelace, administrator of Acme, for {made.expires_in // 3600} hours"
        ),
        f"  {made.access_token}",
        Text.assemble(("Log-in", "bold"), f" of {made.email}"),
        f"  password {made.password} (not shown again)"
        if made.password
        else f"  password as before; another: tutti user set-password {made.email}",
        Text("Clients of Acme", "bold"),
        f"  Acme's app    {made.public_client_id} (public, PKCE)",
        f"  Acme's robot  {made.machine_client_id} (machine)",
        f"    secret {made.machine_client_secret} (not shown again)"
        if made.machine_client_secret
        else f"    secret as before; another: tutti client rotate-secret {made.machine_client_id} --account {account_id}",
        "",
        Text("curl", "bold"),
        f"  curl -s {workflow_url}/actions/trigger \\",
        f"    -H 'Authorization: Bearer {made.access_token}' -H 'Content-Type: application/json' \\",
        """    -d '{"instance_name": "First", "trigger_inputs": {"customer": "Ada", "lines": [{"price": 1200}]}}'""",
        f"  curl -s {workflow_url}/instances -H 'Authorization: Bearer {made.access_token}'",
        "",
        Text.assemble(("SDK", "bold"), " (TypeScript: npm install @docusign/iam-sdk)"),
        '  import { IamClient } from "@docusign/iam-sdk";',
        f'  const client = new IamClient({{ serverURL: "{url}", accessToken: "{made.access_token}" }});',
        f'  const started = await client.maestro.workflows.triggerWorkflow({{ accountId: "{account_id}", workflowId: "{quote}",',
        '    triggerWorkflow: { instanceName: "First", triggerInputs: { customer: "Ada", lines: [{ price: 1200 }] } } });',
        "",
    ]
