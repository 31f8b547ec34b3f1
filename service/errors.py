"""The refusals of workflows and instances, below those of `tenancy.errors`, which draws the upper tree.

BadRequest
├── DefinitionRefused     a document is not a valid definition: one entry per problem, each with a JSON Pointer
├── InputsRefused         trigger inputs do not fit the definition's input schema: one entry per field
├── AnswerRefused         an answer does not fit its work item: one entry per field
├── NotTriggerable        the workflow is not published or archived
│   └── WorkflowPaused    the workflow is paused; a dialect may say it as a conflict
└── PageTokenRefused      a ctoken that is not ours, or of another account or filter
Conflict
├── WorkflowConflict      publish, pause, resume, archive, replace in a state that does not allow it
├── InstanceConflict      cancel or signal on an instance that has ended
└── WorkItemConflict      an answer to a work item that is not open any more
"""

from collections.abc import Iterable

from service.language.errors import Problem
from tenancy.errors import BadRequest, Conflict, FieldError


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


class WorkflowConflict(Conflict):
    """The workflow's present state does not allow it."""


class InstanceConflict(Conflict):
    """The instance has ended."""


class WorkItemConflict(Conflict):
    """The work item is not open any more."""
