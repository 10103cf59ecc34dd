"""Blocks as Prefect keeps them: what is found, what is missing, and what cannot be used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from pydantic import SecretStr

from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.blocks.event_webhook import EventWebhook
from prefect_codepipeline.blocks.git_poll_state import GitPollState
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.errors import MissingBlock
from prefect_codepipeline.prefect_api.block_documents import (
    count_blocks,
    create_block,
    delete_block,
    delete_document,
    fields_by_name,
    find_block,
    find_block_by_id,
    find_document,
    list_documents,
    load_block,
    save_block,
)
from prefect_codepipeline.prefect_api.client import call, path_segment
from prefect_codepipeline.prefect_api.internals import save_anonymously

pytestmark = pytest.mark.live

NOT_NAMES = ["", ".", "..", "a/b", "../health", "/", "a\nb", "a\x00b", "\x7f", "\ud800"]


@pytest.fixture
def name(prefect_server: str) -> str:
    return f"block-{uuid4().hex[:8]}"


def channel(channel_id: str = "C1") -> SlackChannel:
    return SlackChannel(bot_token=SecretStr("xoxb-planted"), channel=channel_id)


def test_a_block_is_found_by_name_and_by_id_with_its_secrets(name: str) -> None:
    block_id = create_block(channel(), name)

    assert block_id
    for found in (find_block(SlackChannel, name), find_block_by_id(SlackChannel, block_id)):
        assert found
        assert (found.channel, found.bot_token.get_secret_value()) == ("C1", "xoxb-planted")
    assert find_block(SlackChannel, "nowhere", name)
    assert load_block(SlackChannel, name, command="-").channel == "C1"
    document = find_document("slack-channel", name)
    assert document
    assert document["id"] == str(block_id)


def test_a_block_of_another_type_is_another_block(name: str) -> None:
    create_block(channel(), name)

    assert find_block(EventWebhook, name) is None


def test_an_unnamed_block_is_found_by_its_id_only(name: str) -> None:
    before = count_blocks(SlackChannel)
    block_id = save_anonymously(channel(name))

    found = find_block_by_id(SlackChannel, block_id)
    assert found
    assert found.channel == name
    assert count_blocks(SlackChannel) == before
    assert name not in {each["data"]["channel"] for each in list_documents(SlackChannel)}


@pytest.mark.parametrize("kind", [SlackChannel, GitPollState])
def test_a_missing_block_is_none(kind: type[SlackChannel | GitPollState], name: str) -> None:
    assert find_block(kind, name) is None
    assert find_block(kind) is None
    assert find_block_by_id(kind, uuid4()) is None
    assert delete_block(kind, name) is False
    assert delete_document(str(uuid4())) is False


def test_a_type_that_nobody_has_used_has_no_blocks(prefect_server: str) -> None:
    assert fields_by_name("no-such-type") == {}
    assert count_blocks("no-such-type") == 0
    assert find_document("no-such-type", "default") is None


def test_a_missing_block_that_is_needed_names_the_command_that_creates_it(name: str) -> None:
    with pytest.raises(MissingBlock) as missing:
        load_block(SlackChannel, name, command=f"codepipeline slack add {name}")
    with pytest.raises(MissingBlock) as both:
        load_block(SlackChannel, name, "default-of-none", command="make one")

    assert (
        str(missing.value)
        == f"there is no SlackChannel block {name!r}; create it with: codepipeline slack add {name}"
    )
    assert (
        str(both.value)
        == f"there is no SlackChannel block {name!r} or 'default-of-none'; create it with: make one"
    )


def test_a_block_that_cannot_be_used_names_the_fields_and_no_secret(name: str) -> None:
    block_id = create_block(CodeBuildProject(), name)
    # As Prefect's UI does it, which does not validate.
    call("PATCH", f"/block_documents/{block_id}", {"data": {"timeout_in_minutes": 0, "cache": "planted"}})
    with pytest.raises(MissingBlock) as plain:
        find_block(CodeBuildProject, name)
    with pytest.raises(MissingBlock) as by_id:
        find_block_by_id(CodeBuildProject, str(block_id))
    with pytest.raises(MissingBlock) as with_command:
        load_block(CodeBuildProject, name, command="make another")

    message = (
        f"CodeBuildProject block {name!r} cannot be used: timeout_in_minutes: Input should be greater than or equal "
        "to 1; cache: Input should be 'local'; correct it in Prefect's UI"
    )
    assert str(plain.value) == str(by_id.value) == message
    assert str(with_command.value) == f"{message}, or replace it with: make another"


@pytest.mark.parametrize("bad", NOT_NAMES)
def test_a_name_that_would_be_another_path_is_no_name(bad: str, prefect_server: str) -> None:
    assert path_segment(bad) is None
    assert find_block(SlackChannel, bad) is None
    assert delete_block(SlackChannel, bad) is False
    with pytest.raises(MissingBlock, match="there is no SlackChannel block"):
        load_block(SlackChannel, bad, command="-")


@pytest.mark.parametrize(
    "odd", ["a?include_secrets=false", "a#b", "a%2Fb", "%2e%2e", "a b", "..%2f..", "ä", "..."]
)
def test_other_names_are_quoted(odd: str, prefect_server: str) -> None:
    assert "/" not in str(path_segment(odd))
    assert find_block(SlackChannel, odd) is None


def test_of_several_who_create_a_block_one_does(name: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(lambda number: create_block(channel(f"C{number}"), name), range(4)))

    assert [each is None for each in created].count(False) == 1
    document = find_document(SlackChannel, name)
    assert document
    assert document["id"] in map(str, created)
    assert document["data"]["channel"] == f"C{list(map(bool, created)).index(True)}"


def test_a_saved_block_replaces_the_one_of_that_name(name: str) -> None:
    save_block(channel("C1"), name)
    save_block(channel("C2"), name)

    assert fields_by_name(SlackChannel)[name]["channel"] == "C2"


@pytest.mark.parametrize("bad", ["", "..", "a/b", "A b"])
def test_prefect_refuses_names_when_a_block_is_written(bad: str, prefect_server: str) -> None:
    for write in (save_block, create_block):
        with pytest.raises(ValueError, match="name"):
            write(channel(), bad)


def test_all_blocks_of_a_type_are_listed_and_their_secrets_are_masked(name: str) -> None:
    before = count_blocks(SlackChannel)
    for number in (2, 1):
        create_block(channel(f"C{number}"), f"{name}-{number}")

    ours = [each for each in list_documents(SlackChannel) if each["name"].startswith(name)]
    assert [each["name"] for each in ours] == [f"{name}-1", f"{name}-2"]
    assert "xoxb-planted" not in str(ours)
    assert count_blocks("slack-channel") == before + 2
    (one,) = list_documents(SlackChannel, {"any_": [f"{name}-2"]}, with_secrets=True)
    assert one["data"]["bot_token"] == "xoxb-planted"


def test_of_several_who_delete_a_block_one_does(name: str) -> None:
    create_block(channel(), name)

    assert [delete_block(SlackChannel, name) for _ in range(2)] == [True, False]
    assert find_block(SlackChannel, name) is None
