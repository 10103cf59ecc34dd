"""Which hosts the tags of a group choose, and how hosts of an inventory are reached."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host, SshAccess
from prefect_codepipeline.model.codedeploy.inventory import access_of, tags_in_words, with_tags
from prefect_codepipeline.model.stored.inventory import StoredInventory

HOSTS = [
    Host(name="web-1", address="web-1", tags={"role": "web", "stage": "test"}),
    Host(name="web-2", address="web-2", tags={"role": "web", "stage": "live"}),
    Host(name="db-1", address="db-1", tags={"role": "db", "stage": "live", "web": ""}),
    Host(name="bare", address="bare"),
]


def group(*tag_sets: list[dict[str, str]]) -> DeploymentGroup:
    return DeploymentGroup.model_validate({"name": "web", "inventory": "fleet", "tag_sets": tag_sets})


WEB = {"key": "role", "value": "web"}
LIVE = {"key": "stage", "value": "live"}


@pytest.mark.parametrize(
    ("tag_sets", "names"),
    [
        pytest.param([[WEB]], ["web-1", "web-2"], id="key and value"),
        pytest.param([[{"type": "KEY_ONLY", "key": "role"}]], ["web-1", "web-2", "db-1"], id="key only"),
        pytest.param([[{"type": "KEY_ONLY", "key": "web"}]], ["db-1"], id="a key without a value"),
        pytest.param([[{"key": "web", "value": ""}]], ["db-1"], id="an empty value"),
        pytest.param([[{"type": "VALUE_ONLY", "value": "web"}]], ["web-1", "web-2"], id="value only"),
        pytest.param([[{"key": "Role", "value": "web"}]], [], id="case counts"),
        pytest.param(
            [[{"key": "role", "value": "db"}, {"key": "stage", "value": "test"}]],
            ["web-1", "db-1"],
            id="any tag of a set",
        ),
        pytest.param([[WEB], [LIVE]], ["web-2"], id="a tag of each set"),
        pytest.param([[WEB], [LIVE], [{"type": "KEY_ONLY", "key": "web"}]], [], id="of three sets"),
    ],
)
def test_tags_choose_hosts(tag_sets: list[list[dict[str, str]]], names: list[str]) -> None:
    assert [host.name for host in with_tags(HOSTS, group(*tag_sets).tag_sets)] == names


def test_tags_in_words() -> None:
    chosen = group([WEB, {"type": "KEY_ONLY", "key": "a"}], [{"type": "VALUE_ONLY", "value": "b"}])

    assert tags_in_words(chosen) == "role=web or the tag a and a tag with value b"


def test_the_group_says_more_than_the_inventory() -> None:
    inventory = SshAccess(
        user="deploy", private_key_secret="key", proxy_jump="bastion", known_hosts="a x y\n"
    )

    assert access_of(SshAccess(), inventory) == inventory.model_copy(update={"known_hosts": "a x y"})
    mixed = access_of(SshAccess(user="root", connect_timeout_in_seconds=5, known_hosts="b x y"), inventory)
    assert mixed == SshAccess(
        user="root",
        private_key_secret="key",
        proxy_jump="bastion",
        known_hosts="a x y\nb x y",
        connect_timeout_in_seconds=5,
    )


def test_the_keys_of_group_and_inventory_are_never_mixed() -> None:
    inventory = SshAccess(private_key_secret="key", passphrase_secret="words", certificate="of the key")

    assert access_of(SshAccess(private_key_path="/key"), inventory) == SshAccess(private_key_path="/key")


def test_without_known_hosts_the_file_counts_but_no_host_is_none() -> None:
    assert access_of(SshAccess(), SshAccess()).known_hosts is None
    assert access_of(SshAccess(known_hosts=""), SshAccess()).known_hosts == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hosts": [HOSTS[0], HOSTS[0]]}, "web-1: declared more than once"),
        (
            {"ssh": {"private_key": "planted"}},
            "store the private key and its passphrase with `codepipeline secret",
        ),
        (
            {"ssh": {"passphrase": "planted"}},
            "store the private key and its passphrase with `codepipeline secret",
        ),
    ],
)
def test_an_inventory_refuses(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        StoredInventory.model_validate(fields)
    assert "planted" not in str(refused.value)
