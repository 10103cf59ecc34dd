"""Whether what a pipeline's settings name as receivers of notifications is there."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_codepipeline.engine.notifications.event_webhooks import load_event_webhook
from prefect_codepipeline.engine.notifications.slack_channels import require_slack_channel
from prefect_codepipeline.engine.notifications.wants import wants_of
from prefect_codepipeline.errors import MissingBlock
from prefect_codepipeline.model.stored.settings import StoredSettings


def missing_receivers(settings: StoredSettings) -> Iterator[str]:
    """A sentence for each receiver that gets nothing, because its block is missing or cannot be used."""
    webhooks = dict.fromkeys(rule.event_webhook for rule in settings.notifications if rule.event_webhook)
    for names, load in ((wants_of(settings), require_slack_channel), (webhooks, load_event_webhook)):
        for name in names:
            try:
                load(name)
            except MissingBlock as error:
                yield f"notifications are not sent: {error}"
