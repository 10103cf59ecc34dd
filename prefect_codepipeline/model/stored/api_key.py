"""An access key of the AWS API: who may sign requests, and for what."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator

from prefect_codepipeline.model.stored.content import BlockContent

# What an access key may do. `read` looks; `approve` also answers approvals; `operate` also starts, stops, retries and
# releases; `work` does jobs and nothing else; `admin` does everything.
Permission = Literal["read", "approve", "operate", "work", "admin"]
_SECRET_LENGTH = 40


class StoredApiKey(BlockContent):
    """An access key. Its name, that of its block, is the user that AWS's answers show."""

    # Validation errors must not quote the secret.
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    block_name: ClassVar[str] = "ApiKey"
    block_slug: ClassVar[str] = "codepipeline-api-key"

    access_key_id: str = Field(
        pattern=r"^AKIA[A-Z2-7]{16}$",
        description="The access key id, AKIA and 16 capitals or digits: `codepipeline key add` makes a random one.",
    )
    secret: SecretStr = Field(description="The secret access key, which signs requests.")
    may: Permission = Field(
        description="What its requests may do: read, approve, operate, work (job workers) or admin.",
    )
    pipelines: list[str] = Field(
        default_factory=lambda: ["*"],
        min_length=1,
        description="The pipelines that it may see, by name or pattern such as shop-*.",
    )
    created: datetime | None = Field(None, description="When the key was created.")

    @classmethod
    def new(cls, may: Permission, pipelines: Sequence[str] = ("*",)) -> Self:
        """A key with a random id and a random secret, in the form of AWS's."""
        return cls(
            access_key_id="AKIA" + base64.b32encode(secrets.token_bytes(10)).decode(),
            secret=SecretStr(base64.b64encode(secrets.token_bytes(_SECRET_LENGTH * 3 // 4)).decode()),
            may=may,
            pipelines=list(pipelines),
            created=datetime.now(timezone.utc),
        )

    @field_validator("secret")
    @classmethod
    def _cannot_be_guessed(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value()) < _SECRET_LENGTH:
            raise ValueError(f"the secret must have at least {_SECRET_LENGTH} random characters")
        return secret
