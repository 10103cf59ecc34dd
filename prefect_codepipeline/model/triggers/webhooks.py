"""The webhooks of V1 pipelines, as in `PutWebhook`: filters and authentication.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_WebhookDefinition.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from prefect_codepipeline.errors import (
    InvalidWebhookAuthenticationParametersException,
    InvalidWebhookFilterPatternException,
)
from prefect_codepipeline.model.definition.declaration import Declared, Name
from prefect_codepipeline.model.names import is_path_part

WebhookAuthenticationType = Literal["GITHUB_HMAC", "IP", "UNAUTHENTICATED"]
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class WebhookFilterRule(Declared):
    json_path: Annotated[str, Field(min_length=1, max_length=150)]
    match_equals: Annotated[str, Field(min_length=1, max_length=150)] | None = None


class WebhookAuthConfiguration(Declared):
    # AWS spells these two with capitals.
    allowed_ip_range: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, alias="AllowedIPRange"
    )
    # Excluded from `repr`, which may be logged.
    secret_token: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, alias="SecretToken", repr=False
    )


def _as_path_part(name: str) -> str:
    if not is_path_part(name):
        raise ValueError(f"a webhook cannot have the name {name!r}: its name is part of its URL")
    return name


class WebhookDefinition(Declared):
    name: Annotated[Name, AfterValidator(_as_path_part)]
    target_pipeline: Name
    target_action: Name
    filters: Annotated[list[WebhookFilterRule], Field(max_length=5)]
    authentication: WebhookAuthenticationType
    authentication_configuration: WebhookAuthConfiguration


def check_authentication(webhook: WebhookDefinition) -> None:
    """Check that the settings fit the type of authentication; each type allows at most one setting.

    Raises:
        InvalidWebhookAuthenticationParametersException: the message names the required setting.
    """
    settings = webhook.authentication_configuration
    given = {
        name
        for name, value in (
            ("SecretToken", settings.secret_token),
            ("AllowedIPRange", settings.allowed_ip_range),
        )
        if value is not None
    }
    wanted = {"GITHUB_HMAC": {"SecretToken"}, "IP": {"AllowedIPRange"}}.get(webhook.authentication, set())
    if given != wanted:
        raise InvalidWebhookAuthenticationParametersException(
            f"webhook {webhook.name!r}: {webhook.authentication} needs "
            f"{' and '.join(wanted) or 'no settings'}, got {' and '.join(sorted(given)) or 'none'}"
        )
    if settings.allowed_ip_range is not None:
        allowed_network(settings.allowed_ip_range)


def allowed_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network of an `AllowedIPRange`. Raises `InvalidWebhookAuthenticationParametersException`."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidWebhookAuthenticationParametersException(
            f"{text!r} is not a range of IP addresses such as 192.0.2.0/24"
        ) from None


def expected_value(rule: WebhookFilterRule, configuration: Mapping[str, str]) -> str | None:
    """The value that a filter requires, with each `{Key}` replaced from the target action; None means any value.

    Raises:
        InvalidWebhookFilterPatternException: the action does not have the key.
    """
    if rule.match_equals is None:
        return None

    def value(match: re.Match[str]) -> str:
        if match[1] not in configuration:
            raise InvalidWebhookFilterPatternException(
                f"the filter {rule.match_equals!r} names {{{match[1]}}}, which is not in the configuration of the target "
                f"action (it has: {', '.join(sorted(configuration)) or 'nothing'})"
            )
        return configuration[match[1]]

    return _PLACEHOLDER.sub(value, rule.match_equals)
