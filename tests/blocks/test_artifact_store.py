"""ArtifactStore: which places it takes, and which store a pipeline gets."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import ValidationError

from prefect_codepipeline.actions.artifacts.storing import load_artifact_store
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed, MissingBlock


class TestArtifactStore(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return ArtifactStore

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        pytest.skip("the block has no logo: Prefect's UI would fetch one from the internet")


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("/srv/artifacts", Path("/srv/artifacts")),
        (" /srv/artifacts/ ", Path("/srv/artifacts")),
        ("file:///srv/my artifacts", Path("/srv/my artifacts")),
        ("~/artifacts", Path.home() / "artifacts"),
        ("s3://bucket/prefix", None),
        ("gs://bucket", None),
        ("az://container/prefix", None),
    ],
)
def test_takes_a_folder_or_an_object_store(url, folder):
    assert ArtifactStore(url=url).folder == folder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": ""}, "is required"),
        ({"url": "/"}, "is required"),
        ({"url": "s3://"}, "is required"),
        ({"url": "artifacts"}, "is a relative path, which differs between processes"),
        ({"url": "./artifacts"}, "is a relative path, which differs between processes"),
        ({"url": "s3:/bucket"}, "is a relative path, which differs between processes"),
        ({"url": "file://artifacts"}, "is a relative path, which differs between processes"),
        ({"url": "ftp://host/artifacts"}, "ftp:// is not supported for artifacts"),
        ({"url": "memory://artifacts"}, "memory:// is not supported for artifacts"),
        ({"url": "/srv", "max_tree_bytes": 0}, "greater than 0"),
        ({"url": "/srv", "max_tree_files": 0}, "greater than 0"),
    ],
)
def test_refuses_a_place_that_cannot_keep_artifacts(fields, message):
    with pytest.raises(ValidationError, match=message):
        ArtifactStore(**fields)


def test_its_secrets_are_not_shown():
    store = ArtifactStore(url="s3://bucket", storage_options={"secret": "hunter2"})

    assert "hunter2" not in f"{store!r} {store} {store.model_dump_json()}"
    assert store.options() == {"secret": "hunter2"}


def test_a_named_store_is_loaded_with_its_secrets(prefect_server):
    ArtifactStore(url="s3://bucket", storage_options={"secret": "hunter2"}, max_tree_files=7).save("releases")

    store = load_artifact_store("releases")

    assert (store.url, store.options(), store.max_tree_files) == ("s3://bucket", {"secret": "hunter2"}, 7)


@pytest.mark.parametrize("name", ["nowhere", "No Such/Name?", "../default"])
def test_a_missing_store_is_named_with_how_to_make_it(name, prefect_server):
    with pytest.raises(
        MissingBlock, match=r"^there is no ArtifactStore block .*prefect block create.*\.save\("
    ):
        load_artifact_store(name)


def test_without_a_name_it_is_the_default_block_else_a_folder_of_the_users(prefect_server, monkeypatch):
    monkeypatch.setenv("PREFECT_CODEPIPELINE_ARTIFACTS", "relative/artifacts")
    assert load_artifact_store(None).url == os.path.abspath("relative/artifacts")
    monkeypatch.delenv("PREFECT_CODEPIPELINE_ARTIFACTS")
    assert (
        load_artifact_store(None).folder == platformdirs.user_data_path("prefect-codepipeline") / "artifacts"
    )

    ArtifactStore(url="/srv/artifacts").save("default")
    try:
        assert load_artifact_store(None).url == "/srv/artifacts"
    finally:
        ArtifactStore.delete("default")


def test_a_block_that_the_ui_saved_without_checking_it_is_named(prefect_server):
    saved = ArtifactStore(url="/srv/artifacts")
    saved.url = "artifacts"
    saved.save("unchecked")

    with pytest.raises(
        ActionFailed,
        match=r"^ArtifactStore block 'unchecked' cannot be used: url: .*'artifacts' is a relative path.*; correct it in "
        r"Prefect's UI$",
    ) as caught:
        load_artifact_store("unchecked")
    assert caught.value.code == "ConfigurationError"
