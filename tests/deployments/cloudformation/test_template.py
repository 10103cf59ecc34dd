"""A template's functions give what CloudFormation gives; what only AWS knows has a name and is listed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.deployments.checking.files import check_file
from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
from prefect_codepipeline.deployments.cloudformation.template import Template
from prefect_codepipeline.deployments.cloudformation.unknown import NO_VALUE, with_placeholders
from prefect_codepipeline.documents.reading import parse_document
from prefect_codepipeline.errors import UnreadableDefinition

HEAD = """
Parameters:
  Branch: {Type: String, Default: main}
  Count: {Type: Number, Default: 3}
  Secret: {Type: String, Description: the token}
  Subnets: {Type: CommaDelimitedList, Default: "a, b"}
  Image: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /images/latest}
  Stage: {Type: String, Default: dev, AllowedValues: [dev, prod]}
Mappings:
  Regions:
    eu-west-1: {Bucket: bucket-eu, Zones: [a, b]}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  IsDev: !Not [!Condition IsProd]
  Both: !And [!Condition IsDev, !Equals [!Ref Count, 3]]
  Either: !Or [!Condition IsProd, !Condition IsDev]
  Around: !Condition Again
  Again: !Not [!Condition Around]
Resources:
  Named: {Type: 'AWS::S3::Bucket', Properties: {BucketName: !Sub 'b-${Branch}'}}
  Unnamed: {Type: 'AWS::S3::Bucket'}
  Role: {Type: 'AWS::IAM::Role', Properties: {RoleName: deployer, Path: /ci/}}
  Project: {Type: 'AWS::CodeBuild::Project'}
  Repo: {Type: 'AWS::CodeCommit::Repository', Properties: {RepositoryName: shop}}
  Snake: {Type: 'AWS::S3::Bucket', Properties: {BucketName: !Ref Tail}}
  Tail: {Type: 'AWS::S3::Bucket', Properties: {BucketName: !Ref Snake}}
Value: """


def evaluate(text: str, **given: str) -> tuple[Any, Template]:
    template = Template(parse_document(HEAD + text, "t.yaml"), given, "shop")
    value = template.value(template.document.content["Value"], "Value")
    return value, template


def as_shown(value: Any) -> Any:
    return (
        json.loads(with_placeholders(json.dumps(value, ensure_ascii=False)))
        if value is not NO_VALUE
        else None
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("!Ref Branch", "main", id="Ref: a default"),
        pytest.param("!Ref Count", "3", id="Ref: a number is a text"),
        pytest.param("!Ref Subnets", ["a", "b"], id="Ref: a list"),
        pytest.param("!Ref Secret", "${Secret}", id="Ref: no default"),
        pytest.param("!Ref Image", "${Image}", id="Ref: what SSM keeps"),
        pytest.param("!Ref AWS::StackName", "shop", id="Ref: a pseudo parameter"),
        pytest.param("!Ref AWS::Region", "${AWS::Region}", id="Ref: a pseudo parameter not given"),
        pytest.param("!Ref Named", "b-main", id="Ref: a resource's own name"),
        pytest.param("!Ref Unnamed", "${Unnamed}", id="Ref: a name that AWS makes"),
        pytest.param("!Ref Project", "shop-Project", id="Ref: a name for what comes along"),
        pytest.param("!GetAtt Repo.Name", "shop", id="GetAtt: a known attribute"),
        pytest.param("!GetAtt Repo.Arn", "${Repo.Arn}", id="GetAtt: an unknown one"),
        pytest.param("!GetAtt Nested.Outputs.X", "${Nested.Outputs.X}", id="GetAtt: of nothing"),
        pytest.param(
            "!GetAtt Role.Arn", "arn:aws:iam::${AWS::AccountId}:role/ci/deployer", id="GetAtt: a role's ARN"
        ),
        pytest.param("{Fn::GetAtt: Unnamed.Arn}", "${Unnamed.Arn}", id="GetAtt: long, as a text"),
        pytest.param("!Sub '${Branch}-${!Literal}-${Role.Id}'", "main-${Literal}-${Role.Id}", id="Sub"),
        pytest.param("!Sub ['${A}/${Branch}', {A: !Ref Stage}]", "dev/main", id="Sub with variables"),
        pytest.param("!Join ['-', [a, !Ref Branch, !Ref AWS::NoValue, c]]", "a-main-c", id="Join"),
        pytest.param("!Join ['-', !Ref Subnets]", "a-b", id="Join a parameter's list"),
        pytest.param("!Select [1, !Split ['/', 'owner/repo']]", "repo", id="Select of Split"),
        pytest.param(
            "!Select [5, !Split [':', !GetAtt Role.Arn]]", "role/ci/deployer", id="Split around unknowns"
        ),
        pytest.param(
            "!Select [4, !Split [':', !GetAtt Role.Arn]]", "${AWS::AccountId}", id="Split, the unknown part"
        ),
        pytest.param(
            "!Select [1, !Split ['/', !Ref Secret]]", "${Secret.split(/)[1]}", id="Split what is not known"
        ),
        pytest.param("!If [IsProd, a, b]", "b", id="If"),
        pytest.param("!If [Both, !If [Either, x, y], b]", "x", id="If of And, Or, Not"),
        pytest.param("[a, !If [IsProd, b, !Ref AWS::NoValue], c]", ["a", "c"], id="NoValue in a list"),
        pytest.param("{a: !Ref AWS::NoValue, b: c}", {"b": "c"}, id="NoValue in a mapping"),
        pytest.param("!FindInMap [Regions, eu-west-1, Bucket]", "bucket-eu", id="FindInMap"),
        pytest.param("!FindInMap [Regions, eu-west-1, Zones]", ["a", "b"], id="FindInMap of a list"),
        pytest.param(
            "!FindInMap [Regions, x, Bucket, {DefaultValue: !Ref Branch}]", "main", id="FindInMap: default"
        ),
        pytest.param(
            "!FindInMap [Regions, !Ref AWS::Region, Bucket]",
            "${FindInMap.Regions.AWS::Region.Bucket}",
            id="FindInMap of what is not known",
        ),
        pytest.param("!ImportValue net-Vpc", "${ImportValue.net-Vpc}", id="ImportValue"),
        pytest.param(
            "{Fn::ImportValue: !Sub '${Secret}-Vpc'}", "${ImportValue.Secret-Vpc}", id="ImportValue of a Sub"
        ),
        pytest.param("!Base64 'a b'", "YSBi", id="Base64"),
        pytest.param("{Fn::Length: !Ref Subnets}", "2", id="Length"),
        pytest.param("{Fn::ToJsonString: {a: [!Ref Branch]}}", '{"a":["main"]}', id="ToJsonString"),
        pytest.param(
            "{Fn::ForEach::Each: [Name, [x, 'y-z'], {'Key&{Name}': {v: !Sub '${Name}/${Branch}', r: !Ref Name}}]}",
            {"Keyx": {"v": "x/main", "r": "x"}, "Keyyz": {"v": "y-z/main", "r": "y-z"}},
            id="ForEach",
        ),
        pytest.param(
            "{Fn::ForEach::A: [I, [x, y], {Fn::ForEach::B: [J, [1, 2], {'${I}${J}': v}]}], k: w}",
            {"x1": "v", "x2": "v", "y1": "v", "y2": "v", "k": "w"},
            id="ForEach in ForEach",
        ),
        pytest.param("!GetAZs ''", "${GetAZs.AWS::Region}", id="GetAZs"),
    ],
)
def test_functions_give_what_cloudformation_gives(text: str, value: Any) -> None:
    found, template = evaluate(text)

    assert as_shown(found) == value
    assert not template.problems or "undefined resource Nested" in template.problems[0].message


@pytest.mark.parametrize(
    ("text", "given", "value"),
    [
        pytest.param("!Ref Branch", {"Branch": "dev"}, "dev", id="over a default"),
        pytest.param("!Ref AWS::Region", {"AWS::Region": "eu-west-1"}, "eu-west-1", id="a pseudo parameter"),
        pytest.param("!GetAtt Role.Arn", {"Role.Arn": "arn"}, "arn", id="an attribute"),
        pytest.param("!Ref Unnamed", {"Unnamed": "b"}, "b", id="what AWS names"),
        pytest.param("!ImportValue x", {"ImportValue.x": "v"}, "v", id="an export"),
        pytest.param("!Ref Subnets", {"Subnets": "c,d"}, ["c", "d"], id="a list"),
        pytest.param("!If [IsProd, a, b]", {"Stage": "prod"}, "a", id="a condition follows"),
    ],
)
def test_what_is_given_is_used(text: str, given: dict[str, str], value: Any) -> None:
    found, template = evaluate(text, **given)

    assert (found, template.missing, template.unused) == (value, {}, set())


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        pytest.param(
            "!Ref Snake",
            "Resources.Tail.Properties.BucketName.Ref",
            "Snake -> Tail -> Snake",
            id="Refs in a circle",
        ),
        pytest.param(
            "!If [Around, a, b]", "Conditions.", "condition Around -> condition Again", id="conditions"
        ),
        pytest.param("!Ref Brnch", "Value.Ref", "Unresolved resource dependencies [Brnch]", id="a name"),
        pytest.param(
            "!If [Prod, a, b]", "Value.Fn::If", "unresolved condition dependency Prod", id="condition"
        ),
        pytest.param("!GetAtt A.B", "Value.Fn::GetAtt", "undefined resource A", id="a resource"),
        pytest.param("!Select [7, [a]]", "Value.Fn::Select", "nonexistent value at index 7", id="an index"),
        pytest.param("!Join a", "Value.Fn::Join", "Fn::Join takes", id="an argument"),
        pytest.param("!FindInMap [A, b, c]", "Value.Fn::FindInMap", "mapping for A::b::c", id="a map"),
        pytest.param("!Subb x", "Value.Fn::Subb", "function Fn::Subb does not exist", id="a function"),
    ],
)
def test_what_cloudformation_would_refuse_is_a_problem_with_its_place(
    text: str, path: str, message: str
) -> None:
    _, template = evaluate(text)

    (problem,) = template.problems[:1]
    assert problem.path.startswith(path)
    assert message in problem.message
    assert template.document.place_of(problem.path).line > 1


def test_a_value_that_is_not_allowed_is_a_problem() -> None:
    _, template = evaluate("!Ref Stage", Stage="test")

    assert [str(problem) for problem in template.problems] == [
        "Parameters.Stage: Parameter 'Stage' must be one of AllowedValues (one of dev, prod)"
    ]


@pytest.mark.parametrize(
    "declared", ["{Default: a, AllowedValues: 5}", "text", "{Default: [a]}", "{Type: {a: b}}"]
)
def test_a_parameter_that_is_declared_oddly_is_no_traceback(declared: str) -> None:
    document = parse_document(f"Parameters: {{A: {declared}}}\nResources: {{}}", "t")

    assert with_placeholders(str(Template(document).ref("A", ""))) in ("a", "${A}")


def test_missing_values_say_what_they_are() -> None:
    _, template = evaluate("[!Ref Secret, !Ref Unnamed, !GetAtt Repo.Arn, !ImportValue x]")

    assert {name: missing.what for name, missing in template.missing.items()} == {
        "Secret": "parameter, String: the token",
        "Unnamed": "the BucketName that CloudFormation generates for AWS::S3::Bucket",
        "Repo.Arn": "attribute Arn of AWS::CodeCommit::Repository",
        "ImportValue.x": "export x of another stack",
    }


@pytest.mark.parametrize(
    "value",
    [
        "!FindInMap [Regions, !Ref 'AWS::Region', Bucket]",
        "!Select [0, !Split [a, !Ref 'AWS::Region']]",
        "!Base64 {Ref: 'AWS::Region'}",
    ],
)
def test_what_follows_from_an_unknown_value_says_so(value: str) -> None:
    _, template = evaluate(value)

    assert {name: missing.made_of for name, missing in template.missing.items() if missing.made_of}
    for missing in template.missing.values():
        assert all(name in template.missing for name in missing.made_of)


def test_what_is_made_says_where_it_came_from() -> None:
    _, template = evaluate("[!Ref AWS::NoValue, !If [IsProd, {a: 1}, {b: 2}]]")

    assert template.origins["[0].b"] == "Value[1].Fn::If[2].b"


GROWING = "!Sub ['${a}${a}${a}${a}', {a: " * 40 + "xxxx" + "}]" * 40
CHAIN = "\n".join(
    f"  R{n}: {{Type: 'AWS::S3::Bucket', Properties: {{BucketName: !Sub '${{R{n + 1}}}${{R{n + 1}}}'}}}}"
    for n in range(200)
)
LOOPS = "{Fn::ForEach::A: [I, &l [1,2,3,4,5,6,7,8,9,0], " * 7 + "{'${I}': v}" + "]}" * 7


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"Resources: {{}}\nValue: {GROWING}", id="texts in texts"),
        pytest.param(
            f"Resources:\n{CHAIN}\n  R200: {{Type: 'AWS::S3::Bucket', Properties: {{BucketName: xxxx}}}}\nValue: !Ref R0",
            id="names of names",
        ),
        pytest.param(f"Resources: {{}}\nValue: {LOOPS}", id="loops in loops"),
    ],
)
def test_what_grows_without_an_end_is_stopped(text: str) -> None:
    start = time.process_time()
    template = Template(parse_document(text, "t.yaml"))
    with pytest.raises((UnreadableDefinition, RecursionError)):
        template.value(template.document.content["Value"], "Value")

    assert time.process_time() - start < 2


@pytest.mark.parametrize("stage", ["!Ref a{}", "!GetAtt Other.a{}", "!Sub '${{b{}}}${{Other.a}}'"])
def test_thousands_of_mistakes_and_missing_values_are_found_at_once(stage: str, tmp_path: Path) -> None:
    stages = ",".join(stage.format(number) for number in range(4000))
    path = tmp_path / "t.yaml"
    path.write_text(
        "Resources:\n  Other: {Type: x}\n  P:\n    Type: AWS::CodePipeline::Pipeline\n"
        f"    Properties: {{Name: p, Stages: [{stages}]}}\n"
    )
    start = time.process_time()
    checked = check_file(path)

    assert checked.has_errors
    assert time.process_time() - start < 3  # it was half a minute when each looked at all others


def test_an_incomplete_artifact_store_names_the_key_that_is_missing() -> None:
    stores = "[{Region: us-east-1, Location: bucket}, {ArtifactStore: {Type: S3, Location: bucket}}]"
    text = "Resources: {P: {Type: AWS::CodePipeline::Pipeline, Properties: {ArtifactStores: %s}}}"
    imported = import_document(parse_document(text % stores, "t.yaml"))

    assert [(problem.path, problem.message) for problem in imported.problems] == [
        (
            f"Resources.P.Properties.ArtifactStores[{index}]",
            f"Properties validation failed: required key [{key}] of ArtifactStores[{index}] is not found",
        )
        for index, key in enumerate(("ArtifactStore", "Region"))
    ]
