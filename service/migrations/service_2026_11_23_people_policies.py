"""Whom work items are assigned to, kept in order by the database itself; what their lists and histories are read along."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T07:01:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "work_item_assignee follows work_item; indexes of people's lists and of a work item's history"

FORWARDS = """
ALTER TABLE work_item_assignee ENABLE ROW LEVEL SECURITY;
ALTER TABLE work_item_assignee FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON work_item_assignee USING (account_id = (SELECT current_account()));
ALTER TABLE work_item_assignee ADD CONSTRAINT work_item_assignee_work_item
    FOREIGN KEY (account_id, work_item_id) REFERENCES work_item (account_id, id) ON DELETE CASCADE;

-- For each assignee and state the rows stand in the order of a list.
CREATE INDEX work_item_assignee_newest
    ON work_item_assignee (account_id, assignee, state, opened_at DESC, work_item_id DESC);
CREATE INDEX work_item_assignee_due ON work_item_assignee (account_id, assignee, state, due_at, work_item_id)
    WHERE state IN ('open', 'overdue');
CREATE INDEX work_item_due ON work_item (account_id, coalesce(due_at, '9999-12-31 00:00:00+00'), id)
    WHERE status = 'open';
CREATE INDEX work_item_claimed ON work_item (account_id, claimed_by, opened_at DESC, id DESC)
    WHERE status = 'open' AND claimed_by IS NOT NULL;
CREATE INDEX event_of_work_item ON event (account_id, (data ->> 'work_item_id'), id) WHERE type LIKE 'work_item.%';

CREATE FUNCTION assign_work_item(item work_item) RETURNS void LANGUAGE sql VOLATILE BEGIN ATOMIC
    INSERT INTO work_item_assignee (account_id, work_item_id, workflow_id, assignee, state, opened_at, due_at, excluded)
    SELECT (item).account_id, (item).id, (item).workflow_id, named.assignee,
           CASE WHEN (item).status = 'open' AND (item).overdue THEN 'overdue' ELSE (item).status END,
           (item).opened_at, coalesce((item).due_at, '9999-12-31 00:00:00+00'), (item).excluded
    FROM (SELECT 'user:' || one FROM unnest((item).users) AS one UNION
          SELECT 'role:' || one FROM unnest((item).roles) AS one) AS named (assignee);
END;

-- Whoever opens, hands on, marks or closes a work item: its assignees' rows follow, and its cancellation is told.
CREATE FUNCTION work_item_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM assign_work_item(NEW);
        RETURN NULL;
    END IF;
    IF (OLD.users, OLD.roles) IS DISTINCT FROM (NEW.users, NEW.roles) THEN
        DELETE FROM work_item_assignee WHERE account_id = NEW.account_id AND work_item_id = NEW.id;
        PERFORM assign_work_item(NEW);
    ELSE
        UPDATE work_item_assignee
        SET state = CASE WHEN NEW.status = 'open' AND NEW.overdue THEN 'overdue' ELSE NEW.status END
        WHERE account_id = NEW.account_id AND work_item_id = NEW.id;
    END IF;
    IF OLD.status = 'open' AND NEW.status = 'cancelled' THEN
        INSERT INTO event (account_id, workflow_id, instance_id, type, data)
        VALUES (NEW.account_id, NEW.workflow_id, NEW.instance_id, 'work_item.cancelled',
                jsonb_build_object('work_item_id', NEW.id));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER work_item_opened AFTER INSERT ON work_item FOR EACH ROW EXECUTE FUNCTION work_item_changed();
CREATE TRIGGER work_item_changed AFTER UPDATE OF users, roles, status, overdue ON work_item FOR EACH ROW
    EXECUTE FUNCTION work_item_changed();
"""

# What is there already, of every account: the one statement that has to see them all.
BACKFILL = """
ALTER TABLE work_item NO FORCE ROW LEVEL SECURITY;
ALTER TABLE work_item_assignee NO FORCE ROW LEVEL SECURITY;
SELECT assign_work_item(work_item) FROM work_item;
ALTER TABLE work_item FORCE ROW LEVEL SECURITY;
ALTER TABLE work_item_assignee FORCE ROW LEVEL SECURITY;
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS + BACKFILL)

    manager.add_raw(run)
    return manager
