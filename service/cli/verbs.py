"""What all verbs have in common: the settings are read before any of them does anything, whether it needs them or not."""

from typing import Any

import rich_click as click

from service.settings import settings


class Verb(click.RichCommand):
    """A verb; its `--help` is shown whatever the settings are."""

    def invoke(self, ctx: click.Context) -> Any:
        """Read the settings, then do it.

        Raises:
            SetupRefused: a setting is wrong or unknown.
        """
        settings()
        return super().invoke(ctx)


class Verbs(click.RichGroup):
    """Verbs about one kind of thing."""

    command_class = Verb
