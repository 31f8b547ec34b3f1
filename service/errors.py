"""The refusals of workflows and instances, below those of `tenancy.errors`, which draws the upper tree.

BadRequest
├── DefinitionRefused     a document is not a valid definition: one entry per problem, each with a JSON Pointer
├── InputsRefused         trigger inputs do not fit the definition's input schema: one entry per field
├── AnswerRefused         an answer does not fit its work item: one entry per field
├── NotTriggerable        the workflow is not published or archived
│   └── WorkflowPaused    the workflow is paused; a dialect may say it as a conflict
├── SearchTooBroad        a search that took too long
└── PageTokenRefused      a ctoken that is not ours, or of another account or filter
Refusal
├── KeyReused             an Idempotency-Key that came before, with another body
├── LimitReached          429: a limit of the account's; errors says which, `retry_after` for how many seconds
├── TooManyFollowersOfAccount  429: streams or waits of one account; `retry_after` says for how many seconds
├── TooManyFollowers      503: streams or waits of one process; likewise
└── InternalError         500: a fault of ours
Conflict
├── WorkflowConflict      publish, pause, resume, archive, replace in a state that does not allow it
├── InstanceConflict      cancel or signal on an instance that has ended
│   └── StateRefused      the same, for dialects that have their own words for statuses
├── BulkActionConflict    one bulk action too many, or one that has ended
├── MemberConflict        the last active admin, one invitation too many, somebody who is a member or invited already
├── IntegrationConflict   one integration too many
├── WorkItemConflict      an answer to a work item that is not open any more
└── WebhookConflict       one endpoint too many, one that is disabled, no key to keep its secret by
"""

from collections.abc import Iterable
from uuid import UUID

from service.language.errors import Problem
from tenancy.errors import BadRequest, Conflict, FieldError, Refusal


class DefinitionRefused(BadRequest):
    """The document is not a valid workflow definition; errors names every problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__(errors=tuple(FieldError(one.code, one.message, one.pointer) for one in problems))


class InputsRefused(BadRequest):
    """The trigger inputs do not fit the workflow's input schema; errors names every field."""


class AnswerRefused(BadRequest):
    """The answer does not fit the work item; errors names every field."""


class NotTriggerable(BadRequest):
    """The workflow cannot be triggered now."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, errors=(FieldError(code, message),))


class WorkflowPaused(NotTriggerable):
    """The workflow is paused; resume it to start new instances."""

    def __init__(self) -> None:
        super().__init__("WORKFLOW_PAUSED", (self.__doc__ or ""))


class PageTokenRefused(BadRequest):
    """The ctoken does not belong to this list and these filters; start again without one."""

    def __init__(self) -> None:
        super().__init__(errors=(FieldError("PAGE_TOKEN_INVALID", (self.__doc__ or ""), "ctoken"),))


class SearchTooBroad(BadRequest):
    """The search took too long; narrow it by started_from, workflow_id, status or name_prefix, and try again."""

    def __init__(self, seconds: int, advice: str | None = None) -> None:
        advice = advice or (
            "Narrow it: by started_from and started_to, workflow_id, status or name_prefix; or sort by what it is narrowed by."
        )
        advice = f"The search took longer than {seconds} seconds. {advice}"
        super().__init__(advice, errors=(FieldError("SEARCH_TOO_BROAD", advice),))


class KeyReused(Refusal):
    """The Idempotency-Key came before with another body; send the same body again, or a new key."""

    status = 422
    title = "Unprocessable Content"

    def __init__(self) -> None:
        super().__init__(
            errors=(FieldError("IDEMPOTENCY_KEY_REUSED", (self.__doc__ or ""), "Idempotency-Key"),)
        )


class LimitReached(Refusal):
    """A limit of the account is reached: requests a second, running instances or stored bytes; errors says which."""

    status = 429
    title = "Too Many Requests"

    def __init__(self, code: str = "LIMIT_REACHED", message: str | None = None, retry_after: int = 1) -> None:
        super().__init__(message)
        self.errors = (FieldError(code, self.detail),)
        self.retry_after = retry_after


class TooManyFollowersOfAccount(Refusal):
    """The account has as many open streams or waits as it may have; end some first."""

    status = 429
    title = "Too Many Requests"
    retry_after = 5


class TooManyFollowers(Refusal):
    """The service has as many open streams or waits as it can hold; try again in a moment."""

    status = 503
    title = "Service Unavailable"
    retry_after = 5


class InternalError(Refusal):
    """An unexpected error occurred on the server."""

    status = 500
    title = "Internal Server Error"


class WorkflowConflict(Conflict):
    """The workflow's present state does not allow it."""


class InstanceConflict(Conflict):
    """The instance has ended."""


class StateRefused(InstanceConflict):
    """The instance's present state does not allow it.

    `present` is its status in the engine, `restarted_as` the instance that runs again in its place, if one does.
    """

    def __init__(self, status: str, restarted_as: UUID | None = None) -> None:
        super().__init__(f"The instance is {status}, which does not allow it.")
        self.present = str(status)
        self.restarted_as = restarted_as


class BulkActionConflict(Conflict):
    """The bulk action's present state does not allow it."""


class WorkItemConflict(Conflict):
    """The work item is not open any more."""


class MemberConflict(Conflict):
    """The present state of the account's members does not allow it."""


class IntegrationConflict(Conflict):
    """The account's integrations do not allow it."""


class WebhookConflict(Conflict):
    """The webhook's present state does not allow it."""
