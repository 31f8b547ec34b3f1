"""The routes of an account's members and invitations, which the vendor's API lacks; for its administrators."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from service.maestro import member_models as models
from service.maestro.errors import credential
from service.maestro.requests import (
    ADMINISTERED,
    JSON,
    PAGE_SIZE,
    ContinuationToken,
    PageSize,
    metadata,
    paged,
)
from service.operations import invitations, members
from service.operations.invitations import Wanted
from service.operations.members import MemberRole, Status


class MemberController(Controller):
    """Users who have joined the account."""

    path = "/v1/accounts/{accountId:str}/members"
    tags = ("Members",)
    opt = ADMINISTERED

    @get("/", operation_id="getMembers", opt={"query": ("status", "role", "page_size", "ctoken")})
    async def get_members(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        status: Annotated[Status | None, QueryParameter(description="only members of this status")] = None,
        role: Annotated[MemberRole | None, QueryParameter(description="only members of this role")] = None,
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.MembersList]:
        """List the account's members, removed ones too, in the order in which they joined; 50 to a page.

        For administrators, as all of these are.
        """
        access = credential(request, accountId)
        page = await members.get_list(access, status, role, page_size or PAGE_SIZE, ctoken)
        data = [models.member(one) for one in page.rows]
        return paged(request, models.MembersList(data=data, response_metadata=metadata(request, page)), page)

    @get("/{userId:str}", operation_id="getMember")
    async def get_member(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], userId: FromPath[UUID]
    ) -> models.Member:
        """Read one member."""
        found = await members.get(credential(request, accountId), userId)
        return models.member(found, metadata(request))

    @patch("/{userId:str}", operation_id="changeMember", opt={"media_type": JSON}, status_code=200)
    async def change_member(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        userId: FromPath[UUID],
        data: JSONBody[models.ChangeMember],
    ) -> models.Member:
        """Give a member another role; 409 for the account's last active administrator, and for somebody who was removed."""
        changed = await members.change(credential(request, accountId), userId, data.role)
        return models.member(changed, metadata(request))

    @delete("/{userId:str}", operation_id="removeMember", status_code=204)
    async def remove_member(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], userId: FromPath[UUID]
    ) -> None:
        """End a membership: their next request is refused, and what they made stays; 409 for the last active administrator.

        204 too for somebody who was removed already: a client that got no answer may ask again.

        That is integrations too, and what these are allowed for all members: look at `GET /consents`.
        """
        await members.remove(credential(request, accountId), userId)


class InvitationController(Controller):
    """People who are asked to join the account."""

    path = "/v1/accounts/{accountId:str}/invitations"
    tags = ("Members",)
    opt = ADMINISTERED

    @get("/", operation_id="getInvitations", opt={"query": ("page_size", "ctoken")})
    async def get_invitations(
        self,
        request: Request[Any, Any, Any],
        accountId: FromPath[UUID],
        page_size: PageSize = None,
        ctoken: ContinuationToken = None,
    ) -> Response[models.InvitationsList]:
        """List the invitations that wait for their answer, the oldest first, without their URLs; 50 to a page."""
        page = await invitations.get_list(credential(request, accountId), page_size or PAGE_SIZE, ctoken)
        data = [models.invitation(one) for one in page.rows]
        content = models.InvitationsList(data=data, response_metadata=metadata(request, page))
        return paged(request, content, page)

    @post("/", operation_id="createInvitation", opt={"media_type": JSON}, status_code=201)
    async def create_invitation(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], data: JSONBody[models.NewInvitation]
    ) -> Response[models.Invitation]:
        """Invite somebody, who answers on the page that `invitation_url` opens, within seven days.

        The answer alone shows the URL. 409 for a member, for an address that is invited already, and where a hundred wait.
        """
        wanted = Wanted(data.email, data.role, data.name)
        shown = await invitations.create(credential(request, accountId), wanted)
        location = f"/v1/accounts/{accountId}/invitations/{shown.invitation.id}"
        content = models.invitation(shown.invitation, shown.secret, metadata(request))
        return Response(content, headers={"Location": location})

    @get("/{invitationId:str}", operation_id="getInvitation")
    async def get_invitation(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], invitationId: FromPath[UUID]
    ) -> models.Invitation:
        """Read an invitation that waits for its answer, without its URL."""
        found = await invitations.get(credential(request, accountId), invitationId)
        return models.invitation(found, told=metadata(request))

    @delete("/{invitationId:str}", operation_id="deleteInvitation", status_code=204)
    async def delete_invitation(
        self, request: Request[Any, Any, Any], accountId: FromPath[UUID], invitationId: FromPath[UUID]
    ) -> None:
        """Take an invitation back: its URL shows nothing from now on."""
        await invitations.delete(credential(request, accountId), invitationId)
