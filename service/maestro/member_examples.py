"""Examples of members, invitations and integrations for the OpenAPI document; a test holds each against its schema."""

from typing import Any

from service.maestro.examples import ACCOUNT, METADATA, NOW, USER

INVITATION = "0190f3b5-6d1e-7f20-a3b4-1c2d3e4f7707"
CLIENT = "7d3b8f5a-0c49-4d0e-8a5b-6e1f2a3b8808"
LATER = "2026-05-11T09:30:00.000Z"
FINGERPRINT = "5b6f0d7c1e2a4b3c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e"
PEM = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQ…\n-----END PUBLIC KEY-----\n"

MEMBER: dict[str, Any] = {
    "user_id": USER,
    "email": "ada@acme.example",
    "name": "Ada Lovelace",
    "role": "manager",
    "status": "active",
    "joined_at": NOW,
}
INVITED: dict[str, Any] = {
    "id": INVITATION,
    "account_id": ACCOUNT,
    "email": "grace@acme.example",
    "name": "Grace Hopper",
    "role": "sender",
    "invited_by": USER,
    "created_at": NOW,
    "expires_at": LATER,
}
INTEGRATION: dict[str, Any] = {
    "id": CLIENT,
    "account_id": ACCOUNT,
    "kind": "confidential",
    "name": "Nightly",
    "redirect_uris": ["https://app.acme.example/callback"],
    "scopes": ["signature", "aow_manage", "impersonation"],
    "keys": [{"id": "5b6f0d7c-1e2a-4b3c-8d9e-0f1a2b3c4d5e", "fingerprint": FINGERPRINT}],
    "created_at": NOW,
    "created_by": USER,
}
ANSWERED = {"response_metadata": METADATA}
CONSENT: dict[str, Any] = {
    "client_id": CLIENT,
    "scopes": ["aow_manage", "impersonation", "signature"],
    "granted_at": NOW,
    "granted_by": USER,
    **ANSWERED,
}
STANDING: dict[str, Any] = {
    "client_id": CLIENT,
    "client_name": "Nightly",
    "scopes": ["aow_manage", "impersonation", "signature"],
    "granted_at": NOW,
    "granted_by": USER,
}
PAGED = {"response_metadata": METADATA | {"page_limit": 50}}
SECRET = {"client_secret": "rW5uS2hbt1pD0jXc8yqLkOa3vEfGm6NzTiU4PwQxYsA"}
URL = {
    "invitation_url": f"http://127.0.0.1:8000/v1/accounts/{ACCOUNT}/invitations/{INVITATION}/answer"
    "?secret=kJ2v9Qm4xT7cLw1bN8sZfR5yHdEuGa3oPiV6WtXqYrB"
}

REQUESTS: dict[str, Any] = {
    "changeMember": {"role": "manager"},
    "createInvitation": {"email": "grace@acme.example", "name": "Grace Hopper", "role": "sender"},
    "createIntegration": {
        "kind": "confidential",
        "name": "Nightly",
        "redirect_uris": ["https://app.acme.example/callback"],
        "scopes": ["signature", "aow_manage", "impersonation"],
    },
    "changeIntegration": {"redirect_uris": ["https://app.acme.example/callback"]},
    "addIntegrationKey": {"public_key": PEM},
    "allowIntegration": {"scopes": ["signature", "aow_manage"]},
}
RESPONSES: dict[str, Any] = {
    "getMembers": {"data": [MEMBER], **PAGED},
    "getMember": MEMBER | ANSWERED,
    "changeMember": MEMBER | ANSWERED,
    "getInvitations": {"data": [INVITED], **PAGED},
    "createInvitation": INVITED | URL | ANSWERED,
    "getInvitation": INVITED | ANSWERED,
    "getIntegrations": {"data": [INTEGRATION], **PAGED},
    "createIntegration": INTEGRATION | {"keys": []} | SECRET | ANSWERED,
    "getIntegration": INTEGRATION | ANSWERED,
    "changeIntegration": INTEGRATION | ANSWERED,
    "rotateIntegrationSecret": INTEGRATION | SECRET | ANSWERED,
    "addIntegrationKey": INTEGRATION | ANSWERED,
    "getIntegrationConsent": CONSENT,
    "allowIntegration": CONSENT | {"grants_ended": 0},
    "getConsents": {"data": [STANDING], **PAGED},
}
