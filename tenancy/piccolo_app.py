"""Tells Piccolo which tables and migrations belong to this package."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from tenancy.tables import Account, Membership, User

APP_CONFIG = AppConfig(
    app_name="tenancy",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=[Account, User, Membership],
    migration_dependencies=[],
)
