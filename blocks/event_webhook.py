"""A URL that receives pipeline events, and the key that signs them."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

SECRET_PREFIX = "whsec_"
KEY_BYTES, LONGEST_KEY = 24, 64


class EventWebhook(Block):
    """A URL that receives signed JSON events in EventBridge's format. Use it as `event_webhook` in a notification rule.

    Requests are signed according to https://www.standardwebhooks.com, whose libraries can verify them.
    """

    # Validation errors must not quote the secret, nor the URL, which some services treat as a secret.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "Event Webhook"
    _block_type_slug: ClassVar[str] = "event-webhook"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html"
    )
    _description: ClassVar[str] = "A URL that receives the events of CodePipeline pipelines as signed JSON."

    url: str = Field(description="The URL that receives the events: https, or http inside a private network.")
    secret: SecretStr = Field(
        default_factory=lambda: SecretStr(new_secret()),
        description="Signs the requests: base64 of 24 to 64 bytes, with or without 'whsec_'; random if empty.",
    )
    allows_private_addresses: bool = Field(
        False, description="Whether URLs of the worker's own machine or network are allowed."
    )
    timeout: float = Field(
        10.0,
        gt=0,
        le=60,
        description="Timeout of one request in seconds, to connect and to receive the response.",
    )

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, secret: SecretStr) -> SecretStr:
        if not KEY_BYTES <= len(key_of(secret)) <= LONGEST_KEY:
            raise ValueError(
                f"the key must have {KEY_BYTES} to {LONGEST_KEY} bytes; leave it empty to create one"
            )
        return secret

    @field_validator("url")
    @classmethod
    def _is_a_web_address(cls, url: str) -> str:
        parts = HttpUrl(url)
        if parts.username or parts.password or parts.fragment:
            raise ValueError(
                "the URL must not contain a user name, a password or '#'; receivers check the signature instead"
            )
        return url

    @model_validator(mode="after")
    def _is_encrypted_or_private(self) -> EventWebhook:
        if HttpUrl(self.url).scheme != "https" and not self.allows_private_addresses:
            raise ValueError("the URL must be https unless the webhook allows private addresses")
        return self


def new_secret() -> str:
    """A new random secret, in the format of receivers."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: SecretStr) -> bytes:
    """The key bytes of a secret.

    Raises:
        ValueError: the secret is not base64.
    """
    try:
        return base64.b64decode(secret.get_secret_value().removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("the secret must be base64, with or without the prefix 'whsec_'") from None
