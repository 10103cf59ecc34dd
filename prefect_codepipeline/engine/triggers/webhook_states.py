"""When a V1 webhook last started its pipeline, and what was wrong with the last request: a Prefect variable each.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ListWebhookItem.html
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydantic import BaseModel, ConfigDict, SecretStr

from prefect_codepipeline.prefect_api.variables import (
    delete_variable,
    put_variable,
    read_variable,
    variables_with_prefix,
)

_PREFIX = "webhook-state-"


class WebhookState(BaseModel):
    """`error_code` and `error` are of the last request; a request that starts the pipeline removes them."""

    model_config = ConfigDict(frozen=True)

    triggered_at: datetime | None = None
    error_code: str | None = None
    error: str | None = None


def note_triggered(url_token: SecretStr, at: datetime) -> None:
    """A request has started the pipeline."""
    _put(url_token, WebhookState(triggered_at=at))


def note_error(url_token: SecretStr, code: str, error: str) -> None:
    """A request has started nothing; `code` is what its sender was answered."""
    known = state_of(url_token)
    state = WebhookState(triggered_at=known.triggered_at, error_code=code, error=error)
    if state != known:  # a request that is repeated costs one look
        _put(url_token, state)


def state_of(url_token: SecretStr) -> WebhookState:
    """The state of the webhook with that URL. One that is created again has another URL, and no state."""
    found = read_variable(state_key(url_token))
    return WebhookState.model_validate(found["value"]) if found else WebhookState()


def all_states() -> dict[str, WebhookState]:
    """The states of all webhooks, by `state_key`; one request for each 200."""
    return {
        str(each["name"]): WebhookState.model_validate(each["value"])
        for each in variables_with_prefix(_PREFIX)
    }


def state_key(url_token: SecretStr) -> str:
    """The key of a webhook in `all_states`."""
    return _PREFIX + hashlib.sha256(url_token.get_secret_value().encode()).hexdigest()[:32]


def drop_state(url_token: SecretStr) -> None:
    """Forget the state of a webhook that is deleted."""
    if found := read_variable(state_key(url_token)):
        delete_variable(found)


def _put(url_token: SecretStr, state: WebhookState) -> None:
    put_variable(state_key(url_token), state.model_dump(mode="json"), ["codepipeline"])
