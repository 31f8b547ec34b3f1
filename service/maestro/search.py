"""The route that searches instances, which the vendor's API lacks; its list of the account keeps the vendor's words."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get
from litestar.exceptions import ValidationException
from litestar.params import FromPath, QueryParameter

from service.language.values import flaw
from service.maestro import models
from service.maestro.errors import credential
from service.maestro.requests import PAGE_SIZE, READING, PageSize, metadata, paged
from service.operations import search
from service.operations.search import LONGEST_TOKEN, STATES, Range, Search, Sort, State

MOST = 20  # values of one parameter
LONGEST = 255  # characters of a value
QUERY = (
    *("status", "workflow_id", "version", "name_prefix", "name_contains", "started_from", "started_to"),
    *(
        "ended_from",
        "ended_to",
        "modified_from",
        "modified_to",
        "started_by_id",
        "tag",
        "input",
        "failed_task",
    ),
    *("sort", "page_size", "ctoken"),
)
REPEATABLE = ("status", "workflow_id", "tag", "input")

Value = TypeVar("Value")
Moment = Annotated[datetime | None, QueryParameter(description="RFC 3339, with its time zone")]


def text(description: str) -> Any:
    """A parameter that is a text."""
    return QueryParameter(min_length=1, max_length=LONGEST, description=description)


class SearchController(Controller):
    """Instances of the whole account, by whatever is known of them."""

    path = "/v1/accounts/{accountId:str}/workflow-instances/search"
    tags = ("Workflow Instances",)
    opt = READING

    @get("/", operation_id="searchWorkflowInstances", opt={"query": QUERY, "repeatable": REPEATABLE})
    async def search_workflow_instances(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        status: Annotated[
            list[State] | None,
            QueryParameter(max_items=len(STATES), description="of any of these statuses; may be repeated"),
        ] = None,
        workflow_id: Annotated[
            list[UUID] | None,
            QueryParameter(max_items=100, description="of any of these workflows; may be repeated"),
        ] = None,
        version: Annotated[str | None, text("of this version of their workflow")] = None,
        name_prefix: Annotated[str | None, text("whose name begins so, in this case")] = None,
        name_contains: Annotated[str | None, text("whose name has this in it, in any case")] = None,
        started_from: Moment = None,
        started_to: Moment = None,
        ended_from: Moment = None,
        ended_to: Moment = None,
        modified_from: Moment = None,
        modified_to: Moment = None,
        started_by_id: Annotated[
            UUID | None, QueryParameter(description="id of the user or client that started them")
        ] = None,
        tag: Annotated[
            list[str] | None,
            QueryParameter(max_items=MOST, description="with all of these tags; may be repeated"),
        ] = None,
        input: Annotated[  # noqa: A002 - the parameter's name
            list[str] | None,
            QueryParameter(
                max_items=MOST,
                description="with this trigger input, as name:value; a number, true, false or else a text, in quotes where it"
                ' looks like one of those (`customer:42`, `customer:"42"`); with all of them where repeated',
            ),
        ] = None,
        failed_task: Annotated[str | None, text("that failed, and in which a task of this name did")] = None,
        sort: Annotated[
            Sort | None, QueryParameter(description="what the order goes by, - for the greatest first")
        ] = None,
        page_size: PageSize = None,
        ctoken: Annotated[
            str | None,
            QueryParameter(
                max_length=LONGEST_TOKEN,
                description="where to go on: the token of the page before; absent for the first",
            ),
        ] = None,
    ) -> Response[models.WorkflowInstanceCollection]:
        """Find instances that fit all of what is given, the last started first, 50 to a page.

        From the first moment of a range on, and before its second. A sender finds the instances they started. A search has
        3 seconds; one that takes longer is refused, and says how to narrow it.
        """
        asked = Search(
            statuses=tuple(dict.fromkeys(status or ())),
            workflow_ids=tuple(dict.fromkeys(workflow_id or ())),
            version=storable("version", version),
            name_prefix=storable("name_prefix", name_prefix),
            name_contains=storable("name_contains", name_contains),
            started=period("started", started_from, started_to),
            ended=period("ended", ended_from, ended_to),
            modified=period("modified", modified_from, modified_to),
            started_by=started_by_id,
            tags=tuple(value for value in map(storable, ["tag"] * MOST, tag or ()) if value),
            inputs=inputs_in(input or ()),
            failed_task=storable("failed_task", failed_task),
            sort=sort or "-started_at",
        )
        page = await search.get_page(credential(request, accountId), asked, page_size or PAGE_SIZE, ctoken)
        data = [models.instance(row) for row in page.rows]
        content = models.WorkflowInstanceCollection(data=data, response_metadata=metadata(request, page))
        return paged(request, content, page)


def wrong(parameter: str, rule: str) -> ValidationException:
    """Say what is wrong with a parameter."""
    return ValidationException("Malformed parameter.", extra=[{"message": rule, "key": parameter}])


def storable(parameter: str, value: str | None) -> str | None:
    """Return a text that could have been stored.

    Raises:
        ValidationException: no stored text holds such characters.
    """
    reason = flaw(value)
    if reason is not None:
        raise wrong(parameter, reason)
    return value


def period(name: str, start: datetime | None, end: datetime | None) -> Range:
    """Read a range of time.

    Raises:
        ValidationException: a moment without a time zone, or outside of the calendar in UTC.
    """
    return Range(moment(f"{name}_from", start), moment(f"{name}_to", end))


def moment(parameter: str, value: datetime | None) -> datetime | None:
    """Bring a moment to UTC."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise wrong(parameter, "needs a time zone, such as Z")
    try:
        return value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong(parameter, "lies outside of the calendar") from None


def inputs_in(given: Iterable[str]) -> dict[str, str | int | float | bool]:
    """Read trigger inputs, each as name:value.

    Raises:
        ValidationException: one has no name or value, or two have the same name.
    """
    found: dict[str, str | int | float | bool] = {}
    for one in given:
        name, colon, value = one.partition(":")
        storable("input", one)
        if not name or not colon or len(one) > 2 * LONGEST:
            raise wrong("input", f"is name:value, at most {2 * LONGEST} characters")
        if name in found:
            raise wrong("input", f"has {name} twice")
        read = found[name] = scalar(value)
        if isinstance(read, str):
            storable("input", read)
    return found


def scalar(value: str) -> str | int | float | bool:
    """Read a value as JSON's number, true, false or quoted text, and anything else as the text that it is."""
    try:
        return msgspec.json.decode(value, type=str | int | float | bool)
    except msgspec.DecodeError:
        return value
