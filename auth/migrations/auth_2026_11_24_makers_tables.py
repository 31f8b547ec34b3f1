"""Who registered a client, and who allowed one something for every member of an account; unknown of those before."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.column_types import UUID
from piccolo.columns.indexes import IndexMethod

ID = "2026-11-24T13:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Who made clients and consents"


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="auth", description=DESCRIPTION)
    for table, name in (("Client", "created_by"), ("Consent", "granted_by")):
        manager.add_column(
            table_class_name=table,
            tablename=table.lower(),
            column_name=name,
            db_column_name=name,
            column_class_name="UUID",
            column_class=UUID,
            params={
                "default": None,
                "null": True,
                "primary_key": False,
                "unique": False,
                "index": False,
                "index_method": IndexMethod.btree,
                "choices": None,
                "db_column_name": None,
                "secret": False,
            },
            schema=None,
        )
    return manager
