"""What an e-mail says: the arguments of the function `email`."""

import re
from typing import Any

import msgspec

from service.language.arguments import ArgumentReader
from service.language.errors import Problem, below

RECIPIENT_LIMIT = 100
SUBJECT_LIMIT = 500  # characters
MESSAGE_LIMIT = 262_144  # bytes
ADDRESS_LIMIT = 254  # characters (RFC 5321, 4.5.3.1.3)

_REQUIRED = ("recipients", "subject", "message")
# An address as a mail server takes it without extensions (RFC 5321, 4.1.2, without quoted local parts and literals).
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_LOCAL_LIMIT = 64  # characters before the `@`
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]"
)  # what ends a header, or may be read as its end


class Mail(msgspec.Struct, frozen=True):
    """One message, in HTML, to all of its recipients."""

    recipients: tuple[str, ...]
    subject: str
    message: str


def asked(arguments: Any) -> list[Problem]:
    """Everything wrong with evaluated arguments; the pointers start at the arguments."""
    reader = _MailReader(literal=False)
    reader.mail(arguments)
    return reader.problems


def asked_literally(arguments: Any) -> list[Problem]:
    """Everything wrong with arguments as a definition has them, `${ … }` standing for any value."""
    reader = _MailReader(literal=True)
    reader.mail(arguments)
    return reader.problems


def mail(arguments: Any) -> Mail:
    """Read evaluated arguments with which nothing is wrong."""
    return _MailReader(literal=False).mail(arguments)


def is_address(text: str) -> bool:
    """Whether a text is an e-mail address and nothing besides."""
    local = text.rpartition("@")[0]
    return bool(_ADDRESS.fullmatch(text)) and len(local) <= _LOCAL_LIMIT and len(text) <= ADDRESS_LIMIT


class _MailReader(ArgumentReader):
    """Reads what an e-mail says."""

    def mail(self, arguments: Any) -> Mail:
        self.storable(arguments)
        fields = self.closed(arguments, "", _REQUIRED, _REQUIRED)
        subject = self.limited(fields, "subject", SUBJECT_LIMIT, least=0) or ""
        if _CONTROL.search(subject) and not self.is_later(subject):
            self.refuse("bad_format", "`subject` is one line, without control characters.", "/subject")
        message = self.text(fields, "message", "") or ""
        if len(message.encode(errors="replace")) > MESSAGE_LIMIT and not self.is_later(message):
            self.refuse("too_large", f"`message` has at most {MESSAGE_LIMIT // 1024} KiB.", "/message")
        recipients = self.recipients(fields["recipients"]) if "recipients" in fields else ()
        return Mail(recipients, subject, message)

    def recipients(self, value: Any) -> tuple[str, ...]:
        """A list of addresses, each once, whatever case it is written in."""
        place = below("", "recipients")
        if self.is_later(value) and not isinstance(value, list):
            return ()
        found: dict[str, str] = {}
        for one, pointer in self.list_of(value, place, "recipients", RECIPIENT_LIMIT, 1):
            if self.is_later(one):
                continue
            if not isinstance(one, str) or not is_address(one):
                self.refuse(
                    "bad_format", "A recipient is an e-mail address, such as ann@example.com.", pointer
                )
            else:
                found.setdefault(one.lower(), one)
        return tuple(found.values())
