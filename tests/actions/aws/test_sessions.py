"""Sessions and clients are made once for all looks of a process, and anew when what they were made from has changed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_environment import use_endpoint
from aws_server import AwsServer, RefusalError

from prefect_codepipeline.actions.aws import sessions
from prefect_codepipeline.actions.aws.client import Account, translated
from prefect_codepipeline.errors import ActionFailed

ROLE = "arn:aws:iam::222233334444:role/deploy"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    server = AwsServer()
    use_endpoint(monkeypatch, server.url, "eu-west-1")

    def assume(_: dict[str, Any]) -> dict[str, Any]:
        keys = {"AccessKeyId": f"ROLE{len(server.asked('AssumeRole'))}", "SecretAccessKey": "s"}
        expires = datetime.now(timezone.utc) + timedelta(hours=1)
        return {"Credentials": {**keys, "SessionToken": "t", "Expiration": expires}}

    server.answers |= {
        "AssumeRole": assume,
        "DescribeStacks": lambda _: {"Stacks": []},
        "ListStateMachines": lambda _: {"stateMachines": []},
    }
    yield server
    server.stop()


def look(account: Account) -> None:
    with translated("looking"):
        account.client("cloudformation").describe_stacks()


def test_a_role_is_assumed_once_for_all_looks_and_services_of_an_action(aws):
    for _ in range(3):
        look(Account(roles=(ROLE,), session_name="a1"))
        Account(roles=(ROLE,), session_name="a1").client("stepfunctions").list_state_machines()

    assert [each["RoleSessionName"] for each in aws.asked("AssumeRole")] == ["a1"]
    assert aws.keys == ["testing", *["ROLE1"] * 6]


def test_accounts_do_not_share_what_makes_them_different(aws):
    keys = {"aws_access_key_id": "OTHER", "aws_secret_access_key": "s"}
    accounts = [
        Account(),
        Account(region="us-east-1"),
        Account(keys=keys),
        Account(endpoint_url=f"{aws.url}/"),
        Account(endpoint_urls={"cloudformation": aws.url}),
        Account(roles=(ROLE,), session_name="a1"),
        Account(roles=(ROLE,), session_name="a2"),
    ]
    clients = [account.client("cloudformation") for account in accounts * 2]

    assert clients[:7] == clients[7:]
    assert len(set(map(id, clients))) == 7
    # A name of a session that assumes no role makes no other client.
    assert Account(session_name="a1").client("cloudformation") is clients[0]


def test_threads_share_one_client(aws):
    with ThreadPoolExecutor(8) as pool:
        clients = list(pool.map(lambda _: Account(roles=(ROLE,)).client("cloudformation"), range(32)))
        list(pool.map(lambda client: client.describe_stacks(), clients))

    assert len(set(map(id, clients))) == 1
    assert len(aws.asked("AssumeRole")) == 1


def test_a_client_that_repeats_nothing_has_a_connection_of_its_own(aws):
    first, second = (Account(roles=(ROLE,)).client("cloudformation", attempts=0) for _ in range(2))

    assert first is not second
    first.describe_stacks(), second.describe_stacks()
    assert len(aws.asked("AssumeRole")) == 1


def test_keys_that_were_replaced_in_the_file_count_for_the_next_look(aws, monkeypatch, tmp_path: Path):
    file, profile = tmp_path / "credentials", "[default]\naws_access_key_id={}\naws_secret_access_key=x\n"
    file.write_text(profile.format("OLD"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)

    look(Account())
    look(Account())
    file.write_text(profile.format("REPLACED"))
    look(Account())

    assert aws.keys == ["OLD", "OLD", "REPLACED"]


def test_after_refused_credentials_the_role_is_assumed_anew(aws):
    look(Account(roles=(ROLE,)))
    answer = aws.answers["DescribeStacks"]

    def expired(request: dict[str, Any]) -> dict[str, Any]:
        if aws.keys[-1] == "ROLE1":
            raise RefusalError("ExpiredToken", "the token was revoked")
        return answer(request)

    aws.answers["DescribeStacks"] = expired
    with pytest.raises(ActionFailed, match="renew the credentials"):
        look(Account(roles=(ROLE,)))
    look(Account(roles=(ROLE,)))

    assert aws.keys[-1] == "ROLE2"


def test_missing_credentials_are_looked_for_again(aws, monkeypatch):
    keys = {"AWS_ACCESS_KEY_ID": "LATE", "AWS_SECRET_ACCESS_KEY": "s"}
    for name in keys:
        monkeypatch.delenv(name)
    with pytest.raises(ActionFailed, match="Unable to locate credentials"):
        look(Account())

    assert not sessions._sessions
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    look(Account())

    assert aws.keys == ["LATE"]


def test_the_number_of_sessions_is_bounded(aws, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 3)
    first, *_ = [Account(region=f"eu-west-{number}").client("sts") for number in range(4)]

    assert len(sessions._sessions) == 3
    assert Account(region="eu-west-0").client("sts") is not first
