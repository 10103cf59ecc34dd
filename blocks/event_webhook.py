"""A URL that is told the events of pipelines, and the key that shows who tells them."""

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
    """Where events go as signed JSON, in EventBridge's shape. Name it as `event_webhook` in a notification rule.

    Requests are signed as https://www.standardwebhooks.com says, so its libraries check them.
    """

    # A complaint about one field must not quote the secret, nor the URL, which is one for some services.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "Event Webhook"
    _block_type_slug: ClassVar[str] = "event-webhook"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html"
    )
    _description: ClassVar[str] = "A URL that is told the events of CodePipeline pipelines as signed JSON."

    url: str = Field(description="Where to; https, or http inside one's own network.")
    secret: SecretStr = Field(
        default_factory=lambda: SecretStr(new_secret()),
        description="Signs the requests: base64 of 24 to 64 bytes, with or without 'whsec_'; random when empty.",
    )
    allows_private_addresses: bool = Field(
        False, description="Whether the URL may lead to the worker's own machine or network."
    )
    timeout: float = Field(
        10.0, gt=0, le=60, description="So many seconds one request may take to connect, and to be answered."
    )

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, secret: SecretStr) -> SecretStr:
        if not KEY_BYTES <= len(key_of(secret)) <= LONGEST_KEY:
            raise ValueError(
                f"the key has {KEY_BYTES} to {LONGEST_KEY} bytes; leave it empty to have one made"
            )
        return secret

    @field_validator("url")
    @classmethod
    def _is_a_web_address(cls, url: str) -> str:
        parts = HttpUrl(url)
        if parts.username or parts.password or parts.fragment:
            raise ValueError(
                "no user name, no password and no '#'; what the receiver checks is the signature"
            )
        return url

    @model_validator(mode="after")
    def _is_not_readable_on_the_way(self) -> EventWebhook:
        if HttpUrl(self.url).scheme != "https" and not self.allows_private_addresses:
            raise ValueError("the URL is https, unless the webhook allows private addresses")
        return self


def new_secret() -> str:
    """A random secret, as receivers take it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: SecretStr) -> bytes:
    """The key that a secret is.

    Raises:
        ValueError: it is no base64.
    """
    try:
        return base64.b64decode(secret.get_secret_value().removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("the secret is base64, with or without 'whsec_' in front") from None
