"""The stored Slack channels, and the ways to decide an approval from a message there."""

from __future__ import annotations

import logging
import shlex

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.approvals.links import approval_link, sign
from prefect_codepipeline.errors import MissingBlock
from prefect_codepipeline.model.approvals.target import ApprovalTarget
from prefect_codepipeline.model.record.facts import ApprovalRequested
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.stored.gateway import StoredGateway
from prefect_codepipeline.model.views.slack_message import Ways
from prefect_codepipeline.prefect_api.block_documents import block_of, find_block, list_documents, load_block

_logger = logging.getLogger(__name__)


def load_slack_channel(name: str) -> SlackChannel | None:
    """The block of that name, or None if there is none.

    Raises:
        MissingBlock: the block cannot be used; says which fields are wrong.
        PrefectUnavailable: the API does not respond.
    """
    return find_block(SlackChannel, name, command=_command(name))


def require_slack_channel(name: str) -> SlackChannel:
    """The block of that name. Raises `MissingBlock` also if there is none, and `PrefectUnavailable`."""
    return load_block(SlackChannel, name, command=_command(name))


def all_slack_channels() -> list[SlackChannel]:
    """All blocks that can be used; a warning is logged for others. Raises `PrefectUnavailable`."""
    found = []
    for document in list_documents(SlackChannel, with_secrets=True):
        try:
            found.append(block_of(SlackChannel, document, _command(document["name"])))
        except MissingBlock as error:
            _logger.warning("%s", error)
    return found


def _command(name: str) -> str:
    return f"codepipeline slack add {shlex.quote(name)} --channel ID"


def ways_to_decide(
    state: ExecutionState, request: ApprovalRequested, channel: SlackChannel, gateway: StoredGateway | None
) -> Ways:
    """The ways in which the readers of a channel can decide an approval."""
    if gateway is None:
        return Ways()
    target = ApprovalTarget(state.execution_id, request.token, request.expires_at)
    value = sign(gateway, target, "slack-button") if channel.has_buttons else None
    return Ways(value, approval_link(gateway, state.execution_id, request.token, request.expires_at))
