"""Whatever a definition says comes back from each format it is exported to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.deployments.cloudformation.export import as_template
from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
from prefect_codepipeline.deployments.files.resources import MissingValue, as_yaml
from prefect_codepipeline.documents.reading import parse_document

# Private use characters mark unknown values during an import.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Co"]), min_size=1, max_size=12
) | (
    st.sampled_from(
        ["true", "no", "1", "1.0", "~", "null", "${A}", "${!A}", "#{a.b}", "a\nb\n", "&x", "*x", "<<"]
    )
)
# Of these CloudFormation would make functions.
KEY = TEXT.filter(lambda key: not key.startswith(("Fn::", "Ref", "Condition")) and "\n" not in key)
NAME = st.from_regex(r"[A-Za-z0-9.@_-]{1,8}", fullmatch=True)
OBJECTS = {"name": NAME}
ARTIFACTS = st.lists(st.fixed_dictionaries({"name": NAME}), max_size=2)
FILTER = st.fixed_dictionaries({}, optional={"includes": st.lists(TEXT), "excludes": st.lists(TEXT)})
RULE = st.fixed_dictionaries(
    {"name": NAME, "ruleTypeId": st.fixed_dictionaries({"category": st.just("Rule"), "provider": NAME})},
    optional={
        "configuration": st.dictionaries(KEY, TEXT, max_size=2),
        "timeoutInMinutes": st.integers(5, 86400),
        "inputArtifacts": ARTIFACTS,
    },
)
CONDITIONS = st.fixed_dictionaries(
    {
        "conditions": st.lists(
            st.fixed_dictionaries(
                {}, optional={"result": st.just("FAIL"), "rules": st.lists(RULE, max_size=1)}
            ),
            max_size=1,
        )
    }
)
ACTION = st.fixed_dictionaries(
    {
        "name": NAME,
        "actionTypeId": st.fixed_dictionaries(
            {"category": NAME, "owner": NAME, "provider": NAME, "version": NAME}
        ),
        "runOrder": st.integers(1, 999),
    },
    optional={
        "configuration": st.dictionaries(KEY, TEXT, max_size=4),
        "inputArtifacts": ARTIFACTS,
        "outputArtifacts": st.lists(
            st.fixed_dictionaries({"name": NAME, "files": st.lists(TEXT)}), max_size=2
        ),
        "commands": st.lists(TEXT, max_size=3),
        "timeoutInMinutes": st.integers(5, 86400),
        "environmentVariables": st.lists(st.fixed_dictionaries({"name": NAME, "value": TEXT}), max_size=2),
        "namespace": NAME,
    },
)
STORE = st.fixed_dictionaries({"type": st.just("S3"), "location": TEXT})
PIPELINE = st.fixed_dictionaries(
    {
        "name": NAME,
        "roleArn": TEXT,
        "stages": st.lists(
            st.fixed_dictionaries(
                {"name": NAME, "actions": st.lists(ACTION, max_size=2)},
                optional={"beforeEntry": CONDITIONS, "onSuccess": CONDITIONS},
            ),
            max_size=2,
        ),
    },
    optional={
        "artifactStore": STORE,
        "artifactStores": st.dictionaries(NAME, STORE, max_size=2),
        "pipelineType": st.just("V2"),
        "executionMode": st.just("QUEUED"),
        "variables": st.lists(st.fixed_dictionaries({"name": NAME, "defaultValue": TEXT}), max_size=2),
        "triggers": st.lists(
            st.fixed_dictionaries(
                {
                    "providerType": st.just("CodeStarSourceConnection"),
                    "gitConfiguration": st.fixed_dictionaries(
                        {
                            "sourceActionName": NAME,
                            "push": st.lists(st.fixed_dictionaries({"filePaths": FILTER})),
                        }
                    ),
                }
            ),
            max_size=1,
        ),
    },
)


def again(text: str) -> dict[str, Any]:
    (pipeline,) = import_document(parse_document(text, "again")).pipelines
    return pipeline.wire


@settings(max_examples=100, deadline=None)
@given(PIPELINE)
def test_import_of_an_export_is_the_same_pipeline(wire: dict[str, Any]) -> None:
    template = as_template(wire)

    assert again(json.dumps(template)) == wire
    assert again(as_yaml(template)) == wire
    assert again(json.dumps({"pipeline": wire})) == wire
    assert again(as_yaml({"pipeline": wire})) == wire


PARTS = {"Fn::Split": [",", "${Names}"]}
MISSING = {
    "Role.Arn": MissingValue("attribute Arn of AWS::IAM::Role", ()),
    "Token": MissingValue("", (), parameter={"Type": "String", "NoEcho": "true"}),
    "AWS::Region": MissingValue("", ()),
    "resolve:ssm:/x": MissingValue("", ()),
    "Build.Arn": MissingValue("", ()),
    "ImportValue.Net-${Stack}": MissingValue("", ()),
    "ImportValue.Net-Stack-Id": MissingValue("", (), {"Fn::ImportValue": "Net-${Stack}-Id"}),
    "Stack": MissingValue("", (), parameter={"Type": "String"}),
    "Names.split(,)[0]": MissingValue("", (), {"Fn::Select": ["0", "${Names.split(,)}"]}),
    "Names.split(,)": MissingValue("", (), PARTS),
    "Names": MissingValue("", ()),
    "Subnets.join(,)": MissingValue("", (), {"Fn::Join": [",", "${Subnets}"]}),
    "Subnets": MissingValue("", ()),
}
IMPORT = {"Fn::ImportValue": {"Fn::Sub": "Net-${Stack}-Id"}}
STRING = {"Type": "String"}


@pytest.mark.parametrize(
    ("text", "spelled", "parameters"),
    [
        pytest.param(
            "${Role.Arn}",
            {"Ref": "RoleArn"},
            {"RoleArn": {**STRING, "Description": "attribute Arn of AWS::IAM::Role"}},
            id="an attribute of a resource that is not in the template",
        ),
        pytest.param("${Build.Arn}", {"Fn::GetAtt": ["Build", "Arn"]}, {}, id="an attribute of one that is"),
        pytest.param("a-${Build.Arn}", {"Fn::Sub": "a-${Build.Arn}"}, {}, id="beside a text"),
        pytest.param(
            "${Token}",
            {"Ref": "Token"},
            {"Token": {**STRING, "NoEcho": "true"}},
            id="a parameter, as declared",
        ),
        pytest.param(
            "a-${AWS::Region}-${HOME}", {"Fn::Sub": "a-${AWS::Region}-${!HOME}"}, {}, id="beside another"
        ),
        pytest.param("${HOME}", "${HOME}", {}, id="what the shell knows"),
        pytest.param("${ImportValue.Net-Stack-Id}", IMPORT, {"Stack": STRING}, id="an import"),
        pytest.param(
            "x ${ImportValue.Net-Stack-Id} ${Role.Arn}",
            {
                "Fn::Sub": [
                    "x ${ImportValueNetStackId} ${RoleArn}",
                    {"ImportValueNetStackId": IMPORT},
                ]
            },
            {"Stack": STRING, "RoleArn": {**STRING, "Description": "attribute Arn of AWS::IAM::Role"}},
            id="an import in a text",
        ),
        pytest.param(
            "${Names.split(,)[0]}",
            {"Fn::Select": ["0", {"Fn::Split": [",", {"Ref": "Names"}]}]},
            {"Names": STRING},
            id="an item of a split",
        ),
        pytest.param(
            "${Subnets.join(,)}",
            {"Fn::Join": [",", {"Ref": "Subnets"}]},
            {"Subnets": {"Type": "CommaDelimitedList"}},
            id="a list",
        ),
        pytest.param(
            "arn:aws:iam::000000000000:role/not-used-here-RoleArn",
            {"Ref": "RoleArn"},
            {"RoleArn": STRING},
            id="a placeholder",
        ),
    ],
)
def test_unknown_values_are_references_that_the_template_resolves(
    text: str, spelled: Any, parameters: dict[str, Any]
) -> None:
    wire = {"name": "p", "stages": [{"name": "S", "actions": [{"configuration": {"K": text}}]}]}
    build = {"Build": {"Type": "AWS::CodeBuild::Project", "Properties": {}}}
    template = as_template(wire, resources=build, missing=MISSING)

    pipeline = template["Resources"]["Pipeline"]
    assert pipeline["Properties"]["Stages"][0]["Actions"][0]["Configuration"] == {"K": spelled}
    assert template.get("Parameters", {}) == parameters
    assert import_document(parse_document(as_yaml(template), "again")).problems == []


def test_a_masked_secret_is_a_parameter_of_its_own() -> None:
    actions = [{"name": name, "configuration": {"OAuthToken": "****"}} for name in ("A", "B")]
    template = as_template({"name": "${X}", "stages": [{"name": "S", "actions": actions}]})

    hidden = {"Type": "String", "NoEcho": "true"}
    assert template["Parameters"] == {"SAOAuthToken": hidden, "SBOAuthToken": hidden}
    (stage,) = template["Resources"]["Pipeline"]["Properties"]["Stages"]
    assert stage["Actions"][1]["Configuration"] == {"OAuthToken": {"Ref": "SBOAuthToken"}}
    assert template["Description"] == "Pipeline X"


def test_names_that_differ_only_in_signs_are_different_parameters() -> None:
    missing = {name: MissingValue("", ()) for name in ("A.B", "AB", "Build")}
    template = as_template(
        {"name": "${A.B}-${AB}", "roleArn": "${Build}"},
        resources={"Other": {"Type": "T", "Properties": {}}},
        missing=missing,
    )

    properties = template["Resources"]["Pipeline"]["Properties"]
    assert properties["Name"] == {"Fn::Sub": "${AB}-${AB2}"}
    assert set(template["Parameters"]) == {"AB", "AB2", "Build"}


def test_the_template_has_what_lay_beside_the_definition() -> None:
    project = {"Type": "AWS::CodeBuild::Project", "Properties": {"Name": "build"}}
    template = as_template(
        {"name": "p", "version": 3}, "Build", {"RestartExecutionOnUpdate": "true"}, {"Build": project}
    )

    assert template["Resources"] == {
        "BuildPipeline": {
            "Type": "AWS::CodePipeline::Pipeline",
            "Properties": {"Name": "p", "RestartExecutionOnUpdate": "true"},
        },
        "Build": project,
    }
