"""What the lists are read along, so that none looks at more rows the longer it is; indexes that led nowhere are gone."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-24T07:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Indexes of lists: each filter has one, and none is there that no list needs"

FORWARDS = """
-- By status, so that one index serves the list of each status, and of all of them as a merge of these; so does that of a
-- workflow, and that of an instance.
DROP INDEX work_item_newest;
DROP INDEX work_item_open;
DROP INDEX work_item_ended;
DROP INDEX work_item_by_workflow;
CREATE INDEX work_item_by_status ON work_item (account_id, status, opened_at DESC, id DESC);
CREATE INDEX work_item_by_workflow ON work_item (account_id, workflow_id, status, opened_at DESC, id DESC);
CREATE INDEX work_item_by_instance ON work_item (account_id, instance_id, status, opened_at DESC, id DESC);
CREATE INDEX work_item_overdue_of_workflow ON work_item (account_id, workflow_id, opened_at DESC, id DESC)
    WHERE status = 'open' AND overdue;
-- Under row-level security no index of `coalesce` is used, as PostgreSQL does not know that it tells nothing of a row; one
-- of CASE is. (This one led to an account's first date, and was read on from there.)
DROP INDEX work_item_due;
CREATE INDEX work_item_due
    ON work_item (account_id, (CASE WHEN due_at IS NULL THEN '9999-12-31 00:00:00+00' ELSE due_at END), id)
    WHERE status = 'open';
CREATE INDEX work_item_due_of_workflow
    ON work_item (account_id, workflow_id, (CASE WHEN due_at IS NULL THEN '9999-12-31 00:00:00+00' ELSE due_at END), id)
    WHERE status = 'open';
CREATE INDEX work_item_assignee_of_workflow
    ON work_item_assignee (account_id, assignee, workflow_id, state, opened_at DESC, work_item_id DESC);
CREATE INDEX work_item_assignee_due_of_workflow
    ON work_item_assignee (account_id, assignee, workflow_id, state, due_at, work_item_id)
    WHERE state IN ('open', 'overdue');

CREATE INDEX workflow_by_status ON workflow (account_id, status, created_at DESC, id DESC);
CREATE INDEX bulk_action_by_status ON bulk_action (account_id, status, created_at DESC, id DESC);

-- Nor is one of JSON: this one was read from end to end, and every event paid for it. The
-- events of a work item are found among those of its instance.
DROP INDEX event_of_work_item;
DROP INDEX event_by_request;
CREATE INDEX event_by_request ON event (account_id, request_id, at DESC, id DESC) WHERE request_id IS NOT NULL;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
