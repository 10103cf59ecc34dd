"""`validate --online` says of each thing in AWS that a definition names whether it is there, on moto over HTTP."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from faulty_endpoint import Fault, FaultyEndpoint

from prefect_codepipeline.actions.registry import Lookup, providers
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.cli import main
from prefect_codepipeline.deployments.checking.online import look_up_all
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.stored.settings import StoredSettings

Aws = Callable[[str], Any]
Validate = Callable[..., tuple[int, str]]
ACCOUNT = "123456789012"
WHERE = f"(us-east-1, account {ACCOUNT})"


def action(kind: str, inputs: int = 0, outputs: int = 0, **configuration: str) -> dict[str, Any]:
    category, provider = kind.split("/")
    return {
        "name": f"{provider}-{uuid4().hex[:4]}",
        "actionTypeId": {"category": category, "owner": "AWS", "provider": provider, "version": "1"},
        "configuration": configuration,
        "inputArtifacts": [{"name": "Src"}][:inputs],
        "outputArtifacts": [{"name": "Src"}][:outputs],
    }


def wire(first: dict[str, Any], actions: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "shop",
        "pipelineType": "V2",
        "roleArn": f"arn:aws:iam::{ACCOUNT}:role/p",
        "artifactStore": {"type": "S3", "location": "store"},
        "variables": [{"name": "Env", "defaultValue": "dev"}],
        "stages": [{"name": "Source", "actions": [first]}, {"name": "Deploy", "actions": list(actions)}],
    }


def source(bucket: str = "no-sources") -> dict[str, Any]:
    return action("Source/S3", outputs=1, S3Bucket=bucket, S3ObjectKey="app.zip")


@pytest.fixture
def validate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    aws_endpoint: FaultyEndpoint,
    no_server: None,
) -> Validate:
    """The exit code and the output for a pipeline of one source and some actions, without a Prefect server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_CODEPIPELINE_HOME", str(tmp_path / "none"))

    def run(
        first: dict[str, Any], *actions: dict[str, Any], options: tuple[str, ...] = ()
    ) -> tuple[int, str]:
        text = json.dumps({"pipeline": wire(first, actions)})
        (tmp_path / "shop.json").write_text(text)
        with pytest.raises(SystemExit) as ended:
            main(["validate", "shop.json", "--online", *options])
        return int(str(ended.value.code)), capsys.readouterr().out

    return run


@pytest.fixture
def role(aws: Aws) -> str:
    name = f"role-{uuid4().hex[:8]}"
    aws("iam").create_role(RoleName=name, Path="/teams/", AssumeRolePolicyDocument="{}")
    return f"arn:aws:iam::{ACCOUNT}:role/teams/{name}"


@pytest.fixture
def function(aws: Aws, role: str) -> str:
    """A function with the alias `live`."""
    buffer, name = io.BytesIO(), f"f-{uuid4().hex[:8]}"
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", "")
    aws("lambda").create_function(
        FunctionName=name,
        Runtime="python3.12",
        Handler="app.handler",
        Role=role,
        Code={"ZipFile": buffer.getvalue()},
        Publish=True,
    )
    aws("lambda").create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    return name


@pytest.fixture
def machine(aws: Aws, role: str) -> str:
    states = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})
    name = f"m-{uuid4().hex[:8]}"
    made = aws("stepfunctions").create_state_machine(name=name, definition=states, roleArn=role)
    return str(made["stateMachineArn"])


@pytest.fixture
def stack(aws: Aws) -> str:
    name = f"stack-{uuid4().hex[:8]}"
    aws("cloudformation").create_stack(StackName=name, TemplateBody="Resources: {A: {Type: AWS::S3::Bucket}}")
    return name


def test_what_is_there_is_there(
    validate: Validate,
    aws: Aws,
    make_bucket: Callable[..., str],
    role: str,
    function: str,
    machine: str,
    stack: str,
) -> None:
    bucket = make_bucket()
    aws("s3").put_object(Bucket=bucket, Key="app.zip", Body=b"")
    deploy = {"ActionMode": "CREATE_UPDATE", "TemplatePath": "Src::t.yaml", "RoleArn": role}

    code, said = validate(
        source(bucket),
        action("Deploy/S3", 1, BucketName=bucket, Extract="true"),
        action("Deploy/CloudFormation", 1, StackName=stack, **deploy),
        action("Deploy/Lambda", 1, FunctionName=function, FunctionAlias="live"),
        action("Invoke/StepFunctions", 0, StateMachineArn=machine),
    )

    assert code == 0, said
    for what in (
        f"bucket {bucket!r}",
        f"object s3://{bucket}/app.zip",
        f"stack {stack!r}",
        f"role {role.rpartition('/')[2]!r}",
        f"function {function!r}",
        f"alias 'live' of function {function!r}",
        f"state machine {machine.rpartition(':')[2]!r}",
    ):
        assert f": {what}: there {WHERE}" in said


def test_what_is_missing_is_an_error_with_its_line(validate: Validate, function: str, aws: Aws) -> None:
    repository = f"r-{uuid4().hex[:8]}"
    aws("ecr").create_repository(repositoryName=repository)
    role = f"arn:aws:iam::{ACCOUNT}:role/nobody"
    deploy = {"ActionMode": "CREATE_UPDATE", "TemplatePath": "Src::t.yaml", "RoleArn": role}

    code, said = validate(
        action("Source/ECR", outputs=1, RepositoryName=repository, ImageTag="v1"),
        action("Deploy/CloudFormation", 1, StackName="new", **deploy),
        action("Deploy/Lambda", 1, FunctionName=function, FunctionAlias="beta"),
        action("Deploy/Lambda", 1, FunctionName="nothing"),
        action(
            "Invoke/StepFunctions", StateMachineArn=f"arn:aws:states:us-west-2:{ACCOUNT}:stateMachine:none"
        ),
        action("Deploy/S3", 1, BucketName="not-there-#{variables.Env}", Extract="true"),
    )

    assert code == 1
    assert f"ECR repository {repository!r}: there {WHERE}" in said
    assert f"stack 'new': not there yet: the action creates it {WHERE}" in said
    for what in (
        f"image 'v1' of {repository!r}",
        "role 'nobody'",
        f"alias 'beta' of function {function!r}",
        "function 'nothing'",
        "bucket 'not-there-dev'",  # the variable has a default
    ):
        assert f": {what}: missing {WHERE}" in said
        assert f"error: stages[{int('image' not in what)}].actions[" in said
    assert f": state machine 'none': missing (us-west-2, account {ACCOUNT})" in said
    assert "6 errors, 0 warnings" in said


def test_services_clusters_and_environments_are_looked_up(validate: Validate, aws: Aws) -> None:
    """Each once as it is there, and once as it is not."""
    name = f"n-{uuid4().hex[:8]}"
    task = {"family": name, "containerDefinitions": [{"name": "web", "image": "a", "memory": 128}]}
    aws("ecs").create_cluster(clusterName=name)
    aws("ecs").register_task_definition(**task)
    aws("ecs").create_service(cluster=name, serviceName="web", taskDefinition=name, desiredCount=1)
    role = f"arn:aws:iam::{ACCOUNT}:role/eks"
    aws("eks").create_cluster(name=name, roleArn=role, resourcesVpcConfig={})
    aws("ecr").create_repository(repositoryName=name)
    aws("codedeploy").create_application(applicationName=name, computePlatform="ECS")
    aws("codedeploy").create_deployment_group(
        applicationName=name, deploymentGroupName="blue", serviceRoleArn=role
    )
    templates = {"TaskDefinitionTemplateArtifact": "Src", "AppSpecTemplateArtifact": "Src"}

    code, said = validate(
        source(),
        *(action("Deploy/ECS", 1, ClusterName=name, ServiceName=each) for each in ("web", "gone")),
        *(action("Deploy/EKS", 1, ClusterName=each, ManifestFiles="a.yaml") for each in (name, "gone")),
        *(action("Build/ECRBuildAndPublish", 1, ECRRepositoryName=each) for each in (name, "gone")),
        *(
            action("Deploy/CodeDeployToECS", 1, ApplicationName=name, DeploymentGroupName=each, **templates)
            for each in ("blue", "gone")
        ),
        action("Deploy/CodeDeploy", 1, ApplicationName=name, DeploymentGroupName="other"),
        action("Deploy/ElasticBeanstalk", 1, ApplicationName=name, EnvironmentName="gone"),
    )

    assert code == 1
    for what, there in (
        (f"service 'web' of cluster {name!r}", True),
        (f"service 'gone' of cluster {name!r}", False),
        (f"cluster {name!r}", True),
        ("cluster 'gone'", False),
        (f"image repository {name!r}", True),
        ("image repository 'gone'", False),
        (f"deployment group 'blue' of application {name!r}", True),
        (f"deployment group 'gone' of application {name!r}", False),
        (f"deployment group 'other' of application {name!r}", False),
        (f"environment 'gone' of application {name!r}", False),
    ):
        assert f": {what}: {'there' if there else 'missing'} {WHERE}" in said


def test_what_may_not_be_looked_up_is_said_and_does_not_fail(
    validate: Validate, make_bucket: Callable[..., str], aws_endpoint: FaultyEndpoint
) -> None:
    """The user who may not look may still be allowed to deploy; so a pipeline is not refused for it."""
    bucket = make_bucket()
    aws_endpoint.faults = [Fault("HEAD", bucket, lambda: (403, {}, b""), times=9)]

    code, said = validate(
        action("Source/S3", outputs=1, S3Bucket=bucket, S3ObjectKey="app.zip"),
        action("Deploy/S3", 1, BucketName=bucket, Extract="true"),
    )

    assert code == 0
    assert f"bucket {bucket!r}: not allowed {WHERE}" in said
    assert f"warning: stages[1].actions[0]: bucket {bucket!r}: not allowed" in said


def test_what_is_known_only_later_or_elsewhere_is_said(
    validate: Validate, make_bucket: Callable[..., str], aws: Aws
) -> None:
    bucket = make_bucket()
    aws("s3").put_object(Bucket=bucket, Key="app.zip", Body=b"")
    elsewhere = "arn:aws:iam::999999999999:role/other"
    deploy = {"ActionMode": "DELETE_ONLY", "RoleArn": elsewhere}
    first = {**source(bucket), "namespace": "Files"}

    code, said = validate(
        first,
        action("Deploy/S3", 1, BucketName="b-#{Files.VersionId}", Extract="true"),
        action("Deploy/CloudFormation", 0, StackName="gone", **deploy),
        action("Build/CodeBuild", 1, ProjectName="p"),
        options=("--format", "json"),
    )

    (file,) = json.loads(said)
    seen = {each["what"]: (each["status"], each["detail"]) for each in file["online"]}
    assert code == 0
    assert seen["bucket 'b-#{Files.VersionId}'"] == (
        "not known",
        "its name is known only when the execution runs",
    )
    assert seen["role 'other'"] == ("not known", "it is in account 999999999999")
    assert seen["stack 'gone'"] == ("missing", "there is nothing to delete")
    status, why = seen["what it names"]  # where the project builds is in a block
    assert status == "not known"
    assert "Prefect" in why


@pytest.mark.live
def test_a_project_that_builds_in_aws_is_looked_up_there(
    prefect_server: str, aws: Aws, aws_endpoint: FaultyEndpoint
) -> None:
    name = f"p-{uuid4().hex[:8]}"
    aws("codebuild").create_project(
        name=name,
        source={"type": "S3", "location": "bucket/key.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "a", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole=f"arn:aws:iam::{ACCOUNT}:role/build",
    )
    for block, project in (("online-there", name), ("online-missing", "no-such-project")):
        CodeBuildProject(where="aws", aws_project_name=project).save(block, overwrite=True)
    builds = [action("Build/CodeBuild", 1, ProjectName=f"online-{each}") for each in ("there", "missing")]
    declaration = PipelineDeclaration.model_validate(wire(action("Source/ECR", outputs=1), builds))

    seen = look_up_all(declaration, StoredSettings())

    assert [str(each) for each in seen] == [
        f"CodeBuild project {name!r}: there {WHERE}",
        f"CodeBuild project 'no-such-project': missing {WHERE}",
    ]


def test_a_group_whose_hosts_stand_beside_the_definition_is_not_looked_up(
    validate: Validate, make_bucket: Callable[..., str], aws: Aws, tmp_path: Path
) -> None:
    names = {"ApplicationName": "Shop", "DeploymentGroupName": "web"}
    resource = {"Type": "AWS::CodeDeploy::DeploymentGroup", "Properties": names}
    bucket = make_bucket()
    aws("s3").put_object(Bucket=bucket, Key="app.zip", Body=b"")
    deploy = action("Deploy/CodeDeploy", 1, **names)

    code, said = validate(source(bucket), deploy)
    assert code == 1
    assert f"deployment group 'web' of application 'Shop': missing {WHERE}" in said

    resources = {"Web": {**resource, "Block": {"where": "local"}}}
    (tmp_path / "shop.resources.yaml").write_text(json.dumps({"resources": resources}))
    code, said = validate(source(bucket), deploy)
    assert (code, "deployment group" in said) == (0, False)


def test_nothing_is_looked_up_for_a_definition_with_errors(
    validate: Validate, aws_endpoint: FaultyEndpoint
) -> None:
    code, said = validate(source(), action("Deploy/S3", 1, BucketName="b"))  # Extract is missing

    assert (code, aws_endpoint.requests) == (1, [])
    assert "missing required configuration 'Extract'" in said


def test_a_lookup_only_reads() -> None:
    with pytest.raises(ValueError, match="a lookup only reads"):
        Lookup("bucket 'a'", "s3", "delete_bucket", {"Bucket": "a"})


def test_the_types_of_aws_say_what_they_name() -> None:
    with_lookups = {str(kind) for kind, provider in providers().items() if provider.online}

    assert with_lookups >= {
        "Build/AWS/CodeBuild/1",
        "Deploy/AWS/CloudFormation/1",
        "Deploy/AWS/Lambda/1",
        "Deploy/AWS/S3/1",
        "Invoke/AWS/StepFunctions/1",
        "Source/AWS/ECR/1",
        "Source/AWS/S3/1",
        "Test/AWS/CodeBuild/1",
    }
