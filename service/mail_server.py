"""The operator's mail server, as two settings say where it is and in whose name it is used."""

from email.utils import parseaddr
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

import msgspec

from service.language.mail import is_address
from tenancy.errors import SetupRefused

PORTS = {"smtp": 25, "smtps": 465}
ADVICE = "write it as smtps://user:password@mail.example, or smtp://mail.example:587"


class MailServer(msgspec.Struct, frozen=True):
    """Where messages are handed over; `encrypted` from the start, else where the server offers it (see `must_encrypt`)."""

    host: str
    port: int
    encrypted: bool
    user: str | None
    password: str | None
    sender: str  # as it stands in messages, with a name or without

    def __repr__(self) -> str:
        """Show no password."""
        return f"MailServer({self.host!r}, {self.port})"

    @property
    def must_encrypt(self) -> bool:
        """Whether nothing is said before the connection is encrypted: whoever stands between could hide the server's offer.

        A password leaves this host in no other way.
        """
        return self.user is not None and not self.encrypted and not is_here(self.host)

    @property
    def address(self) -> str:
        """The sender's address alone."""
        return parseaddr(self.sender)[1]

    @property
    def domain(self) -> str:
        """The sender's domain."""
        return self.address.rpartition("@")[2]


def is_here(host: str) -> bool:
    """Whether a host is this one, so that no network lies between."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mail_server_in(url: str | None, sender: str | None) -> MailServer | None:
    """Read the settings; None where no e-mails are sent.

    Raises:
        SetupRefused: one of them is missing, or is none; a password is not told.
    """
    if url is None and sender is None:
        return None
    if url is None or sender is None:
        missing = "TUTTI_SMTP_URL" if url is None else "TUTTI_SMTP_FROM"
        raise SetupRefused(f"{missing} is missing: e-mails need TUTTI_SMTP_URL and TUTTI_SMTP_FROM.")
    address = parseaddr(sender)[1]
    if not is_address(address) or not sender.isprintable():
        raise SetupRefused(
            "TUTTI_SMTP_FROM is no address; write it as tutti@example.com, or Tutti <tutti@example.com>."
        )
    try:
        parts = urlsplit(url.strip())
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise SetupRefused(f"TUTTI_SMTP_URL is no address of a mail server; {ADVICE}.") from None
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise SetupRefused(f"TUTTI_SMTP_URL is no address of a mail server; {ADVICE}.")
    user, password = (None if one is None else unquote(one) for one in (parts.username, parts.password))
    if (user is None) != (password is None):
        raise SetupRefused(f"TUTTI_SMTP_URL has a user without a password, or the reverse; {ADVICE}.")
    return MailServer(parts.hostname, port, parts.scheme == "smtps", user, password, sender)
