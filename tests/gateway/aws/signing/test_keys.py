"""Keys as people use them: made by the command, given to boto3, refused by the gateway when they are removed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from commands import run_command
from pydantic import SecretStr
from serving import serving
from signed_requests import Sent, signed
from waiting import until

from prefect_codepipeline.blocks.api_key import ApiKey
from prefect_codepipeline.blocks.pipeline_webhook import PipelineWebhook
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.gateway.app import LARGEST_BODY, create_app
from prefect_codepipeline.gateway.aws.protocol.call import Caller
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.protocol.service_model import operation_names
from prefect_codepipeline.gateway.aws.signing.identify import claimed_signer, identify
from prefect_codepipeline.gateway.aws.signing.known_keys import KEYS
from prefect_codepipeline.gateway.aws.signing.permissions import NEEDS, authorize
from prefect_codepipeline.gateway.guard import Limits
from prefect_codepipeline.gateway.rate import RateLimit
from prefect_codepipeline.gateway.serve import _QUIET, prepare_gateway
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.block_documents import find_document, replace_data

pytestmark = pytest.mark.live
TARGET = "CodePipeline_20150709."
_http = httpx.Client(timeout=30)


@pytest.fixture
def keys(gateway: str) -> Iterator[Callable[..., Credentials]]:
    """Make keys by the command, which are removed at the end."""
    made: list[str] = []

    def make(name: str, may: str, *options: str) -> Credentials:
        result = run_command(["key", "add", name, "--may", may, *options, "--json"])
        assert result.returncode == 0, result.stderr
        made.append(name)
        told = json.loads(result.stdout)
        KEYS.get(0)
        return Credentials(told["accessKeyId"], told["secretAccessKey"])

    KEYS.get(0)
    yield make
    for name in made:
        run_command(["key", "remove", name])
    KEYS.get(0)


def client(url: str, key: Credentials, region: str = "us-east-1", service: str = "codepipeline") -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
        config=Config(retries={"total_max_attempts": 1}),
    )


def send(url: str, sent: Sent) -> httpx.Response:
    return _http.request(sent.method, f"{url}{sent.path}", headers=sent.headers, content=sent.body)


def code_of(response: httpx.Response) -> str:
    return str(response.json().get("__type", "")) if response.content else ""


def ask(url: str, key: Credentials, operation: str, body: bytes = b"{}", **options: Any) -> httpx.Response:
    return send(url, signed(key, url=f"{url}/", body=body, x_amz_target=f"{TARGET}{operation}", **options))


def test_a_key_is_shown_once_listed_without_its_secret_and_out_when_removed(gateway: str, keys: Any) -> None:
    added = run_command(["key", "add", "once", "--may", "read"])
    again = run_command(["key", "add", "once", "--may", "admin"])
    lines = dict(line.removeprefix("export ").split("=", 1) for line in added.stdout.splitlines()[1:3])
    key = Credentials(lines["AWS_ACCESS_KEY_ID"], lines["AWS_SECRET_ACCESS_KEY"])
    listed = run_command(["key", "list"]).stdout

    until(lambda: ask(gateway, key, "DeletePipeline").json()["__type"] == "AccessDeniedException", 3)
    removed = run_command(["key", "remove", "once"])
    began = time.monotonic()
    until(lambda: ask(gateway, key, "DeletePipeline").json()["__type"] != "AccessDeniedException", 5)

    assert time.monotonic() - began < 5
    assert f"export AWS_ENDPOINT_URL={gateway}" in added.stdout
    assert again.returncode == 1
    assert "key 'once' exists; remove it first with: codepipeline key remove once" in again.stderr
    assert key.access_key in listed
    assert key.secret_key not in listed
    assert "it was the last one" in removed.stdout
    assert run_command(["key", "remove", "once"]).returncode == 1


def test_a_wrong_name_of_a_key_is_refused(prefect_server: str) -> None:
    result = run_command(["key", "add", "Not/So", "--may", "read"])

    assert result.returncode == 1
    assert "key 'Not/So' was not created" in result.stderr


def test_a_read_key_is_refused_every_other_operation(gateway: str, keys: Any) -> None:
    key = keys("reader", "read")
    codes = {name: code_of(ask(gateway, key, name)) for name in sorted(operation_names())}

    refused = {name for name, code in codes.items() if code == "AccessDeniedException"}
    assert refused == {name for name in operation_names() if NEEDS[name] != "read"}
    assert len(refused) == 44 - 13


def test_signed_requests_are_not_held_up_by_the_rate_of_strangers(keys: Any) -> None:
    key = keys("worker", "work")
    limits = {"": Limits(RateLimit(5, 0.001), LARGEST_BODY)}
    with serving(create_app(limits=limits)) as url:
        signed_ones = [ask(url, key, "ListPipelines").status_code for _ in range(20)]
        strangers = [httpx.post(url, headers={"x-amz-target": f"{TARGET}ListPipelines"}) for _ in range(7)]
        after = ask(url, key, "ListPipelines").status_code
        # Who only knows the id of the key: after twenty requests and one a second as a stranger.
        guess = Credentials(key.access_key, "x" * 40)
        guesses = until_refused(lambda: ask(url, guess, "ListPipelines").status_code)

    assert signed_ones == [400] * 20  # AccessDeniedException
    assert [each.status_code for each in strangers] == [400] * 5 + [429] * 2
    assert after == 400
    assert guesses >= 20


def until_refused(status: Callable[[], int]) -> int:
    """How many requests are answered before one is told to come back later."""
    return next(count for count in range(200) if status() == 429)


def test_another_region_is_an_empty_account(gateway: str, keys: Any) -> None:
    there = client(gateway, keys("tool", "admin"), "eu-west-1")
    arn = "arn:aws:codepipeline:eu-west-1:123456789012:shop"

    def error(call: Callable[..., Any], **members: Any) -> tuple[str, str]:
        with pytest.raises(ClientError) as refused:
            call(**members)
        return refused.value.response["Error"]["Code"], refused.value.response["Error"]["Message"]

    assert there.list_pipelines()["pipelines"] == []
    assert there.list_webhooks()["webhooks"] == []
    assert error(there.get_pipeline, name="shop") == (
        "PipelineNotFoundException",
        "Account '123456789012' does not have a pipeline with name 'shop'",
    )
    assert error(there.list_tags_for_resource, resourceArn=arn)[0] == "ResourceNotFoundException"
    assert (
        error(there.get_job_details, jobId="11111111-1111-4111-8111-111111111111")[0]
        == "JobNotFoundException"
    )
    assert there.delete_pipeline(name="shop")["ResponseMetadata"]["HTTPStatusCode"] == 200
    kind = {"category": "Deploy", "owner": "Custom", "provider": "Acme", "version": "1"}
    assert error(there.poll_for_jobs, actionTypeId=kind) == (
        "ActionTypeNotFoundException",
        "ActionType (Category: 'Deploy', Owner: 'Custom', Provider: 'Acme', Version: '1') is not available",
    )
    details = {"minimumCount": 0, "maximumCount": 1}
    refused = error(
        there.create_custom_action_type, category="Deploy", provider="Acme", version="1",
        inputArtifactDetails=details, outputArtifactDetails=details,
    )  # fmt: skip
    assert refused[0] == "AccessDeniedException"
    assert "codepipeline:CreateCustomActionType on resource: arn:aws:codepipeline:eu-west-1:" in refused[1]
    assert refused[1].endswith("this gateway has pipelines in another region")


def test_a_key_for_some_pipelines_handles_only_their_webhooks(keys: Any) -> None:
    block = PipelineWebhook(definition={"targetPipeline": "billing"}, url_token=SecretStr("x"))
    block.save(slug("of-billing"))
    try:
        shop, billing = Caller("shop", pipelines=("shop-*",)), Caller("billing", pipelines=("bill*",))
        put = {"webhook": {"name": "of-billing", "targetPipeline": "shop-a"}}
        arn = {"resourceArn": shop.account.webhook("of-billing")}
        authorize(billing, "DeleteWebhook", {"name": "of-billing"})
        authorize(shop, "DeleteWebhook", {"name": "missing"})
        for caller, operation, members in [
            (shop, "DeleteWebhook", {"name": "of-billing"}),
            (shop, "PutWebhook", put),
            (billing, "PutWebhook", put),
            (shop, "TagResource", arn),
        ]:
            with pytest.raises(ApiError, match="not authorized"):
                authorize(caller, operation, members)
    finally:
        PipelineWebhook.delete(slug("of-billing"))


def test_without_keys_only_this_machine_is_served_and_told_how_to_add_one(gateway: str, keys: Any) -> None:
    sent = Sent("POST", "/", "", {"host": "127.0.0.1", "x-amz-target": f"{TARGET}ListPipelines"})
    elsewhere = create_app(is_local=False)

    def asked(scope: dict[str, Any]) -> str:
        try:
            return identify(scope, "codepipeline", sent.body_hash).arn
        except ApiError as error:
            return f"{error.code} {error.message}"

    assert asked(sent.scope) == "arn:aws:iam::123456789012:user/anonymous"
    assert claimed_signer(sent.scope) == "anonymous"
    assert asked({**sent.scope, "client": ("::1", 1), "server": ("::1", 1)}).endswith("user/anonymous")
    for other in (
        {"server": ("192.0.2.1", 4290)},
        {"client": ("192.0.2.1", 4290)},
        {"client": None},
        {"server": ("/run/gateway.sock", None)},
        {"app": elsewhere},
        {"headers": [*sent.scope["headers"], (b"x-forwarded-for", b"127.0.0.1")]},
        {"headers": [*sent.scope["headers"], (b"forwarded", b"for=127.0.0.1")]},
        {"headers": [*sent.scope["headers"], (b"x-forwarded-proto", b"https")]},
    ):
        refused = asked({**sent.scope, **other})
        assert refused.startswith("AccessDeniedException This gateway has no access keys"), other
        assert refused.endswith("codepipeline key add NAME --may read|approve|operate|work|admin")
        assert claimed_signer({**sent.scope, **other}) is None
    prepare_gateway("https://release.example.com")
    KEYS.get(0)
    assert asked(sent.scope).startswith("AccessDeniedException")
    prepare_gateway(gateway)


def test_with_keys_every_request_needs_one_even_if_none_can_be_used(gateway: str, keys: Any) -> None:
    key = keys("only", "admin")
    unsigned = httpx.post(gateway, headers={"x-amz-target": f"{TARGET}ListPipelines"})
    other = ask(gateway, Credentials("AKIA" + "B" * 16, "x" * 40), "ListPipelines")

    assert code_of(unsigned) == "MissingAuthenticationTokenException"
    assert code_of(other) == "UnrecognizedClientException"
    assert KEYS.get(0).keys[key.access_key][0].name == "only"

    document = find_document(ApiKey, "only")
    assert document
    replace_data(document["id"], {**document["data"], "may": "anything"})
    broken = KEYS.get(0)
    unsigned = httpx.post(gateway, headers={"x-amz-target": f"{TARGET}ListPipelines"})

    assert (broken.keys, broken.has_keys) == ({}, True)
    assert code_of(unsigned) == "MissingAuthenticationTokenException"
    assert code_of(ask(gateway, key, "ListPipelines")) == "UnrecognizedClientException"


def test_account_and_region_are_set_once(gateway: str) -> None:
    try:
        prepare_gateway(None, account="111122223333", region="eu-west-1")
        kept = prepare_gateway(gateway)
        assert (kept.account, kept.region, kept.url) == ("111122223333", "eu-west-1", gateway)
        assert KEYS.get(0).account.pipeline("shop") == "arn:aws:codepipeline:eu-west-1:111122223333:shop"
        for wrong in (
            {"account": "1234"},
            {"region": "Frankfurt"},
            {"account": "\N{ARABIC-INDIC DIGIT ONE}" * 12},
        ):
            with pytest.raises(CodePipelineError, match=rf"--{next(iter(wrong))} .* is not valid"):
                prepare_gateway(None, **wrong)
    finally:
        prepare_gateway(gateway, account="123456789012", region="us-east-1")
        KEYS.get(0)


def test_no_log_has_a_secret_a_signature_or_a_token(
    gateway: str, keys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    key = keys("logged", "admin")
    for name in _QUIET:  # as in a gateway's process; this one also signs
        logging.getLogger(name).setLevel(logging.WARNING)
    caplog.set_level(logging.DEBUG)
    token = Credentials(key.access_key, key.secret_key, "planted-session-token")
    wrong = Credentials(key.access_key, "planted-wrong-secret")
    requests = [
        signed(each, url=f"{gateway}/", x_amz_target=f"{TARGET}ListPipelines", body=body)
        for each in (key, wrong, token)
        for body in (b"{}", b"[", b'{"maxResults": "planted"}')
    ]
    for sent in requests:
        send(gateway, sent)

    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "POST /" in text
    secrets = [key.secret_key, "planted", *(sent.headers["Authorization"][-64:] for sent in requests)]
    assert [each for each in secrets if each in text] == []
