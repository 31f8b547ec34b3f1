"""The numbers of roles. The vendor gives roles numbers, which definitions hold: here they are fixed, the same in every account."""

from auth.roles import Role

ROLES: dict[int, tuple[Role, str]] = {
    1: ("admin", "Administers the account."),
    2: ("manager", "Operates all workflows and instances."),
    3: ("sender", "Starts instances, and sees those."),
    4: ("viewer", "Sees workflows and instances."),
}
