"""The stage `update`: metadata of an account of a ledger."""

from typing import Any

from service.formance.stages.steps import Steps
from service.formance.stages.values import Fields
from service.formance.stages.waiting import resolve


def update(fields: Fields) -> list[dict[str, Any]]:
    """Set metadata of an account, the only thing that can be updated."""
    if fields.one_of("account") is None:
        return []
    account = fields.inner("account")
    if account.given.get("metadata") is None:
        account.refuse("metadata", "is missing.")
    stage = {
        "account": {
            "id": account.text("id", required=True, segment=True),
            "ledger": account.text("ledger", "main", segment=True),
            "metadata": account.texts("metadata"),
        }
    }
    steps = Steps(fields.stage, resolve(stage))
    given = "$context.stage.account | {id, account: .id, ledger, metadata}"
    steps.call("update-account", "AddAccountMetadata", given)
    return steps.tasks
