"""Every paged list of the API, with every filter, as its OpenAPI document tells: a new one is covered, or fails for want of a value.

A list is an operation that takes `ctoken`. Its cases are the list itself, each filter alone with each of its values, and each two
filters together; of a search, whose filters are many, the pairs are left to its time limit.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any

import msgspec

DOCUMENT = Path(__file__).parents[2] / "openapi" / "maestro.json"
PAGING = {"page_size", "ctoken"}
SEARCH = "searchWorkflowInstances"

Query = tuple[tuple[str, str], ...]


class Case(msgspec.Struct, frozen=True):
    """One list as it is asked for; `{}` in path and query name what `filled_in` fills in."""

    operation: str
    path: str
    query: Query

    @property
    def name(self) -> str:
        """What it is called in a report."""
        of = self.path.rpartition("/workflows/")[2] if self.path.endswith("/instances") else ""
        return " ".join(
            [self.operation, *([of] if of else []), *(f"{name}={value}" for name, value in self.query)]
        )

    def filled_in(self, known: Mapping[str, str]) -> tuple[str, list[tuple[str, str]]]:
        """Write its path and query for an account."""
        return self.path.format(**known), [(name, value.format(**known)) for name, value in self.query]


# What filters without an enumeration are asked for: some that many rows meet, and some that few or none do along with others.
# Several values in one are several parameters of that name.
VALUES: dict[str, tuple[str, ...]] = {
    "started_by_id": ("{starter}", "{waiting_starter}", "{completing_starter}"),
    "workflow_id": ("{workflow}", "{waiting_workflow}", "{completing_workflow}"),
    "workflow_definition_id": (
        "{workflow}",
        "{completing_workflow}",
        "{waiting_workflow} {completing_workflow}",
    ),
    "role": ("admin", "viewer"),
    "instance_id": ("{instance}", "{long_instance}"),
    "due_before": ("{end}",),
    "version": ("1.1.0",),
    "name_prefix": ("Invoice",),
    "name_contains": ("voice 0",),
    "started_from": ("{middle}",),
    "started_to": ("{middle}",),
    "ended_from": ("{middle}",),
    "ended_to": ("{middle}",),
    "modified_from": ("{middle}",),
    "modified_to": ("{middle}",),
    "tag": ("team:3", "vip", "team:3 vip"),
    "input": ("region:eu", "customer:7", "region:eu gift:true"),
    "failed_task": ("charge",),
    "actor_id": ("{starter}", "{waiting_starter}"),
    "type": ("instance.completed", "client.created"),
    "subject_kind": ("instance", "webhook", "work_item"),
    "from": ("{middle}",),
    "to": ("{middle}",),
    "request_id": ("{request}",),
}
# What makes sense with another filter alone, and these with it.
SUBJECTS = {
    "subject_id": (
        (("subject_kind", "instance"), ("subject_id", "{long_instance}")),
        (("subject_kind", "webhook"), ("subject_id", "{webhook}")),
        (("subject_kind", "work_item"), ("subject_id", "{long_work_item}")),
        (("subject_kind", "secret"), ("subject_id", "key")),
    )
}
# What stands in a path: the things with the most in them, and for the list of a workflow each kind of workflow.
IN_PATH = {
    "{instanceId}": ("{long_instance}",),
    "{workItemId}": ("{long_work_item}",),
    "{webhookId}": ("{webhook}",),
    "{workflowId}/instances/{instanceId}": ("{of_long_instance}/instances/{long_instance}",),
    "{workflowId}": VALUES["workflow_id"],
}


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter, as the document tells it."""

    name: str
    location: str = msgspec.field(name="in")
    schema: dict[str, Any] = {}

    @property
    def values(self) -> tuple[str, ...]:
        """What it is asked for; each of an enumeration."""
        enumerated = self.schema.get("enum") or self.schema.get("items", {}).get("enum")
        if enumerated:
            return tuple(enumerated)
        assert self.name in VALUES, f"{self.name} is a filter that has no values here: see VALUES"
        return VALUES[self.name]


class Listed(msgspec.Struct, frozen=True):
    """A list: its operation, path and filters."""

    operation: str
    path: str
    filters: tuple[Parameter, ...]


def lists() -> Iterator[Listed]:
    """Find the lists."""
    for path, methods in msgspec.json.decode(DOCUMENT.read_bytes())["paths"].items():
        parameters = msgspec.convert(methods.get("get", {}).get("parameters", []), list[Parameter])
        if any(one.name == "ctoken" for one in parameters):
            filters = tuple(one for one in parameters if one.location == "query" and one.name not in PAGING)
            yield Listed(methods["get"]["operationId"], path, filters)


def cases(*, pairs: bool = True) -> list[Case]:
    """Write down every list with every filter."""
    return [
        Case(one.operation, path, query)
        for one in lists()
        for path in paths(one.path)
        for query in queries(one, pairs=pairs and one.operation != SEARCH)
    ]


def paths(path: str) -> list[str]:
    """Write the paths at which a list is asked for."""
    for place in sorted(IN_PATH, key=len, reverse=True):
        if place in path:
            return [path.replace(place, value) for value in IN_PATH[place]]
    return [path]


def queries(one: Listed, *, pairs: bool) -> Iterator[Query]:
    """Write a list's queries."""
    yield ()
    values = {parameter.name: parameter.values for parameter in one.filters if parameter.name not in SUBJECTS}
    for parameter in one.filters:
        yield from (
            SUBJECTS.get(parameter.name) or [given(parameter.name, value) for value in parameter.values]
        )
    if pairs:
        for first, second in combinations(values, 2):
            for together in product(values[first], values[second]):
                yield given(first, together[0]) + given(second, together[1])


def given(name: str, value: str) -> Query:
    """Write one filter."""
    return tuple((name, one) for one in (value.split(" ") if name in REPEATED else [value]))


REPEATED = {"workflow_definition_id", "tag", "input"}
