"""A Slack channel, and the token of a bot that can write to it."""

import logging
from typing import Any, ClassVar
from urllib.request import Request

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator
from slack_sdk import WebClient

SLACK_API = "https://slack.com/api/"
# No user waits for these responses, and a message without a response would be posted again.
TIMEOUT_SECONDS = 30
# The SDK logs every attempt as an error; the notifier logs a failure once.
_muted = logging.getLogger("prefect_codepipeline.slack_sdk")
_muted.setLevel(logging.CRITICAL + 1)


class _Client(WebClient):
    """Slack's client, whose token does not follow a redirect."""

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        # urllib repeats `headers` at the address that a redirect names, on any host, and not these.
        for name, value in req.header_items():
            req.add_unredirected_header(name, value)
        req.headers.clear()
        return super()._perform_urllib_http_request_internal(url, req)


class SlackChannel(Block):
    """The channel for a pipeline's notifications. Use it as `slack_channel` in the pipeline's settings."""

    # Validation errors must not quote the token.
    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str] = "Slack Channel"
    _block_type_slug: ClassVar[str] = "slack-channel"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.slack.dev/authentication/tokens")
    _description: ClassVar[str] = "A Slack channel for the notifications of CodePipeline pipelines."

    bot_token: SecretStr = Field(description="The bot token, xoxb-…; its app needs the scope chat:write.")
    channel: str = Field(min_length=1, description="The channel's id, such as C0123456789.")
    signing_secret: SecretStr | None = Field(
        None, description="The app's signing secret, for buttons if Slack can reach the gateway."
    )
    app_token: SecretStr | None = Field(
        None, description="The app token for Socket Mode, xapp-…, for buttons without a public address."
    )
    api_url: str = Field(SLACK_API, description="URL of Slack's API; change it for a proxy or a test.")

    @field_validator("bot_token", "app_token", "signing_secret")
    @classmethod
    def _fits_a_header(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None:
            return None
        value = token.get_secret_value().strip()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("not a token: it is empty, or contains a space or an invalid character")
        return SecretStr(value)

    @field_validator("api_url")
    @classmethod
    def _is_a_web_address(cls, url: str) -> str:
        HttpUrl(url)
        return url

    @property
    def has_buttons(self) -> bool:
        """Whether the gateway can receive button presses."""
        return bool(self.signing_secret or self.app_token)

    def post(self, text: str, blocks: list[dict[str, Any]], thread_ts: str | None = None) -> tuple[str, str]:
        """Post a message. Returns the id of the channel and the timestamp of the message.

        Args:
            text: the text of notifications, and the whole message if there are no blocks.
            blocks: the message in the channel, as Block Kit.
            thread_ts: the timestamp of the message to reply to.

        Raises:
            slack_sdk.errors.SlackApiError: Slack refused the message.
            TimeoutError: Slack did not answer within `TIMEOUT_SECONDS`; it may have posted the message.
            OSError, http.client.HTTPException: Slack could not be reached, or the connection broke.
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
        """Open a modal for the user who pressed a button; allowed for three seconds. Raises as `post` does."""
        self._client().views_open(trigger_id=trigger_id, view=view)

    def user(self, user_id: str) -> tuple[str, str]:
        """A user's name and e-mail address; the address is empty if the app may not read it. Raises as `post` does."""
        profile = self._client().users_info(user=user_id)["user"]
        known = profile.get("profile") or {}
        return str(profile.get("real_name") or profile.get("name") or ""), str(known.get("email") or "")

    def has_member(self, group_id: str, user_id: str) -> bool:
        """Whether a user is a member of a user group. Raises as `post` does."""
        return user_id in self._client().usergroups_users_list(usergroup=group_id)["users"]

    def socket_client(self) -> WebClient:
        """The client for Socket Mode connections, with the app token."""
        assert self.app_token, "Socket Mode needs an app token"
        return self._client(self.app_token)

    def _client(self, token: SecretStr | None = None) -> WebClient:
        return _Client(
            token=(token or self.bot_token).get_secret_value(),
            base_url=self.api_url,
            timeout=TIMEOUT_SECONDS,
            retry_handlers=[],  # the notifier decides whether a message is still worth sending
            logger=_muted,
        )
