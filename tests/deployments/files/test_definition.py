"""Files are read in whatever shape they come, and what cannot be read says where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.deployments.files.definition import parse_definition, read_definition
from prefect_codepipeline.errors import CodePipelineError, UnreadableDefinition
from prefect_codepipeline.model.problem import InvalidDefinition

SHOP = Path(__file__).parent.parent.parent / "data" / "pipelines" / "shop-release.json"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SHOP.read_text(), id="JSON in its envelope"),
        pytest.param(json.dumps(json.loads(SHOP.read_text())["pipeline"]), id="bare JSON"),
        pytest.param(yaml.safe_dump(json.loads(SHOP.read_text())), id="YAML"),
        pytest.param("\ufeff" + SHOP.read_text(), id="with a byte order mark"),
        pytest.param(SHOP.read_text().replace("\n", "\r\n"), id="with Windows line ends"),
    ],
)
def test_the_same_pipeline_in_each_shape(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pipeline"
    path.write_bytes(text.encode())

    assert read_definition(path) == read_definition(SHOP)


def test_metadata_of_get_pipeline_is_not_the_pipelines() -> None:
    content = json.loads(SHOP.read_text())
    content["metadata"] = {"pipelineArn": "arn", "created": 1.0}

    assert parse_definition(json.dumps(content)) == read_definition(SHOP)


BARE = """
name: p
roleArn: arn:aws:iam::111122223333:role/p
artifactStore: {type: S3, location: bucket}
stages:
  - name: Source
    actions:
      - name: on
        actionTypeId: {category: Source, owner: AWS, provider: S3, version: 1}
        runOrder: 2
        configuration: {S3Bucket: 0123, S3ObjectKey: 2024-01-02, PollForSourceChanges: False, Yes: yes, Exp: 1e3}
"""


def test_scalars_of_yaml_stay_the_text_that_was_written() -> None:
    action = parse_definition(BARE).stages[0].actions[0]

    assert action.name == "on"
    assert action.run_order == 2
    assert action.action_type_id.version == "1"
    assert action.configuration == {
        "S3Bucket": "0123",
        "S3ObjectKey": "2024-01-02",
        "PollForSourceChanges": "false",
        "Yes": "yes",
        "Exp": "1e3",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{\n  "name": }', "line 2, column 11: not JSON", id="broken JSON"),
        pytest.param("name: [a\nb: c", "line 2", id="broken YAML"),
        pytest.param("a:\n\t- b", "not YAML", id="tabs in YAML"),
        pytest.param("", "empty", id="empty"),
        pytest.param("just text", "a pipeline must be an object", id="a text"),
        pytest.param("[1]", "a pipeline must be an object", id="a list"),
        pytest.param(
            '{"name": 1, "name": 2}', "'name' is in line 1 and again in line 1", id="key twice in JSON"
        ),
        pytest.param(
            "name: a\nroleArn: b\nname: c", "is in line 1 and again in line 3", id="key twice in YAML"
        ),
        pytest.param('{"Resources": {}}', "CloudFormation template", id="a template"),
        pytest.param("[" * 100_000, "nested more than 100 levels deep", id="deep nesting"),
        pytest.param("? [a]\n: b", "a key must be a text", id="key that is no text"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(text: str, message: str) -> None:
    with pytest.raises(UnreadableDefinition, match="the definition") as caught:
        parse_definition(text)

    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDefinition, match=r"nowhere\.json: No such file"):
        read_definition(tmp_path / "nowhere.json")


def test_a_file_that_is_not_text_says_at_which_byte(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"name: \xff\xfe")

    with pytest.raises(UnreadableDefinition, match="not UTF-8 at byte 6"):
        read_definition(path)


def test_a_billion_laughs_are_refused_at_once() -> None:
    lines = ["a: &a [x, x]"] + [
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]" for n in range(20)
    ]

    with pytest.raises(UnreadableDefinition, match="more than 75000 values"):
        parse_definition("\n".join(lines))


def test_every_wrong_field_is_listed() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        parse_definition('{"name": "a b", "stagess": []}', "p.json")

    assert "p.json cannot run: 5 problems" in str(caught.value)
    assert "did you mean 'stages'?" in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["name", "stages", "pipeline", "actions", "x"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON.map(json.dumps) | JSON.map(yaml.safe_dump) | st.text())
def test_whatever_stands_in_a_file_ends_in_a_message(text: str) -> None:
    with pytest.raises(CodePipelineError) as caught:
        parse_definition(text)

    assert str(caught.value)
