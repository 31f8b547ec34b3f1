"""From the value of a document to a typed definition, or to everything that is wrong with it (contract 1).

`read` makes a `Definition` of the value, and `check` adds what only the sandbox can tell: whether each expression and each
schema compile. Here are the workflow's own fields; the modules that read the kinds of tasks are in `_WORKS`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from service.language import calls, catching, listening, schedules, steps
from service.language.authentication import own_policy
from service.language.document import Checked, Definition, DocumentRefused, Schedule, in_order
from service.language.errors import below
from service.language.expressions import Expression
from service.language.fields import BEFORE_BODY, WORKFLOW_INPUT, WORKFLOW_OUTPUT
from service.language.labels import LABEL, LABEL_RULE, SEMANTIC_VERSION, VERSION_RULE
from service.language.tasks import TaskReader, WorkReader
from service.language.values import inspected

_ROOT = ("document", "input", "use", "do", "timeout", "output", "schedule", "evaluate", "$schema")
VERSION_LIMIT = 128  # characters; versions stand in unique keys
TITLE_LIMIT = 255  # characters; lists show titles
SECRET_LIMIT = 100
SECRET_NAME_LIMIT = 128  # characters
BAD_SCHEMA_LIMIT = 10  # after so many no more are checked: one that is refused may have cost a second
_HEADER = ("dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata")
_USE = (
    "authentications",
    "errors",
    "functions",
    "retries",
    "secrets",
    "timeouts",
    "extensions",
    "catalogs",
)
_WORKS: Mapping[str, WorkReader] = {
    "call": calls.call,
    "for": steps.loop,
    "do": steps.do,
    "emit": steps.emit,
    "fork": steps.fork,
    "listen": listening.listen,
    "raise": steps.throw,
    "run": calls.run,
    "set": steps.assign,
    "switch": steps.switch,
    "try": catching.attempt,
    "wait": steps.wait,
}
# Where the variables are that few places have; the compiler only knows that they are not there.
_ELSEWHERE = {
    "$secrets is not": ". Secrets are there in `with` and `input.from` of `call: http` and in authentication fields.",
    "$authorization is not": ". It is there in `with` of `call: http`.",
}


class Compiler(Protocol):
    """What `check` needs of the sandbox."""

    async def compile(self, account_id: UUID, expressions: Sequence[Expression], /) -> list[str | None]:
        """What is wrong with each expression, with its line and column, or None."""
        ...

    async def check_schema(self, account_id: UUID, schema: Any, /) -> str | None:
        """What is wrong with a JSON Schema, or None."""
        ...


def read(document: Any) -> Definition:
    """The definition, or `DocumentRefused` with every structural problem; whether its jq compiles `check` tells."""
    reader = _WorkflowReader(inspected(document, "bad_format"))
    if reader.problems:
        raise DocumentRefused(reader.problems)
    return reader.definition


async def check(document: Any, sandbox: Compiler, account_id: UUID) -> Checked:
    """Everything wrong with the document at once: its structure, its expressions and its schemas."""
    try:
        reader = _WorkflowReader(inspected(document, "bad_format"))
    except DocumentRefused as refused:
        return Checked(None, refused.problems, [])
    compiled = await sandbox.compile(account_id, [one for _, one in reader.expressions])
    for (pointer, _), message in zip(reader.expressions, compiled, strict=True):
        if message is not None:
            hint = next((words for name, words in _ELSEWHERE.items() if name in message), "")
            reader.refuse("bad_expression", message + hint, pointer)
    await _check_schemas(reader, sandbox, account_id)
    return Checked(
        None if reader.problems else reader.definition,
        in_order(reader.problems),
        in_order(reader.warnings),
    )


async def _check_schemas(reader: "_WorkflowReader", sandbox: Compiler, account_id: UUID) -> None:
    bad = 0
    for pointer, schema in reader.schemas:
        message = await sandbox.check_schema(account_id, schema)
        if message is not None:
            reader.refuse("bad_schema", message, pointer)
            bad += 1
        if bad == BAD_SCHEMA_LIMIT:
            return


class _WorkflowReader(TaskReader):
    """One walk through a whole document."""

    def __init__(self, document: Any) -> None:
        super().__init__(_WORKS)
        self.definition = self._definition(document)
        self.resolve_jumps()

    def _definition(self, document: Any) -> Definition:
        root = self.closed(document, "", _ROOT, ("document", "do"))
        header = self._header(root["document"]) if "document" in root else {}
        self.identity = (header.get("namespace"), header.get("name"))
        self._use(root.get("use", {}))
        self._evaluate(root)
        entry = self.closed(root.get("input", {}), "/input", ("schema", "from"))
        input_schema = self.schema(entry, "/input")
        tasks = self.tasks(root["do"], "/do") if "do" in root else ()
        timeout = self.timeout(root, "", WORKFLOW_INPUT)
        self._rest()
        return Definition(
            namespace=header.get("namespace") or "",
            name=header.get("name") or "",
            version=header.get("version") or "",
            title=header.get("title"),
            summary=header.get("summary"),
            tags=header.get("tags", {}),
            metadata=header.get("metadata", {}),
            input_schema=input_schema,
            input_from=self.projection(entry, "from", "/input", WORKFLOW_INPUT),
            tasks=tasks,
            timeout=timeout,
            document=root,
            secrets=self.secrets,
            schedule=self._schedule(root, input_schema),
            **self.result(root, "output", "", WORKFLOW_OUTPUT),
        )

    def _schedule(self, root: Mapping[str, Any], input_schema: Any) -> Schedule | None:
        if "schedule" not in root:
            return None
        schedule = schedules.schedule(self, root["schedule"])
        if schedule is not None:
            schedules.warn_of_inputs(self, input_schema, schedule)
        return schedule

    def _header(self, value: Any) -> dict[str, Any]:
        at = "/document"
        fields = self.closed(value, at, _HEADER, ("dsl", "namespace", "name", "version"))
        semantic = (SEMANTIC_VERSION, VERSION_RULE)
        language = self.text(fields, "dsl", at, semantic)
        if language and SEMANTIC_VERSION.fullmatch(language) and not re.fullmatch(r"1\.0\.[0-9]+", language):
            self.refuse(
                "unsupported_dsl", "The versions of the language are 1.0.n, for example 1.0.3.", at + "/dsl"
            )
        for name, most in (("version", VERSION_LIMIT), ("title", TITLE_LIMIT)):
            if isinstance(fields.get(name), str) and len(fields[name]) > most:
                self.refuse("bad_format", f"`{name}` has at most {most} characters.", below(at, name))
        label = (LABEL, LABEL_RULE)
        tags = self.object(fields, "tags", at)
        for name, tag in tags.items():
            if not isinstance(tag, str | int | float):
                message = "A tag is a string, a number or a boolean."
                self.refuse("wrong_type", message, below(at, "tags", name))
        return {
            "namespace": self.text(fields, "namespace", at, label),
            "name": self.text(fields, "name", at, label),
            "version": self.text(fields, "version", at, semantic),
            "title": self.text(fields, "title", at),
            "summary": self.text(fields, "summary", at),
            "tags": tags,
            "metadata": self.object(fields, "metadata", at),
        }

    def _use(self, value: Any) -> None:
        """What `use` declares; all of it is read whether it is referred to or not."""
        fields = self.closed(value, "/use", _USE)
        for name in ("extensions", "catalogs"):
            if fields.get(name):
                message = (
                    f"`{name}` are not supported; what you need of them can be written under `functions`."
                )
                self.refuse("unsupported_feature", message, below("/use", name))
        self.secrets = self._secrets(fields)
        sections = ("authentications", "errors", "functions", "retries", "timeouts")
        self.declared = {name: self.object(fields, name, "/use") for name in sections}
        for name in self.declared["errors"]:
            self.declaration("errors", name, "", partial(steps.error, self))
        for name in self.declared["authentications"]:
            self.declaration("authentications", name, "", partial(own_policy, self))
        for name in self.declared["functions"]:
            calls.function(self, name, below("/use/functions", name))

    def _secrets(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of `use.secrets`."""
        names = []
        given = fields.get("secrets", [])
        for name, place in self.list_of(given, "/use/secrets", "names", SECRET_LIMIT):
            if not isinstance(name, str):
                self.refuse("wrong_type", "The name of a secret is a string; quote it.", place)
            elif not 1 <= len(name) <= SECRET_NAME_LIMIT:
                message = f"The name of a secret has 1 to {SECRET_NAME_LIMIT} characters."
                self.refuse("bad_format", message, place)
            else:
                names.append(name)
        return tuple(dict.fromkeys(names))

    def _rest(self) -> None:
        """Read what depends on the place that refers to it, where nothing does."""
        read = {key[:2] for key in self.made}
        for name in self.declared["timeouts"]:
            if ("timeouts", name) not in read:
                self.after(self.declared["timeouts"][name], below("/use/timeouts", name), BEFORE_BODY)
        for name in self.declared["retries"]:
            if ("retries", name) not in read:
                catching.retry(self, self.declared["retries"][name], below("/use/retries", name), "error")

    def _evaluate(self, root: Mapping[str, Any]) -> None:
        fields = self.closed(root.get("evaluate", {}), "/evaluate", ("language", "mode"))
        for name, only in (("language", "jq"), ("mode", "strict")):
            value = self.text(fields, name, "/evaluate")
            if value not in {None, only}:
                message = f"The only supported {name} is `{only}`."
                self.refuse("unsupported_feature", message, below("/evaluate", name))
