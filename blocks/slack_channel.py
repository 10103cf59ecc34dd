"""A Slack channel, and a bot that may write there."""

import logging
from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator
from slack_sdk import WebClient

SLACK_API = "https://slack.com/api/"
# Nobody waits for these answers, and a message whose answer was not waited for would be posted again.
TIMEOUT_SECONDS = 30
# The SDK logs every attempt as an error; the notifier says once what matters.
_unheard = logging.getLogger("prefect_codepipeline.slack_sdk")
_unheard.setLevel(logging.CRITICAL + 1)


class SlackChannel(Block):
    """Where a pipeline reports to. Name it as `slack_channel` in the pipeline's settings."""

    # A complaint about one field must not quote the token.
    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "Slack Channel"
    _block_type_slug: ClassVar[str] = "slack-channel"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.slack.dev/authentication/tokens")
    _description: ClassVar[str] = "A Slack channel that CodePipeline pipelines report to."

    bot_token: SecretStr = Field(description="The bot's token, xoxb-…; its app needs the scope chat:write.")
    channel: str = Field(min_length=1, description="The channel's id, such as C0123456789.")
    signing_secret: SecretStr | None = Field(
        None, description="The app's signing secret, for buttons whose answers Slack sends to the gateway."
    )
    app_token: SecretStr | None = Field(
        None, description="The app's token for Socket Mode, xapp-…, for buttons without a public address."
    )
    api_url: str = Field(SLACK_API, description="Slack's API; another address for a proxy or a test.")

    @field_validator("bot_token", "app_token", "signing_secret")
    @classmethod
    def _fits_a_header(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None:
            return None
        value = token.get_secret_value().strip()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("not a token: it is empty, or holds a space or a character that no token has")
        return SecretStr(value)

    @field_validator("api_url")
    @classmethod
    def _is_a_web_address(cls, url: str) -> str:
        HttpUrl(url)
        return url

    @property
    def has_buttons(self) -> bool:
        """Whether what people press can come back to us."""
        return bool(self.signing_secret or self.app_token)

    def post(self, text: str, blocks: list[dict[str, Any]], thread_ts: str | None = None) -> tuple[str, str]:
        """Post a message; the id of the channel it stands in, and its own.

        Args:
            text: what notifications show, and the whole message when there are no blocks.
            blocks: Block Kit; what the channel shows.
            thread_ts: the message that this one replies to.

        Raises:
            slack_sdk.errors.SlackApiError: Slack refused it.
            TimeoutError: Slack did not answer within `TIMEOUT_SECONDS`; it may have taken the message.
            OSError, http.client.HTTPException: Slack was not reached, or the connection broke.
        """
        answer = self._client().chat_postMessage(
            channel=self.channel,
            text=text,
            blocks=blocks or None,
            thread_ts=thread_ts,
            parse="none",
            link_names=False,
            unfurl_links=False,
            unfurl_media=False,
        )
        return str(answer["channel"]), str(answer["ts"])

    def update(self, channel_id: str, ts: str, text: str, blocks: list[dict[str, Any]]) -> None:
        """Replace a message. Raises as `post` does."""
        self._client().chat_update(
            channel=channel_id, ts=ts, text=text, blocks=blocks, parse="none", link_names=False
        )

    def open_dialog(self, trigger_id: str, view: dict[str, Any]) -> None:
        """Show a modal to who pressed a button, within three seconds of that. Raises as `post` does."""
        self._client().views_open(trigger_id=trigger_id, view=view)

    def user(self, user_id: str) -> tuple[str, str]:
        """A user's name, and their e-mail address where the app may see it. Raises as `post` does."""
        profile = self._client().users_info(user=user_id)["user"]
        known = profile.get("profile") or {}
        return str(profile.get("real_name") or profile.get("name") or ""), str(known.get("email") or "")

    def has_member(self, group_id: str, user_id: str) -> bool:
        """Whether a user is in a group. Raises as `post` does."""
        return user_id in self._client().usergroups_users_list(usergroup=group_id)["users"]

    def socket_client(self) -> WebClient:
        """What opens Socket Mode's connections, with the app's own token."""
        assert self.app_token, "Socket Mode needs an app token"
        return self._client(self.app_token)

    def _client(self, token: SecretStr | None = None) -> WebClient:
        return WebClient(
            token=(token or self.bot_token).get_secret_value(),
            base_url=self.api_url,
            timeout=TIMEOUT_SECONDS,
            retry_handlers=[],  # the notifier knows what is worth sending by then
            logger=_unheard,
        )
