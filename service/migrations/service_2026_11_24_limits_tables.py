"""What accounts are limited to, and what their administrators have set."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.column_types import UUID, BigInt, Integer, Timestamptz
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.columns.indexes import IndexMethod

ID = "2026-11-24T03:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "account_settings, account_limits"

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
KEY = {"null": False, "primary_key": True}
NOW = {"null": False, "default": TimestamptzNow()}
NEW = {
    ("AccountSettings", "account_settings"): (
        ("account_id", UUID, KEY),
        ("instance_retention_days", Integer, {}),
        ("event_retention_days", Integer, {}),
        ("sweep_at", Timestamptz, NOW | {"index": True}),
    ),
    ("AccountLimits", "account_limits"): (
        ("account_id", UUID, KEY),
        ("requests_per_second", Integer, {}),
        ("burst", Integer, {}),
        ("running_instances", Integer, {}),
        ("stored_bytes", BigInt, {}),
        ("measured_bytes", BigInt, {}),
        ("measured_at", Timestamptz, {}),
        ("measure_at", Timestamptz, NOW),
    ),
}


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)
    for (class_name, table), columns in NEW.items():
        manager.add_table(class_name=class_name, tablename=table, schema=None, columns=None)
        for name, column, changed in columns:
            manager.add_column(
                table_class_name=class_name,
                tablename=table,
                column_name=name,
                db_column_name=name,
                column_class_name=column.__name__,
                column_class=column,
                params=PLAIN | changed,
                schema=None,
            )
    return manager
