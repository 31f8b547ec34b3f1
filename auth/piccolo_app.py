"""Tells Piccolo which tables and migrations belong to this package."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from auth.tables import AccessToken, Client, Grant

APP_CONFIG = AppConfig(
    app_name="auth",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=[Client, Grant, AccessToken],
    migration_dependencies=["tenancy.piccolo_app"],
)
