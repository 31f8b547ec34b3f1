"""What an event tells besides: of which kind its actor is, which request asked, what something was before and after."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.column_types import JSONB, UUID, Text
from piccolo.columns.indexes import IndexMethod

ID = "2026-11-23T11:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = (
    "Events tell of their actor's kind, their request, before and after; instances of their previous status"
)

PLAIN = {
    "null": True,
    "default": None,
    "primary_key": False,
    "unique": False,
    "index": False,
    "index_method": IndexMethod.btree,
    "choices": None,
    "db_column_name": None,
    "secret": False,
}
NEW = (
    ("Event", "actor_kind", Text, {"default": "engine", "null": False}),
    ("Event", "request_id", UUID, {}),
    ("Event", "before", JSONB, {}),
    ("Event", "after", JSONB, {}),
    ("Instance", "previous_status", Text, {}),
)


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)
    for table, name, column, changed in NEW:
        manager.add_column(
            table_class_name=table,
            tablename=table.lower(),
            column_name=name,
            db_column_name=name,
            column_class_name=column.__name__,
            column_class=column,
            params=PLAIN | changed,
            schema=None,
        )
    return manager
