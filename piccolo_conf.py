"""Piccolo's entry point: the engine, from the settings, and the three packages that have tables."""

from piccolo.conf.apps import AppRegistry

from service.settings import settings
from tenancy.postgres import Engine

DB = Engine(config=settings().database.application)
APP_REGISTRY = AppRegistry(apps=["tenancy.piccolo_app", "auth.piccolo_app", "service.piccolo_app"])
