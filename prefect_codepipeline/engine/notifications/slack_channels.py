"""The Slack channels that people have stored, and what is decided from a message there."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.approvals.links import approval_link, sign
from prefect_codepipeline.errors import MissingBlock
from prefect_codepipeline.model.approvals.target import ApprovalTarget
from prefect_codepipeline.model.record.facts import ApprovalRequested
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.views.slack_message import Ways
from prefect_codepipeline.prefect_api.client import call, call_all

_logger = logging.getLogger(__name__)


def load_slack_channel(name: str) -> SlackChannel | None:
    """The block of that name, or None if there is none.

    Raises:
        MissingBlock: the block cannot be used; says which fields are wrong.
        PrefectUnavailable: the API does not respond.
    """
    path = f"/block_types/slug/slack-channel/block_documents/name/{quote(name, safe='')}?include_secrets=true"
    status, document = call("GET", path, expected=(404, 422))
    if status != 200:
        return None
    return _parsed(name, document["data"])


def all_slack_channels() -> list[SlackChannel]:
    """All blocks that can be used; a warning is logged for others. Raises `PrefectUnavailable`."""
    wanted = {"block_types": {"slug": {"any_": ["slack-channel"]}}, "include_secrets": True}
    found = []
    for document in call_all("/block_documents/filter", wanted):
        try:
            found.append(_parsed(document["name"], document["data"]))
        except MissingBlock as error:
            _logger.warning("%s", error)
    return found


def _parsed(name: str, data: Any) -> SlackChannel:
    try:
        return SlackChannel.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise MissingBlock(
            f"SlackChannel block {name!r} cannot be used: {wrong}; replace it with `codepipeline slack add {name}`"
        ) from None


def ways_to_decide(
    state: ExecutionState, request: ApprovalRequested, channel: SlackChannel, gateway: Gateway | None
) -> Ways:
    """The ways in which the readers of a channel can decide an approval."""
    if gateway is None:
        return Ways()
    target = ApprovalTarget(state.execution_id, request.token, request.expires_at)
    value = sign(gateway, target, "slack-button") if channel.has_buttons else None
    return Ways(value, approval_link(gateway, state.execution_id, request.token, request.expires_at))
