"""Every scope, with one line that says what it allows: people read it before they consent."""

MAESTRO = ("aow_manage", "signature")
ADMINISTRATION = "account_manage"  # beside the dialect's own, for what administrators alone may do
ABOUT_PEOPLE = ("openid", "profile", "email", "offline_access", "impersonation", "extended")  # no machine's
SCOPES = {
    "signature": "Act for you.",
    "impersonation": "Act for you while you are away, without asking again.",
    "aow_manage": "Use and change workflows and their instances.",
    ADMINISTRATION: "Manage the account: its members, invitations, integrations, settings and limits.",
    "extended": "Stay logged in for as long as it is used at least every 30 days.",
    "openid": "Know who you are.",
    "profile": "Know your name.",
    "email": "Know your e-mail address.",
    "offline_access": "Stay logged in while you are away.",
    "orchestration:read": "Read workflows, instances and triggers by the Formance API.",
    "orchestration:write": "Use and change workflows, instances and triggers by the Formance API.",
    "keyfactor:read": "Read workflow definitions and instances by the Keyfactor API.",
    "keyfactor:write": "Use and change workflow definitions and instances by the Keyfactor API.",
    # Docusign's own, which its SDKs ask for by default: granted and remembered, and nothing here asks for them.
    "adm_store_unified_repo_read": "Nothing here: read agreements, with the vendor.",
    "adm_store_unified_repo_write": "Nothing here: change agreements, with the vendor.",
    "models_read": "Nothing here: read data models, with the vendor.",
    "dtr.company.read": "Nothing here: read the company, with the vendor.",
    "dtr.rooms.read": "Nothing here: read rooms, with the vendor.",
    "dtr.rooms.write": "Nothing here: change rooms, with the vendor.",
    "dtr.documents.write": "Nothing here: change documents, with the vendor.",
}
