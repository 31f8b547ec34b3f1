"""The routes of an account's settings and limits, which the vendor's API lacks; for its administrators."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, get, patch
from litestar.params import FromPath, JSONBody

from service.maestro import account_models as models
from service.maestro.errors import credential
from service.maestro.requests import ADMINISTERED, JSON, metadata
from service.operations import account_settings, limits
from service.operations.account_settings import Changes


class SettingsController(Controller):
    """What an account's administrators set, and what its operator has limited it to."""

    path = "/v1/accounts/{accountId:str}"
    tags = ("Account",)
    opt = ADMINISTERED

    @get("/settings", operation_id="getAccountSettings")
    async def get_account_settings(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
    ) -> models.AccountSettings:
        """Read the account's settings."""
        found = await account_settings.get(credential(request, accountId))
        return models.account_settings(found, metadata(request))

    @patch("/settings", operation_id="changeAccountSettings", opt={"media_type": JSON}, status_code=200)
    async def change_account_settings(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        data: JSONBody[models.ChangeAccountSettings],
    ) -> models.AccountSettings:
        """Change the account's settings; what they keep no longer is removed soon, for good."""
        changes = Changes(**msgspec.structs.asdict(data))
        changed = await account_settings.change(credential(request, accountId), changes)
        return models.account_settings(changed, metadata(request))

    @get("/limits", operation_id="getAccountLimits")
    async def get_account_limits(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
    ) -> models.AccountLimits:
        """Read what the operator of the service has limited the account to, and how much of it is used."""
        found = await limits.get(credential(request, accountId))
        return models.account_limits(str(accountId), found, metadata(request))
