"""Parameters and targets of stack sets, as shorthand and in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_codepipeline.actions.cloudformation.stack_set_input import (
    StackSetOperationConfiguration,
    Targets,
    read_parameters,
    read_targets,
)
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionFailed

ONE, TWO = "111122223333", "444455556666"


@pytest.fixture
def trees(tmp_path: Path) -> tuple[InputTree, ...]:
    for name, text in {
        "list.json": '[{"ParameterKey": "A", "ParameterValue": true}, {"ParameterKey": "B", "UsePreviousValue": "true"}]',
        "accounts.txt": f'["{ONE}", "{TWO}"]',
        "numbers.json": f"[{ONE}]",
        "bad.json": "{",
        "object.json": "{}",
        "wrong.json": '[{"Key": "A"}]',
        "nested.json": '[{"ParameterKey": "A", "ParameterValue": [1]}]',
    }.items():
        (tmp_path / name).write_text(text)
    return (InputTree("App", tmp_path),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ParameterKey=A,ParameterValue=1\n  ParameterKey=B,ParameterValue=x y", {"A": "1", "B": "x y"}),
        ("ParameterKey=A,ParameterValue=a,b", {"A": "a,b"}),
        ("ParameterKey=A,ParameterValue=a\\,b", {"A": "a,b"}),
        ("ParameterValue='a b',ParameterKey=A", {"A": "a b"}),
        ("ParameterKey=A,ParameterValue=k=v", {"A": "k=v"}),
        ("ParameterKey=A,ParameterValue=", {"A": ""}),
        ("ParameterKey=A,UsePreviousValue=true", {"A": True}),
        ("App::list.json", {"A": "true", "B": True}),
        (" ", {}),
    ],
)
def test_parameters(trees, text, expected):
    found = read_parameters(trees, text, "Parameters")

    assert {
        each["ParameterKey"]: each.get("ParameterValue", each.get("UsePreviousValue")) for each in found
    } == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ParameterKey=A", "Parameters: parameter 'A' has no ParameterValue"),
        ("ParameterKey=A,UsePreviousValue=false", "parameter 'A' has no ParameterValue"),
        ("ParameterValue=1", "is no parameter; it has ParameterKey"),
        ("shop ParameterKey=A,ParameterValue=1", "'shop' is not of the form ParameterKey=Name"),
        ("A=1", "Parameters 'A=1' is not of the form 'ArtifactName::path/of/the/file'"),
        ("App::object.json", "Parameters 'App::object.json' is not a JSON list"),
        ("App::bad.json", "Parameters 'App::bad.json' is not JSON"),
        ("App::wrong.json", '{"Key": "A"} is no parameter'),
        ("App::nested.json", "the value of 'A' is not a text: [1]"),
        ("Other::list.json", "Parameters: 'Other' is not an input artifact"),
    ],
)
def test_what_is_no_list_of_parameters(trees, text, message):
    with pytest.raises(ActionFailed) as failed:
        read_parameters(trees, text, "Parameters")
    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"


def configuration(targets: str) -> StackSetOperationConfiguration:
    given = {"StackSetName": "shop", "DeploymentTargets": targets, "Regions": "eu-west-1,us-east-1"}
    return StackSetOperationConfiguration.model_validate(given)


@pytest.mark.parametrize(
    ("text", "accounts", "units"),
    [
        (f"{ONE},{TWO}", (ONE, TWO), ()),
        (f"{ONE} , {TWO}", (ONE, TWO), ()),
        ("App::accounts.txt", (ONE, TWO), ()),
        ("ou-examplerootid111-exampleouid111,r-abcd", (), ("ou-examplerootid111-exampleouid111", "r-abcd")),
    ],
)
def test_targets(trees, text, accounts, units):
    assert read_targets(trees, configuration(text)) == Targets(accounts, units, ("eu-west-1", "us-east-1"))


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        ("12345", None, "DeploymentTargets: '12345' is not the id of an account (12 digits)"),
        ("App::bad.json", None, "DeploymentTargets 'App::bad.json' is not JSON"),
        ("App::numbers.json", None, "must have texts in its list, in quotes"),
        (f"{ONE},r-abcd", None, "must have either accounts or organizational units"),
        (",", None, "must have either accounts or organizational units"),
        ("r-abcd", "SELF_MANAGED", "PermissionModel SELF_MANAGED needs accounts"),
        (ONE, "SERVICE_MANAGED", "PermissionModel SERVICE_MANAGED needs organizational units"),
    ],
)
def test_what_is_no_target(trees, text, model, message):
    with pytest.raises(ActionFailed) as failed:
        read_targets(trees, configuration(text), model)
    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"


def test_the_targets_without_those_that_are_there():
    targets = Targets((ONE, TWO), (), ("eu-west-1", "us-east-1"))
    all_there = {(account, region) for account in targets.accounts for region in targets.regions}

    assert targets.without(set()) == targets
    assert targets.without(all_there) is None
    assert targets.without(all_there - {(TWO, "us-east-1")}) == Targets((TWO,), (), ("us-east-1",))
