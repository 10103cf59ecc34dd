"""The gateway's URL, and the key that signs its links and buttons."""

from __future__ import annotations

import secrets
from typing import ClassVar

from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

from prefect_codepipeline.model.stored.content import BlockContent

KEY_BYTES = 32


class StoredGateway(BlockContent):
    """Where the gateway is, and its keys."""

    # Validation errors must not quote the key.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    block_name: ClassVar[str] = "Gateway"
    block_slug: ClassVar[str] = "codepipeline-gateway"

    link_key: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_urlsafe(KEY_BYTES)),
        description="The key that signs links and buttons; random if empty.",
    )
    former_link_key: SecretStr | None = Field(
        None, description="The previous key. Links and buttons signed with it stay valid."
    )
    url: str | None = Field(
        None,
        description="The gateway's public URL. Without it, messages have buttons but no links.",
    )

    account: str | None = Field(
        None, pattern=r"^[0-9]{12}$", description="The account id that the AWS API shows: 12 digits."
    )
    region: str | None = Field(
        None,
        pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]+$",
        description="The AWS region of all pipelines in the AWS API.",
    )

    @property
    def signing_keys(self) -> list[str]:
        """The former key, if any, and the current one: `itsdangerous` signs with the last, and accepts both."""
        return [key.get_secret_value() for key in (self.former_link_key, self.link_key) if key]

    @field_validator("link_key", "former_link_key")
    @classmethod
    def _cannot_be_guessed(cls, key: SecretStr | None) -> SecretStr | None:
        if key and len(key.get_secret_value()) < KEY_BYTES:
            raise ValueError(
                f"the key must have at least {KEY_BYTES} random characters; leave it empty to create one"
            )
        return key

    @field_validator("url")
    @classmethod
    def _is_a_web_address(cls, url: str | None) -> str | None:
        if not url:
            return None
        parts = HttpUrl(url)
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("the URL may contain only scheme, host, port and path")
        return url.rstrip("/")
