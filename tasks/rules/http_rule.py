"""Rule/Custom/Http/1: a URL answers with the expected status, and with the expected value in its JSON.

AWS has no such rule; AWS users write a Lambda function.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any, Literal

import httpx
import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import Field, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from prefect_codepipeline.actions.commands.environment import secret_value
from prefect_codepipeline.actions.outgoing import (
    PrivateAddressError,
    Sending,
    TooLongError,
    ask,
    login_header,
)
from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    WaitUntil,
    rule_provider,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.conditions import compare, read_pattern

CHECK_EVERY = timedelta(seconds=30)
REQUEST_SECONDS = 30.0
MOST_BYTES = 1 << 20
MOST_MINUTES = 86_400
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_SHOWN_CHARACTERS = 200


class HttpConfiguration(RuleConfiguration):
    """The request, and the response that is expected.

    `ExpectedStatus` lists statuses and ranges (`200-299,404`). `Query`, a JMESPath, selects a value of the JSON
    response; it is compared with `Value` by `Operator`. `Headers` is a JSON object of texts.
    `AuthorizationSecret` names a Secret block, or `block:jsonKey`, whose value becomes the Authorization header.
    Until the response is as expected, the request is repeated for `WaitTime` minutes. A URL of the worker's own machine
    or network needs `AllowPrivateAddresses`, because a part of the URL may come from a build.
    """

    url: str
    method: Literal["GET", "HEAD", "POST"] = "GET"
    headers: str = "{}"
    body: str | None = None
    authorization_secret: str | None = None
    expected_status: str = "200-299"
    query: str | None = None
    operator: Literal["EQ", "NE", "CONTAINS", "MATCHES"] = "EQ"
    value: str | None = None
    wait_time: int = Field(0, ge=0, le=MOST_MINUTES)
    allow_private_addresses: bool = False

    @field_validator("url")
    @classmethod
    def _of_the_web(cls, url: str) -> str:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"it is not a URL: {error}") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("it must start with http:// or https://")
        return url

    @field_validator("headers")
    @classmethod
    def _texts(cls, headers: str) -> str:
        read_headers(headers)
        return headers

    @field_validator("expected_status")
    @classmethod
    def _statuses(cls, expected_status: str) -> str:
        read_statuses(expected_status)
        return expected_status

    @field_validator("query")
    @classmethod
    def _compiled(cls, query: str) -> str:
        try:
            jmespath.compile(query)
        except JMESPathError as error:
            raise ValueError(f"it is not a JMESPath: {str(error).splitlines()[0]}") from None
        return query

    @field_validator("value")
    @classmethod
    def _readable(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("operator") == "MATCHES":
            read_pattern(value)
        return value

    @model_validator(mode="after")
    def _belong_together(self) -> HttpConfiguration:
        if (self.query is None) != (self.value is None):
            raise ValueError(
                "'Query' and 'Value' need each other: 'Query' selects what is compared with 'Value'"
            )
        return self


@rule_provider(
    provider="Http", owner="Custom", timeout_in_minutes=MOST_MINUTES, secrets=("AuthorizationSecret",)
)
def check_url(configuration: HttpConfiguration, context: RuleContext) -> RuleResult | WaitUntil:
    """Met as soon as the URL responds as expected. No response counts as not expected."""
    is_met, summary = _check(configuration, context)
    end = context.started_at + timedelta(minutes=configuration.wait_time)
    if is_met or context.now >= end:
        return RuleResult(
            "Succeeded" if is_met else "Failed", summary, external_execution_url=configuration.url
        )
    return WaitUntil(
        min(context.now + CHECK_EVERY, end),
        f"{summary}; repeated until {end:%Y-%m-%d %H:%M} UTC",
        external_execution_url=configuration.url,
    )


def read_headers(text: str) -> dict[str, str]:
    """Raises `ValueError` unless `text` is a JSON object of texts."""
    try:
        headers = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError('it must be a JSON object of texts, such as {"Accept": "application/json"}')
    return headers


def read_statuses(text: str) -> list[range]:
    """Raises `ValueError` unless `text` lists statuses and ranges of them."""
    ranges = []
    for item in text.split(","):
        match = _STATUS.fullmatch(item.strip())
        if not match:
            raise ValueError(f"{item.strip()!r} is not a status such as 404 or a range such as 200-299")
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    return ranges


def _check(configuration: HttpConfiguration, context: RuleContext) -> tuple[bool, str]:
    request = f"{configuration.method} {configuration.url}"
    try:
        status, body = _request(configuration, context)
    except (TimeoutError, ConnectionError) as error:
        return False, f"{request} got no response: {error}"
    response = f"{request} responded with {status}"
    if 300 <= status < 400:
        response += " (redirects to another host are not followed)"
    if not any(status in statuses for statuses in read_statuses(configuration.expected_status)):
        return False, f"{response}, not with {configuration.expected_status}"
    if configuration.query is None or configuration.value is None:
        return True, response
    try:
        found = _text(jmespath.search(configuration.query, json.loads(body)))
    except ValueError as error:  # also the base of JMESPath's errors
        return False, f"{response}, but {configuration.query!r} could not be evaluated: {error}"
    is_met = compare(found, configuration.operator, configuration.value)
    comparison = f"{_quote(found)} {configuration.operator} {_quote(configuration.value)}"
    return is_met, f"{response}: {configuration.query}: {comparison} is {'true' if is_met else 'false'}"


def _request(configuration: HttpConfiguration, context: RuleContext) -> tuple[int, bytes]:
    """The status and the body of the response. More than `MOST_BYTES` is an error."""
    request = f"{configuration.method} {configuration.url}"
    sending = Sending(
        configuration.method,
        httpx.URL(configuration.url),
        _headers(configuration),
        configuration.body.encode() if configuration.body is not None else None,
        configuration.allow_private_addresses,
    )
    seconds = min(REQUEST_SECONDS, max(context.remaining_seconds, 1))
    try:
        answer = ask(sending, seconds, MOST_BYTES, context.check)
    except PrivateAddressError:
        raise ActionFailed(
            f"{request} was not sent: it leads to the worker's own machine or network; if that is right, set "
            "'AllowPrivateAddresses' to 'true'",
            code="ConfigurationError",
        ) from None
    except TooLongError:
        raise ActionFailed(
            f"{request} responded with more than {MOST_BYTES} bytes; use a URL with a shorter response",
            code="ConfigurationError",
        ) from None
    return answer.status, answer.body


def _headers(configuration: HttpConfiguration) -> dict[str, str]:
    headers = {"user-agent": "prefect-codepipeline", **read_headers(configuration.headers)}
    url = httpx.URL(configuration.url)
    if configuration.authorization_secret:
        headers["authorization"] = secret_value(configuration.authorization_secret, "AuthorizationSecret")
    else:
        headers |= login_header(url)
    for name, value in headers.items():
        # Checked here, because the HTTP library's own error would quote the value.
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\x00-\x1f\x7f]", value):
            raise ActionFailed(
                f"the header {name!r} cannot be sent: it has a character that is not allowed, such as a line break",
                code="ConfigurationError",
            )
    return headers


def _text(value: Any) -> str:  # Any: whatever JSON can hold
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _quote(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} [...]")
