"""Tells Piccolo which tables and migrations belong to this package."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from auth.tables import (
    AccessToken,
    AuthorizationCode,
    AuthorizationRequest,
    Client,
    Consent,
    Grant,
    Invitation,
    KnownDevice,
    LoginSession,
    RefreshToken,
    SigningKey,
    Throttle,
    UsedAssertion,
)

APP_CONFIG = AppConfig(
    app_name="auth",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=[
        Client,
        Consent,
        Grant,
        AuthorizationCode,
        AccessToken,
        RefreshToken,
        LoginSession,
        Invitation,
        AuthorizationRequest,
        SigningKey,
        UsedAssertion,
        KnownDevice,
        Throttle,
    ],
    migration_dependencies=["tenancy.piccolo_app"],
)
