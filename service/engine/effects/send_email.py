"""Performs `call: email`: hands one message to the operator's mail server.

It is sent at least once: a worker that dies before its answer is stored leaves the call to another one, which sends the same
message again, with the same Message-ID.
"""

import asyncio
import hashlib
from datetime import UTC, datetime
from email.header import Header
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, formataddr, parseaddr
from typing import Any
from uuid import UUID

import aiosmtplib
from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from service.engine.flow import Raised, raised, succeeded
from service.engine.messages import Pending
from service.language import mail
from service.language.document import EmailCall
from service.language.errors import fault
from service.language.expressions import Evaluation, shortened
from service.language.mail import Mail
from service.language.questions import Answering, ask
from service.mail_server import MailServer

SECONDS = 30  # for a message, the connection included
AT_ONCE = 20  # messages of one process
TOLD = 300  # characters of what a mail server says
SHORT = 60  # characters of a subject that stands in one line as it is
AS_WRITTEN = compat32.clone(linesep="\r\n")  # the library's newer policies decode what they are given

_turns = asyncio.Semaphore(AT_ONCE)


async def perform(
    answering: Answering, server: MailServer | None, account_id: UUID, pending: Pending
) -> dict[str, Any]:
    """Send the message; return its id, and which of its recipients the mail server took.

    Raises:
        Raised: the arguments are wrong, there is no mail server, or it took nothing; the status is 503 where it may the next
            time.
    """
    task, work = pending.task, pending.task.work
    assert isinstance(work, EmailCall)  # noqa: S101 - the worker performs nothing else here
    (given,) = await ask(
        answering, account_id, [Evaluation(work.arguments, pending.input, pending.variables)]
    )
    arguments = succeeded(given, task.pointer)
    problems = [f"{problem.pointer}: {problem.message}" for problem in mail.asked(arguments)]
    if problems:
        title = "The arguments of `call: email` are wrong"
        raise raised("validation", title, shortened("; ".join(problems)), task.pointer)
    if server is None:
        detail = "This service sends no e-mails: its operator has set no mail server (TUTTI_SMTP_URL)."
        raise raised("configuration", "No mail server", detail, task.pointer)
    wanted = mail.mail(arguments)
    message_id = f"<{hashlib.sha256(pending.key.encode()).hexdigest()[:40]}@{server.domain}>"
    message = message_of(wanted, server.sender, message_id)
    refused = await handed_over(server, wanted, message, task.pointer)
    return {
        "messageId": message_id,
        "recipients": [one for one in wanted.recipients if one not in refused],
        "refused": [
            {"recipient": one, "status": answer.code, "message": answer.message[:TOLD]}
            for one, answer in refused.items()
        ],
    }


def message_of(wanted: Mail, sender: str, message_id: str) -> MIMEText:
    """Write the message. Nothing in it ends a header but its own end: `Mail` has no control characters there.

    Nor does what such a text may look like an encoding of (`=?utf-8?q?=0A?=`): nothing decodes it here, and a subject of that
    kind is encoded itself, so that nobody else does.
    """
    subject = wanted.subject
    is_plain = subject.isascii() and len(subject) <= SHORT and "=?" not in subject
    message = MIMEText(wanted.message.encode(errors="replace").decode(), "html", "utf-8", policy=AS_WRITTEN)
    message["From"] = formataddr(parseaddr(sender))
    message["To"] = ", ".join(wanted.recipients)
    message["Subject"] = (
        subject if is_plain else Header(subject, "utf-8", header_name="Subject").encode(linesep="")
    )
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    return message


async def handed_over(
    server: MailServer, wanted: Mail, message: MIMEText, pointer: str
) -> dict[str, aiosmtplib.SMTPResponse]:
    """Hand the message over; return the recipients that were refused, with what the server said of each."""
    try:
        async with _turns, asyncio.timeout(SECONDS):
            refused, _ = await aiosmtplib.send(
                message,
                sender=server.address,
                recipients=list(wanted.recipients),
                hostname=server.host,
                port=server.port,
                username=server.user,
                password=server.password,
                use_tls=server.encrypted,
                start_tls=True if server.must_encrypt else None,
                timeout=SECONDS,
            )
    except (SMTPException, OSError, TimeoutError) as error:
        raise Raised(failure(error, pointer)) from None
    return refused


def failure(error: Exception, pointer: str) -> Any:
    """Say why a message was not taken, without anything of the service's own credentials."""
    title = "The e-mail was not taken"
    if isinstance(error, SMTPAuthenticationError):
        detail = "The mail server does not take the service's credentials; its operator has to set them anew."
        return fault("configuration", title, detail, pointer, 502)
    if isinstance(error, SMTPRecipientsRefused):
        answers = [f"{one.recipient}: {one.code} {one.message}" for one in error.recipients]
        later = any(400 <= one.code < 500 for one in error.recipients)
        detail = shortened("Every recipient was refused. " + "; ".join(answers))
        return fault("communication", title, detail, pointer, 503 if later else 502)
    if isinstance(error, SMTPResponseException):
        whom = "the sender" if isinstance(error, SMTPSenderRefused) else "it"
        detail = f"The mail server refused {whom}: {error.code} {error.message[:TOLD]}"
        return fault("communication", title, detail, pointer, 503 if 400 <= error.code < 500 else 502)
    if not isinstance(error, OSError):
        detail = "The mail server offers no encryption, without which no password is sent to it, or takes no logins."
        return fault("configuration", title, detail, pointer, 502)
    detail = "The mail server cannot be reached, or did not answer in time."
    return fault("communication", title, detail, pointer, 503)
