"""Every scope, with one line that says what it allows."""

SCOPES = {
    "aow_manage": "Use workflows and their instances; every Maestro operation needs it.",
    "signature": "Act in the account's signing context; every Maestro operation needs it beside aow_manage.",
}

MAESTRO = ("aow_manage", "signature")
