"""Where the gateway is reached, and the key that signs what it hands out."""

import secrets
from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

KEY_BYTES = 32


class Gateway(Block):
    """The service through which people approve from Slack or a link. There is one, named `default`.

    Whoever has the key can make links that approve, so it lies here and nowhere else.
    """

    # A complaint about one field must not quote the key.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "CodePipeline Gateway"
    _block_type_slug: ClassVar[str] = "codepipeline-gateway"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals.html"
    )
    _description: ClassVar[str] = "Where approval links of CodePipeline pipelines lead, and what signs them."

    link_key: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_urlsafe(KEY_BYTES)),
        description="Signs links and buttons; random when it is not given.",
    )
    former_link_key: SecretStr | None = Field(
        None, description="What was signed with it stays good; for the days after a change of the key."
    )
    url: str | None = Field(
        None,
        description="The address under which people reach the gateway; without it there are buttons, but no links.",
    )

    @field_validator("link_key", "former_link_key")
    @classmethod
    def _cannot_be_guessed(cls, key: SecretStr | None) -> SecretStr | None:
        if key and len(key.get_secret_value()) < KEY_BYTES:
            raise ValueError(f"at least {KEY_BYTES} random characters; leave it empty to have them made")
        return key

    @field_validator("url")
    @classmethod
    def _is_a_web_address(cls, url: str | None) -> str | None:
        if not url:
            return None
        parts = HttpUrl(url)
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("only scheme, host, port and path")
        return url.rstrip("/")
