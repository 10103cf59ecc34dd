"""Whose requests are let in: the hosts' own examples, and what a forger would try."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from prefect_codepipeline.engine.triggers.webhook_filters import check_filters, why_not
from prefect_codepipeline.engine.triggers.webhook_signatures import check_sender, check_webhook, sign
from prefect_codepipeline.errors import (
    InvalidWebhookAuthenticationParametersException,
    InvalidWebhookFilterPatternException,
    WebhookRefused,
)
from prefect_codepipeline.model.payloads import PayloadError
from prefect_codepipeline.model.triggers.webhooks import (
    WebhookDefinition,
    WebhookFilterRule,
    check_authentication,
)

# From GitHub's guide, "Validating webhook deliveries": its own test values.
GITHUBS = SecretStr("It's a Secret to Everybody")
BODY = b"Hello, World!"
DIGEST = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
SHA1 = "01dc10d0c83e72ed246219cdd91669667fe2ca59"


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("github", {"X-Hub-Signature-256": f"sha256={DIGEST}"}),
        ("github", {"x-hub-signature-256": f"sha256={DIGEST.upper()}"}),
        ("bitbucket", {"X-Hub-Signature": f"sha256={DIGEST}"}),
        ("gitea", {"X-Gitea-Signature": DIGEST}),
        ("gitea", {"X-Forgejo-Signature": DIGEST}),
        ("gitlab", {"X-Gitlab-Token": "It's a Secret to Everybody"}),
        ("plain", {"X-Codepipeline-Signature-256": f"sha256={DIGEST}"}),
        ("plain", {"X-Codepipeline-Token": "It's a Secret to Everybody"}),
    ],
)
def test_who_knows_the_secret_is_let_in(host: Any, headers: dict[str, str]) -> None:
    check_sender(host, GITHUBS, headers, BODY)

    with pytest.raises(WebhookRefused):
        check_sender(host, SecretStr("another"), headers, BODY)


@pytest.mark.parametrize(
    ("host", "headers", "message"),
    [
        ("github", {}, "has no X-Hub-Signature-256"),
        ("github", {"X-Hub-Signature": f"sha1={SHA1}"}, "has no X-Hub-Signature-256"),
        ("github", {"X-Hub-Signature-256": ""}, "does not match its body"),
        ("github", {"X-Hub-Signature-256": "sha256="}, "does not match its body"),
        ("github", {"X-Hub-Signature-256": f"sha256={DIGEST[:-1]}"}, "does not match its body"),
        ("github", {"X-Hub-Signature-256": "sha256=\udcff\u20ac"}, "does not match its body"),
        # A token is no signature, and another host's way is not asked for.
        ("github", {"X-Gitlab-Token": "It's a Secret to Everybody"}, "has no X-Hub"),
        ("gitlab", {"X-Hub-Signature-256": f"sha256={DIGEST}"}, "has no X-Gitlab-Token"),
        ("gitlab", {"X-Gitlab-Token": "It's a Secret to Everybod"}, "is not the webhook's secret"),
        ("bitbucket", {"X-Hub-Signature": f"sha1={SHA1}"}, "does not match its body"),
        # A wrong signature is not made good by a right token.
        ("plain", {"X-Codepipeline-Signature-256": "x", "X-Codepipeline-Token": "It's a Secret to Everybody"}, "body"),
        ("git", {}, "has no signature"),
    ],
)  # fmt: skip
def test_others_are_refused_and_no_secret_is_shown(host: Any, headers: dict[str, str], message: str) -> None:
    with pytest.raises(WebhookRefused, match=message) as caught:
        check_sender(host, GITHUBS, headers, BODY)

    assert "Everybod" not in str(caught.value)
    assert DIGEST[:20] not in str(caught.value)


# The example of the Standard Webhooks specification's own libraries.
STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,bm9ldHU5KzdrSmcrOXNKd2c= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
STANDARD_SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
STANDARD_BODY, STANDARD_NOW = b'{"test": 2432232314}', 1614265330.0


@pytest.mark.parametrize("host", ["gitlab", "plain"])
def test_a_standard_signature_lets_in(host: Any) -> None:
    check_sender(host, STANDARD_SECRET, STANDARD, STANDARD_BODY, STANDARD_NOW + 300)


@pytest.mark.parametrize(
    ("host", "change", "body", "late", "message"),
    [
        ("gitlab", {}, STANDARD_BODY, 301, "is not within five minutes of the current time"),
        ("gitlab", {}, STANDARD_BODY, -301, "is not within five minutes of the current time"),
        (
            "gitlab",
            {"webhook-timestamp": "now"},
            STANDARD_BODY,
            0,
            "is not within five minutes of the current time",
        ),
        ("gitlab", {"webhook-timestamp": "1614265331"}, STANDARD_BODY, 0, "does not match its body"),
        ("gitlab", {"webhook-id": "another"}, STANDARD_BODY, 0, "does not match its body"),
        ("gitlab", {}, b"{}", 0, "does not match its body"),
        ("gitlab", {"webhook-signature": "v1,x"}, STANDARD_BODY, 0, "does not match its body"),
        # Who signs is not let in by the token beside it.
        (
            "gitlab",
            {"webhook-signature": "", "x-gitlab-token": STANDARD_SECRET.get_secret_value()},
            b"{}",
            0,
            "Signature",
        ),
        ("github", {}, STANDARD_BODY, 0, "has no X-Hub-Signature-256"),
    ],
)
def test_a_standard_signature_that_is_not_right_is_refused(
    host: Any, change: dict[str, str], body: bytes, late: float, message: str
) -> None:
    with pytest.raises(WebhookRefused, match=message):
        check_sender(host, STANDARD_SECRET, {**STANDARD, **change}, body, STANDARD_NOW + late)


@pytest.mark.parametrize("host", ["github", "gitlab", "bitbucket", "gitea", "plain"])
def test_an_empty_secret_opens_nothing(host: Any) -> None:
    nothing = SecretStr("")
    signature = sign(nothing, BODY)
    headers = {"X-Hub-Signature-256": signature, "X-Hub-Signature": signature, "X-Gitea-Signature": signature}

    with pytest.raises(WebhookRefused, match="no secret"):
        check_sender(host, nothing, {**headers, "X-Gitlab-Token": "", "X-Codepipeline-Token": ""}, BODY)


def test_another_body_is_refused() -> None:
    with pytest.raises(WebhookRefused):
        check_sender("github", GITHUBS, {"X-Hub-Signature-256": f"sha256={DIGEST}"}, BODY + b" ")


def webhook(authentication: str, filters: Any = (), **settings: str) -> WebhookDefinition:
    return WebhookDefinition.model_validate(
        {
            "name": "w",
            "targetPipeline": "shop",
            "targetAction": "Source",
            "filters": list(filters),
            "authentication": authentication,
            "authenticationConfiguration": settings,
        }
    )


@pytest.mark.parametrize(
    ("definition", "address", "headers", "message"),
    [
        (webhook("GITHUB_HMAC", SecretToken=GITHUBS.get_secret_value()), "", {"X-Hub-Signature-256": f"sha256={DIGEST}"}, None),
        (webhook("GITHUB_HMAC", SecretToken=GITHUBS.get_secret_value()), "", {"X-Hub-Signature": f"sha1={SHA1}"}, None),
        (webhook("GITHUB_HMAC", SecretToken=GITHUBS.get_secret_value()), "", {}, "has no X-Hub-Signature-256 or"),
        # The older signature does not help when the newer one is wrong.
        (
            webhook("GITHUB_HMAC", SecretToken=GITHUBS.get_secret_value()),
            "",
            {"X-Hub-Signature": f"sha1={SHA1}", "X-Hub-Signature-256": "x"},
            "does not match its body",
        ),
        (webhook("IP", AllowedIPRange="192.0.2.0/24"), "192.0.2.7", {}, None),
        (webhook("IP", AllowedIPRange="192.0.2.7"), "192.0.2.7", {}, None),
        (webhook("IP", AllowedIPRange="192.0.2.0/24"), "::ffff:192.0.2.7", {}, None),
        (webhook("IP", AllowedIPRange="2001:db8::/32"), "2001:db8::1", {}, None),
        (webhook("IP", AllowedIPRange="192.0.2.0/24"), "192.0.3.7", {}, "is not in 192.0.2.0/24"),
        (webhook("IP", AllowedIPRange="0.0.0.0/0"), "2001:db8::1", {}, "is not in"),
        (webhook("IP", AllowedIPRange="192.0.2.0/24"), "unknown", {}, "not known"),
        (webhook("UNAUTHENTICATED"), "", {}, None),
    ],
)  # fmt: skip
def test_the_three_ways_of_v1_webhooks(
    definition: WebhookDefinition, address: str, headers: dict[str, str], message: str | None
) -> None:
    if message is None:
        return check_webhook(definition, address, headers, BODY)
    with pytest.raises(WebhookRefused, match=message):
        check_webhook(definition, address, headers, BODY)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (webhook("GITHUB_HMAC"), "needs SecretToken, got none"),
        (
            webhook("GITHUB_HMAC", SecretToken="s", AllowedIPRange="::/0"),
            "got AllowedIPRange and SecretToken",
        ),
        (webhook("IP", SecretToken="s"), "needs AllowedIPRange, got SecretToken"),
        (webhook("IP", AllowedIPRange="here"), "is not a range"),
        (webhook("UNAUTHENTICATED", SecretToken="s"), "needs no settings"),
    ],
)
def test_each_way_has_its_one_setting(definition: WebhookDefinition, message: str) -> None:
    with pytest.raises(InvalidWebhookAuthenticationParametersException, match=message):
        check_authentication(definition)


def test_a_webhooks_secret_is_not_in_its_text() -> None:
    assert "hunter2" not in repr(webhook("GITHUB_HMAC", SecretToken="hunter2"))


PAYLOAD: dict[str, Any] = {
    "ref": "refs/heads/main",
    "deleted": False,
    "n": 7,
    "none": None,
    "repository": {"full_name": "acme/shop", "a.b": "x"},
    "commits": [{"id": "1", "distinct": True}, {"id": "2"}],
}


def rule(path: str, expected: str | None = None) -> WebhookFilterRule:
    return WebhookFilterRule(json_path=path, match_equals=expected)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ([rule("$.ref", "refs/heads/{Branch}")], None),
        ([rule("$.ref", "refs/heads/{Branch}"), rule("$.n", "8")], r"$.n does not have the value '8'"),
        ([rule("$.ref", "refs/heads")], "$.ref does not have the value 'refs/heads'"),
        ([rule("$['ref']")], None),
        ([rule("$.other")], "$.other finds nothing in the body"),
        ([rule("$.none")], None),
        ([rule("$.none", "null")], "$.none does not have the value 'null'"),
        ([rule("$.deleted", "false")], None),
        ([rule("$.n", "7")], None),
        ([rule("$.repository['a.b']", "x")], None),
        ([rule("$.commits[1].id", "2")], None),
        ([rule("$.commits[*].id", "2")], None),
        ([rule("$.commits[0:1].id", "2")], "$.commits[0:1].id does not have the value '2'"),
        ([rule("$..full_name", "acme/shop")], None),
        ([rule("$.repository", "x")], "$.repository does not have the value 'x'"),
        ([], None),
    ],
)
def test_all_filters_have_to_pass(rules: list[WebhookFilterRule], reason: str | None) -> None:
    assert why_not(rules, json.dumps(PAYLOAD).encode(), {"Branch": "main"}) == reason


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (rule("ref"), r"must start with \$"),
        (rule("$."), "not a valid path"),
        (rule("$.commits[?(@.id=='1')]"), "not a valid path"),
        (rule("$.a.length()"), "not a valid path"),
        (rule("$..a..b"), "may occur only once"),
        (rule("$.a,b"), "one name"),
        (rule("$.a[0,1]"), "one number"),
        (rule("$.a|$.b"), "refused"),
        (rule("$.a.`parent`"), "one name"),
        (rule("$.ref", "{Brnch}"), r"names \{Brnch\}.*it has: Branch"),
    ],
)
def test_a_bad_filter_is_refused(bad: WebhookFilterRule, message: str) -> None:
    with pytest.raises(InvalidWebhookFilterPatternException, match=message):
        check_filters([bad], {"Branch": "main"})


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"n": ' + b"9" * 5000 + b"}"])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError):
        why_not([rule("$.ref")], body, {})
