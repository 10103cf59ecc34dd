"""A webhook of a V1 pipeline, as `PutWebhook` creates it: filters, authentication, and the secret part of its URL."""

from __future__ import annotations

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr

from prefect_codepipeline.model.stored.definition import MASK
from prefect_codepipeline.model.triggers.webhooks import WebhookDefinition


class PipelineWebhook(Block):
    """A webhook that starts one pipeline. Created by `codepipeline webhook add`."""

    _block_type_name: ClassVar[str] = "Pipeline Webhook"
    _block_type_slug: ClassVar[str] = "pipeline-webhook"
    _description: ClassVar[str] = (
        "A webhook that starts a CodePipeline pipeline, created by `codepipeline webhook add`."
    )
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PutWebhook.html"
    )

    definition: dict[str, Any] = Field(
        description="The definition in PutWebhook's format, without the secret: target pipeline and action, filters, authentication."
    )
    secret_token: SecretStr | None = Field(
        None, description="The secret of a webhook with authentication GITHUB_HMAC."
    )
    url_token: SecretStr = Field(description="The secret part of the webhook's URL.")

    @classmethod
    def of(cls, definition: WebhookDefinition, url_token: SecretStr) -> PipelineWebhook:
        """Create the block, with the secret separated from the definition."""
        wire = definition.model_dump(mode="json", by_alias=True, exclude_none=True)
        secret = wire["authenticationConfiguration"].pop("SecretToken", None)
        return cls(definition=wire, secret_token=secret and SecretStr(secret), url_token=url_token)

    def masked(self) -> dict[str, Any]:
        """The definition in PutWebhook's format, with `****` in place of its secret."""
        settings = dict(self.definition["authenticationConfiguration"])
        if self.secret_token is not None:
            settings["SecretToken"] = MASK
        return {**self.definition, "authenticationConfiguration": settings}

    def whole(self) -> WebhookDefinition:
        """The definition with its secret."""
        settings = dict(self.definition["authenticationConfiguration"])
        if self.secret_token is not None:
            settings["SecretToken"] = self.secret_token.get_secret_value()
        return WebhookDefinition.model_validate({**self.definition, "authenticationConfiguration": settings})
