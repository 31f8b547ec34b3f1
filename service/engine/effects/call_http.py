"""Performs `call: http` (contract 2.2): evaluates what it says, sends it, and makes an output or an error of the response.

Secrets are seen here alone: what they become is neither stored nor logged (contract 7.3).
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from yarl import URL

from service.engine.effects.authentication import Proof, prove
from service.engine.effects.http_request import expanded, key_header, request_of
from service.engine.effects.http_response import output_of, refusal_of, succeeded
from service.engine.effects.redaction import Redaction
from service.engine.egress import USER_AGENT, CallError, Egress, unusable
from service.engine.flow import Raised, reads, reads_secrets
from service.engine.messages import Pending
from service.language.document import HttpCall
from service.language.errors import fault
from service.language.expressions import Evaluation, Expression, ExpressionFailure
from service.language.questions import Answering, ask
from service.telemetry import tracing

DETAIL_LIMIT = 4 * 1024  # bytes of an error's detail (contract 2.2)
TITLE_LIMIT = 200
WITHHELD = "It read a secret, which jq's message might show: the message is withheld. Try it with a value of no worth."


async def perform(
    egress: Egress,
    answering: Answering,
    account_id: UUID,
    pending: Pending,
    secrets: Mapping[str, Any],
    traceparent: str,
) -> Any:
    """Perform a call once and return the task's raw output; `secrets` are those of the account that the call may read.

    Raises:
        Raised: the call's error of contract 5.3, without any secret in it.
    """
    hidden = Redaction()
    call = Performance(egress, answering, account_id, pending, hidden)
    try:
        return await call.performed(secrets, traceparent)
    except CallError as error:
        tracing.describe_answer(error.status, error.kind)
        title, detail = hidden.text(error.title, TITLE_LIMIT), hidden.text(error.detail, DETAIL_LIMIT)
        raise Raised(fault(error.kind, title, detail, pending.task.pointer, error.status)) from None


class Performance:
    """One call under way."""

    def __init__(
        self, egress: Egress, answering: Answering, account_id: UUID, pending: Pending, hidden: Redaction
    ) -> None:
        assert isinstance(pending.task.work, HttpCall)  # noqa: S101 - the worker performs nothing else here
        self.egress = egress
        self.answering = answering
        self.account_id = account_id
        self.task = pending.task
        self.work = pending.task.work
        self.key = pending.key
        self.dot = pending.input
        self.raw = pending.raw
        self.variables = dict(pending.variables)
        self.hidden = hidden
        self.input_is_secret = False

    async def performed(self, secrets: Mapping[str, Any], traceparent: str) -> Any:
        """Do everything that there is to do, in its order."""
        self.variables["secrets"] = self.granted(secrets)
        await self.transform_input()
        proof = await self.proof()
        self.variables["authorization"] = None if proof is None else proof.argument
        arguments = await self.value(self.work.arguments, self.dot)
        defaults = {
            "user-agent": USER_AGENT,
            "idempotency-key": key_header(self.key),
            "traceparent": traceparent,
            **(proof.headers if proof else {}),
        }
        request = request_of(self.work.method, self.endpoint(arguments), arguments, defaults)
        if proof is not None and proof.digest is not None:
            request = msgspec.structs.replace(request, digest=proof.digest)
        tracing.describe_call(request.method, *self.literal_place(request.url))
        response = await self.egress.send(request)
        tracing.describe_answer(response.status)
        if response.status == 401 and proof is not None and proof.key is not None:
            self.egress.tokens.drop(proof.key, proof.parameter or "")
        if not succeeded(response, redirect=self.work.redirect):
            raise refusal_of(response)
        return output_of(self.work.output, request, response, self.hidden)

    def granted(self, secrets: Mapping[str, Any]) -> dict[str, Any]:
        """The secrets that the call may read, all of which have to be there (contract 7.3)."""
        missing = [name for name in self.work.secrets if name not in secrets]
        if missing:
            command = f"tutti secret set {missing[0]} --account {self.account_id}"
            detail = f"The secret `{missing[0]}` is not set; set it with: {command}"
            raise CallError("authorization", "A secret is missing", detail)
        granted = {name: secrets[name] for name in self.work.secrets}
        self.hidden.learn(granted)
        return granted

    async def transform_input(self) -> None:
        """Evaluate an `input.from` that reads secrets, which the interpreter has left to this place."""
        projection = self.task.input_from
        if projection is not None and reads_secrets(projection):
            self.dot = await self.value(projection, self.raw)
            self.variables["input"] = self.dot
            self.input_is_secret = True

    async def proof(self) -> Proof | None:
        """What proves who calls, if the endpoint asks for it."""
        policy = self.work.authentication
        if policy is None:
            return None
        if policy.fields is not None:
            fields = await self.value(policy.fields, self.dot)
        else:
            fields = self.variables["secrets"][policy.secret]
        return await prove(
            self.egress, self.account_id, policy.scheme, fields, self.hidden, secret=policy.secret
        )

    def endpoint(self, arguments: Mapping[str, Any]) -> str:
        """Where the call goes: the template filled in, or what the expression came to."""
        if self.work.template is not None:
            return expanded(self.work.template, self.dot)
        uri = arguments.get("uri")
        if not isinstance(uri, str):
            raise unusable("Its expression has to give a string.")
        return uri

    def literal_place(self, url: URL) -> tuple[str | None, int | None]:
        """The host and port of the call if the definition names them; what data came to may be anybody's."""
        begin = "" if self.work.template is None else self.work.template.parts[0]
        whole = self.work.template is not None and len(self.work.template.parts) == 1
        named = whole or "/" in begin.partition("://")[2]
        return (url.host, url.port) if named else (None, None)

    async def value(self, expression: Expression, dot: Any) -> Any:
        """The value of an expression at this call."""
        (answer,) = await ask(self.answering, self.account_id, [Evaluation(expression, dot, self.variables)])
        if isinstance(answer, ExpressionFailure):
            detail = WITHHELD if self.sees_secrets(expression) else answer.detail
            raise CallError("expression", answer.title, detail)
        return answer

    def sees_secrets(self, expression: Expression) -> bool:
        """Whether an expression has secrets to make something of, which redaction would not know again."""
        return self.input_is_secret or reads(expression, "secrets") or reads(expression, "authorization")
