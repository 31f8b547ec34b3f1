"""The routes of an account's audit, which the vendor's API lacks: who changed what, when, on which request."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from service.maestro import audit_models
from service.maestro.errors import credential
from service.maestro.requests import OVERSEEING, PAGE_SIZE, ContinuationToken, PageSize, metadata, paged
from service.operations import audit
from service.operations.audit import KINDS, ActorKind, Filters
from service.operations.pages import Row

JSON_LINES = "application/jsonl"
FILTERS = ("actor_id", "actor_kind", "type", "subject_kind", "subject_id", "from", "to", "request_id")

ActorId = Annotated[UUID | None, QueryParameter(description="only what this user or client has done")]
OfActors = Annotated[ActorKind | None, QueryParameter(description="only what actors of this kind have done")]
Type = Annotated[
    str | None,
    QueryParameter(
        pattern="^[a-z_]+[.][a-z-]+$",
        max_length=100,
        description="only this type, as in `workflow.published`",
    ),
]
OfSubjects = Annotated[
    str | None,
    QueryParameter(description="only what was done to subjects of this kind", schema_extra={"enum": KINDS}),
]
SubjectId = Annotated[
    str | None,
    QueryParameter(
        pattern="^[A-Za-z0-9_-]+$",
        max_length=128,
        description="only what was done to this subject: a UUID, a secret's name; with `subject_kind`",
    ),
]
From = Annotated[
    datetime | None,
    QueryParameter(name="from", description="only from this moment on: RFC 3339, with its zone"),
]
To = Annotated[
    datetime | None, QueryParameter(description="only before this moment: RFC 3339, with its zone")
]
RequestId = Annotated[
    UUID | None,
    QueryParameter(description="only what this request has done: the `X-Request-Id` of its answer"),
]


class AuditController(Controller):
    """What happened in the account."""

    path = "/v1/accounts/{accountId:str}/audit"
    tags = ("Audit",)
    opt = OVERSEEING

    @get("/", operation_id="getAudit", opt={"query": (*FILTERS, "page_size", "ctoken")})
    async def get_audit(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        actor_id: ActorId = None,
        actor_kind: OfActors = None,
        type: Type = None,  # noqa: A002 - the wire's word
        subject_kind: OfSubjects = None,
        subject_id: SubjectId = None,
        from_: From = None,
        to: To = None,
        request_id: RequestId = None,
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[audit_models.AuditList]:
        """List what happened in the account, newest first, 50 to a page.

        A page looks at 10,000 events at the most: one that filters leave short, or empty, may have a next one.
        """
        filters = Filters(actor_id, actor_kind, type, subject_kind, subject_id, from_, to, request_id)
        page = await audit.get_list(credential(request, accountId), filters, page_size or PAGE_SIZE, ctoken)
        data = [audit_models.audit_event(row) for row in page.rows]
        return paged(
            request, audit_models.AuditList(data=data, response_metadata=metadata(request, page)), page
        )

    @get("/export", operation_id="exportAudit", opt={"query": FILTERS}, media_type=JSON_LINES)
    async def export_audit(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],  # noqa: N803 - the vendor's name
        actor_id: ActorId = None,
        actor_kind: OfActors = None,
        type: Type = None,  # noqa: A002 - the wire's word
        subject_kind: OfSubjects = None,
        subject_id: SubjectId = None,
        from_: From = None,
        to: To = None,
        request_id: RequestId = None,
    ) -> Stream:
        """Export what happened in the account until now, oldest first, as JSON lines: an event of the list to a line.

        A token that is revoked meanwhile breaks the export off, before its end.
        """
        filters = Filters(actor_id, actor_kind, type, subject_kind, subject_id, from_, to, request_id)
        batches = audit.export(credential(request, accountId), filters)
        return Stream(lines(await anext(batches), batches), media_type=JSON_LINES)


async def lines(first: Sequence[Row], others: AsyncIterator[Sequence[Row]]) -> AsyncIterator[bytes]:
    """Write events as JSON lines, a batch at a time; the first was read before the answer began."""
    yield written(first)
    async for rows in others:
        yield written(rows)


def written(rows: Sequence[Row]) -> bytes:
    """Write events as JSON lines."""
    return b"".join(msgspec.json.encode(audit_models.audit_event(row)) + b"\n" for row in rows)
