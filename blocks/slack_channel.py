"""A Slack channel, and a bot that may write there."""

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr
from slack_sdk import WebClient
from slack_sdk.http_retry import HttpRequest, HttpResponse, RetryHandler, RetryState

SLACK_API = "https://slack.com/api/"
TIMEOUT_SECONDS = 5


class _NoRetry(RetryHandler):
    """Retries are the notifier's, which knows what is worth sending by then."""

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        return False


class SlackChannel(Block):
    """Where a pipeline reports to. Name it as `slack_channel` in the pipeline's settings."""

    _block_type_name: ClassVar[str] = "Slack Channel"
    _block_type_slug: ClassVar[str] = "slack-channel"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.slack.dev/authentication/tokens")
    _description: ClassVar[str] = "A Slack channel that CodePipeline pipelines report to."

    bot_token: SecretStr = Field(description="The bot's token, xoxb-…; its app needs the scope chat:write.")
    channel: str = Field(min_length=1, description="The channel's id, such as C0123456789.")
    api_url: str = Field(SLACK_API, description="Slack's API; another address for a proxy or a test.")

    def post(self, text: str, blocks: list[dict[str, Any]], thread_ts: str | None = None) -> tuple[str, str]:
        """Post a message; the id of the channel it stands in, and its own.

        Raises:
            slack_sdk.errors.SlackApiError: Slack refused it.
            OSError: Slack was not reached.
        """
        answer = self._client().chat_postMessage(
            channel=self.channel,
            text=text,
            blocks=blocks,
            thread_ts=thread_ts,
            unfurl_links=False,
            unfurl_media=False,
        )
        return str(answer["channel"]), str(answer["ts"])

    def update(self, channel_id: str, ts: str, text: str, blocks: list[dict[str, Any]]) -> None:
        """Replace a message. Raises as `post` does."""
        self._client().chat_update(channel=channel_id, ts=ts, text=text, blocks=blocks)

    def _client(self) -> WebClient:
        return WebClient(
            token=self.bot_token.get_secret_value(),
            base_url=self.api_url,
            timeout=TIMEOUT_SECONDS,
            retry_handlers=[_NoRetry()],
        )
