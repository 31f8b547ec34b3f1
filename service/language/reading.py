"""From the value of a document to a typed definition, or to everything that is wrong with it (contract 1).

`read` makes a `Definition` of the value, and `check` adds what only the sandbox can tell: whether each expression and the
input schema compile.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from service.language.document import Checked, Definition, DocumentRefused, in_order
from service.language.durations import Duration
from service.language.errors import below
from service.language.expressions import Expression
from service.language.fields import EXPRESSION_COUNT, NO_TIME, WORKFLOW_INPUT, WORKFLOW_OUTPUT, listed
from service.language.tasks import TaskReader
from service.language.values import inspected

_ROOT = ("document", "input", "use", "do", "timeout", "output", "schedule", "evaluate", "$schema")
VERSION_LIMIT = 128  # characters; versions stand in unique keys
TITLE_LIMIT = 255  # characters; lists show titles
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

_NUMERIC = r"(?:0|[1-9][0-9]*)"
_PRE_RELEASE = rf"(?:{_NUMERIC}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMANTIC_VERSION = re.compile(
    rf"{_NUMERIC}\.{_NUMERIC}\.{_NUMERIC}(?:-{_PRE_RELEASE}(?:\.{_PRE_RELEASE})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LABEL_RULE = "has 1 to 63 letters, digits and hyphens, the first and the last being no hyphen"
_DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
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
    """Everything wrong with the document at once: its structure, its expressions and its input schema."""
    try:
        reader = _WorkflowReader(inspected(document, "bad_format"))
    except DocumentRefused as refused:
        return Checked(None, refused.problems, [])
    expressions = reader.expressions[:EXPRESSION_COUNT]
    compiled = await sandbox.compile(account_id, [one for _, one in expressions])
    for (pointer, _), message in zip(expressions, compiled, strict=True):
        if message is not None:
            reader.refuse("bad_expression", message, pointer)
    if reader.definition.input_schema is not None:
        message = await sandbox.check_schema(account_id, reader.definition.input_schema)
        if message is not None:
            reader.refuse("bad_schema", message, "/input/schema/document")
    return Checked(
        None if reader.problems else reader.definition,
        in_order(reader.problems),
        in_order(reader.warnings),
    )


class _WorkflowReader(TaskReader):
    """One walk through a whole document."""

    def __init__(self, document: Any) -> None:
        super().__init__()
        self.timeouts: dict[str, Duration | Expression] = {}
        self.definition = self._definition(document)
        self.resolve_jumps()

    def _definition(self, document: Any) -> Definition:
        root = self.closed(document, "", _ROOT, ("document", "do"))
        header = self._header(root["document"]) if "document" in root else {}
        self._use(root)
        self._evaluate(root)
        self.unsupported(root, ("schedule",), "", "start instances by a trigger")
        entry = self.closed(root.get("input", {}), "/input", ("schema", "from"))
        result = self.closed(root.get("output", {}), "/output", ("schema", "as"))
        self.unsupported(result, ("schema",), "/output", "`as` is")
        return Definition(
            namespace=header.get("namespace") or "",
            name=header.get("name") or "",
            version=header.get("version") or "",
            title=header.get("title"),
            summary=header.get("summary"),
            tags=header.get("tags", {}),
            metadata=header.get("metadata", {}),
            input_schema=self._schema(entry["schema"]) if "schema" in entry else None,
            input_from=self.projection(entry, "from", "/input", WORKFLOW_INPUT),
            tasks=self.tasks(root["do"], "/do") if "do" in root else (),
            output_as=self.projection(result, "as", "/output", WORKFLOW_OUTPUT),
            timeout=self._timeout(root["timeout"]) if "timeout" in root else None,
            document=root,
        )

    def _header(self, value: Any) -> dict[str, Any]:
        at = "/document"
        fields = self.closed(value, at, _HEADER, ("dsl", "namespace", "name", "version"))
        semantic = (_SEMANTIC_VERSION, "is a full semantic version such as 1.0.0")
        language = self.text(fields, "dsl", at, semantic)
        if language and _SEMANTIC_VERSION.fullmatch(language) and not re.fullmatch(r"1\.0\.[0-9]+", language):
            self.refuse(
                "unsupported_dsl", "The versions of the language are 1.0.n, for example 1.0.3.", at + "/dsl"
            )
        for name, most in (("version", VERSION_LIMIT), ("title", TITLE_LIMIT)):
            if isinstance(fields.get(name), str) and len(fields[name]) > most:
                self.refuse("bad_format", f"`{name}` has at most {most} characters.", below(at, name))
        label = (_LABEL, _LABEL_RULE)
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

    def _use(self, root: Mapping[str, Any]) -> None:
        fields = self.closed(root.get("use", {}), "/use", _USE)
        refused = [
            name for name in fields if name in _USE and name not in {"errors", "timeouts"} and fields[name]
        ]
        self.unsupported(fields, refused, "/use", "`errors` and `timeouts` are")
        for name, value in self.object(fields, "errors", "/use").items():
            self.errors[name] = self.error(value, below("/use/errors", name))
        for name, value in self.object(fields, "timeouts", "/use").items():
            self.timeouts[name] = self._after(value, below("/use/timeouts", name))

    def _evaluate(self, root: Mapping[str, Any]) -> None:
        fields = self.closed(root.get("evaluate", {}), "/evaluate", ("language", "mode"))
        for name, only in (("language", "jq"), ("mode", "strict")):
            value = self.text(fields, name, "/evaluate")
            if value not in {None, only}:
                message = f"The only supported {name} is `{only}`."
                self.refuse("unsupported_feature", message, below("/evaluate", name))

    def _schema(self, value: Any) -> Any:
        """The JSON Schema of the workflow's input, carrying its draft."""
        at = "/input/schema"
        fields = self.closed(value, at, ("format", "document", "resource"))
        self.unsupported(fields, ("resource",), at, "write the schema itself under `document`")
        if "document" not in fields and "resource" not in fields:
            self.refuse("missing_field", "The field `document` is missing.", at + "/document")
        schema = fields.get("document", {})
        if not isinstance(schema, dict | bool):
            self.refuse("wrong_type", "A JSON Schema is an object.", at + "/document")
        language, _, draft = (self.text(fields, "format", at) or "json").partition(":")
        if language != "json" or (draft and draft not in _DRAFTS):
            known = listed(["json", *(f"json:{name}" for name in _DRAFTS)])
            self.refuse("unsupported_feature", f"The supported formats are {known}.", at + "/format")
        elif draft and isinstance(schema, dict):
            return {"$schema": _DRAFTS[draft]} | schema
        return schema

    def _timeout(self, value: Any) -> Duration | Expression:
        if not isinstance(value, str):
            return self._after(value, "/timeout")
        if value not in self.timeouts:
            self.unknown("timeout", value, self.timeouts, "/timeout")
        return self.timeouts.get(value, NO_TIME)

    def _after(self, value: Any, pointer: str) -> Duration | Expression:
        fields = self.closed(value, pointer, ("after",), ("after",))
        return (
            self.length(fields["after"], pointer + "/after", WORKFLOW_INPUT) if "after" in fields else NO_TIME
        )
