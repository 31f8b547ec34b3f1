"""The types of events that streams tell of, and what `data` holds of each: for the documents. Readers skip what they do not know."""

OF_INSTANCES = {
    "instance.triggered": "empty; where no request started it, what did: `schedule_id`, `parent_id` and the like",
    "instance.signalled": "`type` of the event that it was sent",
    "instance.suspended, instance.resumed": "empty",
    "instance.completed": "empty",
    "instance.faulted": "`error`, with the `type` and `status` of the DSL's error object",
    "instance.cancelled": "`reason` where one was given",
    "instance.restarted": "`restarted_as`, the id of the instance that does it again",
    "instance.deleted": "`status` that it had",
    "work_item.opened": "`work_item_id`, `kind`, `task`",
    "work_item.claimed, work_item.released, work_item.reassigned": "`work_item_id`",
    "work_item.answered, work_item.decided": "`work_item_id`, `outcome`",
    "work_item.overdue, work_item.cancelled": "`work_item_id`",
}
OF_WORKFLOWS = {
    "workflow.created, workflow.version-stored, workflow.published, workflow.paused, workflow.resumed, workflow.archived": (
        "what belongs to it, often empty"
    ),
    "schedule.set, schedule.refused": "`schedule_id`; `reason`",
    "event_trigger.created, event_trigger.deleted, event_trigger.failed": "`trigger_id`; `reason`",
}
OF_ACCOUNTS = {
    "event.published": "`type` of the event",
    "bulk_action.started, bulk_action.completed, bulk_action.cancelled": "`bulk_action_id`",
    "webhook.created, webhook.changed, webhook.enabled, webhook.disabled, webhook.rotated, webhook.deleted": "`webhook_id`",
    "webhook.encrypted": "how many `webhooks`",
    "secret.set, secret.rotated, secret.deleted": "`name`; how many `secrets`",
    "account.created, account.suspended, account.resumed, account.changed, account.limited": "empty",
    "account.instances-removed": "how many `instances`, `ended_before`, `days`",
    "account.events-removed": "how many `events`",
    "member.added, member.changed, member.suspended, member.resumed, member.removed": "`user_id`",
    "invitation.created, invitation.declined, invitation.deleted, invitation.ended": "`invitation_id`",
    "client.created, client.changed, client.secret-rotated, client.deleted": "`client_id`",
    "consent.given, consent.allowed, consent.revoked, token.issued": "`client_id`, `user_id`",
}


def listed(types: dict[str, str]) -> str:
    """Write types and what they hold as one text."""
    return "; ".join(f"`{name.replace(', ', '`, `')}` ({data})" for name, data in types.items())


INSTANCE_TYPES = f"Types: {listed(OF_INSTANCES)}."
ACCOUNT_TYPES = (
    f"Types of instances: {listed(OF_INSTANCES)}. Of workflows: {listed(OF_WORKFLOWS)}. Of the account, told to"
    f" the role admin and machine clients alone: {listed(OF_ACCOUNTS)}. More come with time: skip what you do not know."
)
