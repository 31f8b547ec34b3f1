"""Tells Piccolo which tables and migrations belong to this package."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from service.tables import (
    AccountLimits,
    AccountSettings,
    BulkAction,
    BulkTarget,
    Decision,
    Event,
    Instance,
    Job,
    Listener,
    Schedule,
    Secret,
    Signal,
    TakenEvent,
    TaskRun,
    Timer,
    TriggerKey,
    Webhook,
    WebhookAttempt,
    WebhookDelivery,
    Workflow,
    WorkflowVersion,
    WorkItem,
    WorkItemAssignee,
)

APP_CONFIG = AppConfig(
    app_name="service",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=[
        Workflow,
        WorkflowVersion,
        Instance,
        Timer,
        Signal,
        TakenEvent,
        Event,
        TaskRun,
        Job,
        Listener,
        WorkItem,
        WorkItemAssignee,
        Decision,
        Secret,
        Schedule,
        TriggerKey,
        BulkAction,
        BulkTarget,
        Webhook,
        WebhookDelivery,
        WebhookAttempt,
        AccountSettings,
        AccountLimits,
    ],
    migration_dependencies=["auth.piccolo_app"],
)
