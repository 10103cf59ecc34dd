"""Starts that wait for a person, because the code of their pull request is of a fork."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.notifications.slack_channels import load_slack_channel
from prefect_codepipeline.engine.operations.starting import start_pipeline_execution
from prefect_codepipeline.engine.triggers.webhook_inbox import finished, replace_result
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.triggers.webhook_delivery import EventResult, FinishedDelivery, HeldStart
from prefect_codepipeline.model.views.slack_text import defuse, link_to

ID_LENGTH = 12
_EVERYTHING = 100_000
_logger = logging.getLogger("codepipeline.gateway")


@dataclass(frozen=True)
class Held:
    """A result of a delivery that waits, by its place among the results."""

    delivery: FinishedDelivery
    index: int

    @property
    def result(self) -> EventResult:
        return self.delivery.results[self.index]

    @property
    def start(self) -> HeldStart:
        assert self.result.held is not None
        return self.result.held


def find_held(delivery_id: str, pipeline: str | None = None) -> list[Held]:
    """What waits of one delivery.

    Args:
        delivery_id: the first characters of the delivery's key, as `codepipeline trigger list` shows them.
        pipeline: only the start of this pipeline.

    Raises:
        ValidationException: nothing waits under that id, or it is not unique.
    """
    deliveries = [each for each in finished(_EVERYTHING) if delivery_id and each.key.startswith(delivery_id)]
    if len(deliveries) > 1:
        raise ValidationException(f"{delivery_id!r} names {len(deliveries)} deliveries; give more characters")
    found = [
        Held(delivery, index)
        for delivery in deliveries
        for index, result in enumerate(delivery.results)
        if result.is_held and pipeline in (None, result.pipeline)
    ]
    if not found:
        what = f"no start of {pipeline!r}" if pipeline else "no start"
        raise ValidationException(
            f"{what} waits under {delivery_id!r}; `codepipeline trigger list` shows what waits, of the last days"
        )
    return found


def announce(finished: FinishedDelivery) -> None:
    """Tell the pipelines' Slack channels what waits. A message that cannot be sent is only a warning."""
    for result in finished.results:
        if result.is_held:
            try:
                _announce(finished.key, result)
            except Exception as error:  # the text of an error of Slack's client may quote the request
                _logger.warning(
                    "pipeline %r: Slack was not told what waits: %s; `codepipeline trigger list` shows it",
                    result.pipeline,
                    type(error).__name__,
                )


def _announce(key: str, result: EventResult) -> None:
    name = settings_of(result.pipeline or "").slack_channel
    channel = load_slack_channel(name) if name else None
    if channel is None or result.held is None:
        return
    page = link_to(result.held.url, "Read its code")
    how = f"`codepipeline trigger allow {key[:ID_LENGTH]}`"
    channel.post(
        f"*{defuse(result.pipeline or '')}* waits: {defuse(result.event)}, by {defuse(result.held.author) or 'an unknown author'}. "
        f"{page or 'Read its code'}, then allow this commit with {how}",
        [],
    )


def allow(held: Held, allowed_by: str) -> str:
    """Start what waits; the id of its execution. Doing it twice, or after a crash in between, starts nothing twice.

    Raises:
        CodePipelineError: the pipeline cannot be started; the start still waits.
    """
    start = held.start
    pipeline = held.result.pipeline or ""
    execution_id = start_pipeline_execution(
        pipeline, {}, start.source_revisions, start.trigger_detail, start.token, start.trigger_type
    )
    results = list(held.delivery.results)
    results[held.index] = held.result.model_copy(
        update={"execution_id": execution_id, "allowed_by": allowed_by, "reason": ""}
    )
    replace_result(held.delivery.model_copy(update={"results": tuple(results)}))
    return execution_id
