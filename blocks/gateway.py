"""The gateway's URL, and the key that signs its links and buttons."""

import secrets
from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

KEY_BYTES = 32


class Gateway(Block):
    """The service for approvals from Slack and by links. There is one block, named `default`.

    A person with the key can create links that approve, so the key is stored only here.
    """

    # Validation errors must not quote the key.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "CodePipeline Gateway"
    _block_type_slug: ClassVar[str] = "codepipeline-gateway"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals.html"
    )
    _description: ClassVar[str] = "The URL of CodePipeline approval links, and the key that signs them."

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
