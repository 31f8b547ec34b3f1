"""The words of an account's members and invitations, which the vendor's API lacks."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from auth.invitations import PATH_OF_PAGE
from service.maestro.models import ResponseMetadata
from service.operations import invitations, members
from service.operations.members import MemberRole
from service.settings import settings
from service.wire import Identifier, Timestamp, timestamp
from tenancy.accounts import LONGEST_EMAIL, LONGEST_NAME

Role = Annotated[
    MemberRole,
    Meta(
        description="`admin` may do everything, `manager` operate, `sender` start and see their own, `viewer` look"
    ),
]
MemberStatus = Annotated[
    str,
    Meta(
        description="`suspended`: by the operator, in every account; `removed`: from this one",
        extra_json_schema={"x-extensible-enum": ["active", "suspended", "removed"]},
    ),
]
Email = Annotated[str, Meta(min_length=1, max_length=LONGEST_EMAIL)]
Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]


class ChangeMember(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to change of a member."""

    role: Role


class NewInvitation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Who is to be invited, and as what."""

    email: Email
    role: Role
    name: Annotated[Name, Meta(description="what they are called, as a proposal to them")] | UnsetType = UNSET


class Member(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A user who has joined the account."""

    user_id: Identifier
    email: str
    name: str
    role: Role
    status: MemberStatus
    joined_at: Timestamp
    response_metadata: ResponseMetadata | UnsetType = UNSET


class MembersList(msgspec.Struct, kw_only=True):
    data: list[Member]
    response_metadata: ResponseMetadata


class Invitation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An invitation that waits for its answer."""

    id: Identifier
    account_id: Identifier
    email: str
    name: str | UnsetType = UNSET
    role: Role
    invited_by: Identifier
    created_at: Timestamp
    expires_at: Timestamp
    invitation_url: (
        Annotated[
            str,
            Meta(
                description="where they answer; shown here and never again: hand it to them, and to nobody else"
            ),
        ]
        | UnsetType
    ) = UNSET
    response_metadata: ResponseMetadata | UnsetType = UNSET


class InvitationsList(msgspec.Struct, kw_only=True):
    data: list[Invitation]
    response_metadata: ResponseMetadata


def member(row: members.Member, told: ResponseMetadata | UnsetType = UNSET) -> Member:
    """Word a member."""
    return Member(
        user_id=str(row.user_id),
        email=row.email,
        name=row.name,
        role=row.role,
        status=row.status,
        joined_at=timestamp(row.joined_at),
        response_metadata=told,
    )


def invitation(
    row: invitations.Invitation, secret: str | None = None, told: ResponseMetadata | UnsetType = UNSET
) -> Invitation:
    """Word an invitation, with its URL where it has just been made."""
    return Invitation(
        id=str(row.id),
        account_id=str(row.account_id),
        email=row.email,
        name=UNSET if row.name is None else row.name,
        role=row.role,
        invited_by=str(row.invited_by),
        created_at=timestamp(row.created_at),
        expires_at=timestamp(row.expires_at),
        invitation_url=UNSET if secret is None else invitation_url(row.account_id, row.id, secret),
        response_metadata=told,
    )


def invitation_url(account_id: UUID, invitation_id: UUID, secret: str) -> str:
    """Where an invitation is answered (`auth.pages.invitations`)."""
    path = PATH_OF_PAGE.format(account_id=account_id, invitation_id=invitation_id)
    return f"{settings().public_url}{path}?secret={secret}"
