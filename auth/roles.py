"""What the role of a member allows in an account, beside what the scopes of their token allow.

Every operation names the one right that it needs where it opens the account's rows; which roles hold it stands here alone.
"""

from enum import StrEnum
from typing import Literal

from auth.scopes import ADMINISTRATION

Role = Literal["admin", "manager", "sender", "viewer", "machine"]


class Right(StrEnum):
    """What an operation needs of its caller's role."""

    READ = "read"  # workflows, instances and work items; a sender sees the instances that they started
    DECIDE = "decide"  # work items that are the caller's
    START = "start"  # instances
    OPERATE = "operate"  # all instances, work items and workflows of the account
    OVERSEE = "oversee"  # webhooks, the audit
    ADMINISTER = "administer"  # members, clients, settings


HOLDERS: dict[Right, tuple[Role, ...]] = {
    Right.READ: ("admin", "manager", "sender", "viewer", "machine"),
    Right.DECIDE: ("admin", "manager", "sender", "viewer", "machine"),
    Right.START: ("admin", "manager", "sender", "machine"),
    Right.OPERATE: ("admin", "manager", "machine"),
    Right.OVERSEE: ("admin", "machine"),
    Right.ADMINISTER: ("admin",),
}
EVERYBODY = "operator"  # the person at the command line, who holds every right


def scopes_for(right: Right, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Which scopes a right takes where a dialect asks for these: who may use workflows does not manage the account by that."""
    return (*scopes, ADMINISTRATION) if right is Right.ADMINISTER else scopes


def holds(role: str, right: Right) -> bool:
    """Say whether a role has a right."""
    return role == EVERYBODY or role in HOLDERS[right]


def needed_role(right: Right) -> str:
    """Say in words which role a right takes, of a user, and whether a machine client has it."""
    *others, last = (role for role in HOLDERS[right] if role != "machine")
    roles = f"{', '.join(others)} or {last}" if others else last
    machines = ", or a machine client" if "machine" in HOLDERS[right] else ", which users alone have"
    return f"the role {roles} in the account{machines}"
