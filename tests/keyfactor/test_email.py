"""`call: email`: one message to a real mail server, at least once and the same each time, and what is refused."""

import asyncio
import contextlib
import email
import email.policy
import ssl
from collections.abc import AsyncIterator
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import example, given
from hypothesis import strategies as st
from litestar import Litestar

from service.engine.effects.send_email import message_of, perform
from service.engine.messages import Pending
from service.language import mail
from service.language.document import DocumentRefused
from service.language.reading import read as parsed
from service.mail_server import MailServer, mail_server_in
from service.settings import Settings, read
from tenancy.errors import SetupRefused
from tests.engine.outside import certificate, trusted
from tests.keyfactor.conftest import Calling
from tests.keyfactor.started import COMPLETE, FAILED, became, begun, plain, published, step, triggered
from tests.world import World

HEADERS = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"} | {
    "Content-Type",
    "Content-Transfer-Encoding",
    "MIME-Version",
}
ENCODED = (
    "=?utf-8?q?a=0D=0ABcc:_eve@example.com=0D=0A=0D=0Atext?="  # it holds no control character, and means some
)
MANY = [f"person{number}@example.com" for number in range(101)]


class Letterbox:
    """A mail server that keeps what it is given, and refuses whom it is told to."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.refused: dict[str, str] = {}
        self.logins: list[LoginPassword] = []
        self.port = 0
        self.encrypted: list[bool] = []

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or refuse them."""
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Keep a message."""
        self.encrypted.append(session.ssl is not None)
        self.envelopes.append(envelope)
        return "250 OK"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        """Let in whoever has the password."""
        self.logins.append(data)
        return AuthResult(success=data == LoginPassword(b"tutti", b"sec ret"), handled=False)

    @property
    def messages(self) -> list[EmailMessage]:
        """What it was given."""
        found = []
        for one in self.envelopes:
            content = one.original_content or b""
            message = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            found.append(message)
        return found


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Letterbox]:
    """A mail server that offers encryption where it has a context for that."""
    box = Letterbox()

    def serve() -> SMTP:
        told: dict[str, Any] = {"authenticator": box.authenticate, "auth_require_tls": False}
        return SMTP(box, hostname="mail.test", tls_context=context, **told)

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    yield box
    server.close()


@pytest.fixture
async def letterbox() -> AsyncIterator[Letterbox]:
    """A mail server of the test's own."""
    async with serving() as box:
        yield box


@pytest.fixture
def configured(letterbox: Letterbox, changed_settings: Any) -> None:
    """The service, with that mail server."""
    changed_settings(
        TUTTI_SMTP_URL=f"smtp://127.0.0.1:{letterbox.port}", TUTTI_SMTP_FROM="Tutti <tutti@service.example>"
    )


def sending(*recipients: str, subject: str = "Hello", message: str = "<p>Hello</p>") -> dict[str, Any]:
    """Write a task that sends an e-mail."""
    return {
        "call": "email",
        "with": {"recipients": list(recipients), "subject": subject, "message": message},
    }


async def sent(
    acme: Calling, world: World, status: int, task: dict[str, Any], **inputs: Any
) -> dict[str, Any]:
    """Run a workflow of this task until it has a status."""
    await world.acme.publish(plain("mailing", {"tell": task}))
    return await became(acme, await triggered(acme, world.acme, "mailing", **inputs), status)


@pytest.mark.usefixtures("configured")
async def test_one_message_reaches_all_recipients(acme: Calling, world: World, letterbox: Letterbox) -> None:
    task = sending(
        "ann@example.com",
        "bob@example.com",
        "ANN@example.com",
        subject='${ "For \\(.whom) and grüße" }',
        message="<p>Straße</p>",
    )
    told = await sent(acme, world, COMPLETE, task, whom="you")
    (message,) = letterbox.messages
    assert letterbox.envelopes[0].rcpt_tos == ["ann@example.com", "bob@example.com"]
    assert letterbox.envelopes[0].mail_from == "tutti@service.example"
    assert message["From"] == "Tutti <tutti@service.example>"
    assert message["To"] == "ann@example.com, bob@example.com"
    assert message["Subject"] == "For you and grüße"
    assert (message["Auto-Submitted"], message.get_content_type()) == ("auto-generated", "text/html")
    assert message.get_content().strip() == "<p>Straße</p>"
    assert told["CurrentStateData"] == {
        "messageId": message["Message-ID"],
        "recipients": ["ann@example.com", "bob@example.com"],
        "refused": [],
    }


@pytest.mark.usefixtures("configured")
async def test_step_of_a_definition_sends_one(acme: Calling, world: World, letterbox: Letterbox) -> None:
    definition = await published(
        world.acme,
        [
            step("NOOPStep", "StartNOOP", "Mail"),
            step(
                "Email",
                "Mail",
                "EndNOOP",
                Subject="About $(cn)",
                Message="<b>$(cn)</b>",
                Recipients=["$(mail)", "bob@example.com"],
            ),
            step("NOOPStep", "EndNOOP", None),
        ],
    )
    instance_id = await begun(acme, world.acme, definition, cn="<web>", mail="ann@example.com")
    told = await became(acme, instance_id, COMPLETE)
    (message,) = letterbox.messages
    assert message["Subject"] == "About <web>"
    assert message.get_content().strip() == "<b>&lt;web&gt;</b>"
    assert message["To"] == "ann@example.com, bob@example.com"
    assert told["CurrentStateData"]["cn"] == "<web>"


async def test_message_that_is_sent_again_has_the_same_id(litestar: Litestar, letterbox: Letterbox) -> None:
    definition = parsed(plain("again", {"tell": sending("a@example.com")}))
    server = mail_server_in(f"smtp://127.0.0.1:{letterbox.port}", "tutti@service.example")
    for key in ("first", "first", "second"):
        pending = Pending(task=definition.tasks[0], input={}, raw={}, variables={}, key=f"instance:{key}")
        await perform(litestar.state["sandbox"], server, uuid4(), pending)
    first, again, second = (message["Message-ID"] for message in letterbox.messages)
    assert first == again != second
    assert first.endswith("@service.example>")


@pytest.mark.usefixtures("configured")
async def test_recipients_that_the_server_refuses_are_told(
    acme: Calling, world: World, letterbox: Letterbox
) -> None:
    letterbox.refused = {"gone@example.com": "550 no such user"}
    told = await sent(acme, world, COMPLETE, sending("ann@example.com", "gone@example.com"))
    assert told["CurrentStateData"]["recipients"] == ["ann@example.com"]
    (refused,) = told["CurrentStateData"]["refused"]
    assert (refused["recipient"], refused["status"]) == ("gone@example.com", 550)
    assert "no such user" in refused["message"]


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(("answer", "status"), [("550 no such user", 502), ("451 try later", 503)])
async def test_message_that_nobody_gets_is_an_error_that_may_be_caught(
    acme: Calling, world: World, letterbox: Letterbox, answer: str, status: int
) -> None:
    letterbox.refused = {"gone@example.com": answer}
    told = await sent(acme, world, FAILED, sending("gone@example.com"))
    assert answer[4:] in told["StatusMessage"]
    caught = {
        "try": [{"one": sending("gone@example.com")}],
        "catch": {"as": "e", "do": [{"say": {"set": "${ $e }"}}]},
    }
    await world.acme.publish(plain("caught", {"tell": caught}))
    told = await became(acme, await triggered(acme, world.acme, "caught"), COMPLETE)
    assert told["CurrentStateData"]["status"] == status
    assert told["CurrentStateData"]["type"].endswith("/communication")


async def test_server_that_is_away_is_an_error(acme: Calling, world: World, changed_settings: Any) -> None:
    changed_settings(TUTTI_SMTP_URL="smtp://127.0.0.1:1", TUTTI_SMTP_FROM="tutti@service.example")
    told = await sent(acme, world, FAILED, sending("ann@example.com"))
    assert told["StatusMessage"] == "The mail server cannot be reached, or did not answer in time."


async def test_without_a_mail_server_nothing_is_sent(acme: Calling, world: World) -> None:
    told = await sent(acme, world, FAILED, sending("ann@example.com"))
    assert "its operator has set no mail server (TUTTI_SMTP_URL)" in told["StatusMessage"]


@pytest.mark.parametrize(("password", "status"), [("sec%20ret", COMPLETE), ("wrong", FAILED)])
async def test_service_logs_in_with_its_password(
    acme: Calling, world: World, letterbox: Letterbox, changed_settings: Any, password: str, status: int
) -> None:
    changed_settings(
        TUTTI_SMTP_URL=f"smtp://tutti:{password}@127.0.0.1:{letterbox.port}",
        TUTTI_SMTP_FROM="tutti@service.example",
    )
    told = await sent(acme, world, status, sending("ann@example.com"))
    assert letterbox.logins
    assert len(letterbox.messages) == (status == COMPLETE)
    refused = "The mail server does not take the service's credentials; its operator has to set them anew."
    assert told["StatusMessage"] == (refused if status == FAILED else None)


async def test_password_is_sent_to_no_other_host_in_the_clear(
    acme: Calling, world: World, letterbox: Letterbox, changed_settings: Any
) -> None:
    elsewhere = "0.0.0.0"  # noqa: S104 - it leads here, and is no address of this host
    changed_settings(
        TUTTI_SMTP_URL=f"smtp://tutti:sec%20ret@{elsewhere}:{letterbox.port}",
        TUTTI_SMTP_FROM="tutti@service.example",
    )
    told = await sent(acme, world, FAILED, sending("ann@example.com"))
    assert (letterbox.logins, letterbox.messages) == ([], [])
    assert told["StatusMessage"].startswith("The mail server offers no encryption")


@pytest.mark.parametrize(
    ("url", "must"),
    [
        ("smtp://ann:pw@mail.example:587", True),
        ("smtp://ann:pw@192.0.2.1", True),
        ("smtp://ann:pw@localhost", False),
        ("smtp://ann:pw@[::1]", False),
        ("smtp://mail.example", False),
        ("smtps://ann:pw@mail.example", False),
    ],
)
def test_encryption_is_a_must_where_a_password_leaves_this_host(url: str, *, must: bool) -> None:
    found = mail_server_in(url, "t@service.example")
    assert found is not None
    assert found.must_encrypt is must


async def test_message_is_encrypted_where_the_server_offers_it_and_its_certificate_holds(
    acme: Calling, world: World, changed_settings: Any, tmp_path: Path
) -> None:
    path, context = certificate(tmp_path, "127.0.0.1")
    async with serving(context) as box:
        changed_settings(
            TUTTI_SMTP_URL=f"smtp://127.0.0.1:{box.port}", TUTTI_SMTP_FROM="tutti@service.example"
        )
        await sent(acme, world, FAILED, sending("ann@example.com"))
        assert box.messages == []
        with trusted(path):
            await became(acme, await triggered(acme, world.acme, "mailing"), COMPLETE)
        assert box.encrypted == [True]


# --- What a message may hold ----------------------------------------------------------------------------------------

WRONG: list[dict[str, Any]] = [
    {"subject": "a\r\nBcc: eve@example.com"},
    {"subject": "a\nb"},
    {"subject": "a\u2028b"},
    {"subject": "x" * 501},
    {"message": "x" * 262_145},
    {"message": "é" * 131_073},
    {"recipients": []},
    {"recipients": MANY},
    {"recipients": "ann@example.com"},
    {"recipients": ["ann@example.com\r\nRCPT TO:<eve@example.com>"]},
    {"recipients": ["ann@example.com, eve@example.com"]},
    {"recipients": ["Ann <ann@example.com>"]},
    {"recipients": ["ann@example.com>"]},
    {"recipients": ["ann"]},
    {"recipients": [""]},
    {"recipients": [None]},
    {"recipients": ["ann@[127.0.0.1]"]},
    {"recipients": [f"{'a' * 65}@example.com"]},
    {"recipients": ["-oQ/tmp@"]},
    {"bcc": ["eve@example.com"]},
    {"subject": None},
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_wrong_arguments_are_refused_when_a_definition_is_stored(wrong: dict[str, Any]) -> None:
    task = sending("ann@example.com")
    with pytest.raises(DocumentRefused) as refused:
        parsed(plain("wrong", {"tell": {**task, "with": task["with"] | wrong}}))
    assert {problem.code for problem in refused.value.problems} == {"bad_arguments"}


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("name", ["subject", "recipients", "message"])
async def test_wrong_arguments_are_refused_when_they_come_of_data(
    acme: Calling, world: World, letterbox: Letterbox, name: str
) -> None:
    wrong: dict[str, Any] = {
        "subject": "a\r\nBcc: eve@example.com",
        "recipients": ["ann@example.com\r\nBcc: eve@example.com"],
        "message": 3,
    }
    task = sending("ann@example.com")
    task["with"][name] = "${ .it }"
    told = await sent(acme, world, FAILED, task, it=wrong[name])
    assert f"/{name}" in told["StatusMessage"]
    assert letterbox.messages == []


@given(subject=st.text(max_size=90), recipients=st.lists(st.text(max_size=30) | st.emails(), max_size=3))
@example(subject=ENCODED, recipients=["ann@example.com"])
@example(subject="grüße " + ENCODED, recipients=["ann@example.com"])
@example(subject="Hello", recipients=["=?utf-8?q?a=0D=0ABcc=3A_eve?=@example.com"])
@example(subject="a" + " " * 300 + "b", recipients=["ann@example.com"])
def test_no_text_ends_a_header_or_adds_one(subject: str, recipients: list[str]) -> None:
    arguments = {"subject": subject, "recipients": recipients, "message": "<p>text</p>"}
    if mail.asked(arguments):
        return
    wanted = mail.mail(arguments)
    text = message_of(wanted, "tutti@service.example", "<1@service.example>").as_bytes()
    found = email.message_from_bytes(text)
    assert sorted(found.keys()) == sorted(HEADERS)
    assert [address for _, address in getaddresses([found["To"]])] == list(wanted.recipients)
    assert str(make_header(decode_header(found["Subject"]))).split() == subject.split()


# --- Settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("smtp://mail.example", ("mail.example", 25, False, None, None)),
        ("smtp://mail.example:587/", ("mail.example", 587, False, None, None)),
        ("smtps://u%40a:p%2Fq@mail.example", ("mail.example", 465, True, "u@a", "p/q")),
    ],
)
def test_mail_server_is_read_from_a_url(
    url: str, wanted: tuple[str, int, bool, str | None, str | None]
) -> None:
    found = read({"TUTTI_SMTP_URL": url, "TUTTI_SMTP_FROM": "Tutti <t@service.example>"}).mail_server
    assert found == MailServer(*wanted, sender="Tutti <t@service.example>")
    assert (found.address, found.domain) == ("t@service.example", "service.example")
    assert "p/q" not in repr(found)
    assert "p%2Fq" not in repr(read({"TUTTI_SMTP_URL": url, "TUTTI_SMTP_FROM": "t@service.example"}))


@pytest.mark.parametrize(
    ("url", "sender", "names"),
    [
        ("mail.example", "t@service.example", "TUTTI_SMTP_URL"),
        ("http://mail.example", "t@service.example", "TUTTI_SMTP_URL"),
        ("smtp://", "t@service.example", "TUTTI_SMTP_URL"),
        ("smtp://mail.example:port", "t@service.example", "TUTTI_SMTP_URL"),
        ("smtp://sesame@mail.example", "t@service.example", "TUTTI_SMTP_URL"),
        ("smtp://mail.example", None, "TUTTI_SMTP_FROM"),
        (None, "t@service.example", "TUTTI_SMTP_URL"),
        ("smtp://mail.example", "nobody", "TUTTI_SMTP_FROM"),
        ("smtp://mail.example", "A\r\nBcc: e@example.com <t@service.example>", "TUTTI_SMTP_FROM"),
    ],
)
def test_settings_that_are_none_are_refused(url: str | None, sender: str | None, names: str) -> None:
    given = {"TUTTI_SMTP_URL": url, "TUTTI_SMTP_FROM": sender}
    with pytest.raises(SetupRefused, match=names) as refused:
        read({name: value for name, value in given.items() if value is not None})
    assert "sesame" not in str(refused.value)


def test_without_settings_there_is_no_mail_server() -> None:
    assert Settings().mail_server is None
