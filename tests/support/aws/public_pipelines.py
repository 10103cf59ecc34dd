"""Ten pipelines of public repositories that deploy stacks, and what each needs around it.

The templates are those in tests/data. What their repositories hold is made up here: builds that need no network, and
stacks with a queue. The description of a stack is what the pipeline has made of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/stacks"
CONNECTION = f"arn:aws:codeconnections:us-east-1:{ACCOUNT}:connection/0f1e2d3c"
BUCKET = "artifacts-of-public-pipelines"
Files = dict[str, str]


def stack(description: str, *parameters: str) -> str:
    """A template."""
    return json.dumps(
        {
            "Description": description,
            "Parameters": {name: {"Type": "String"} for name in parameters},
            "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        }
    )


def build(*commands: str, files: str = "**/*") -> str:
    """A buildspec; each command must succeed."""
    return json.dumps(
        {
            "version": 0.2,
            "phases": {"build": {"commands": list(commands)}},
            "artifacts": {"files": [files]},
        }
    )


def parameters(**values: str) -> str:
    return json.dumps({"Parameters": values})


@dataclass(frozen=True)
class Stack:
    """A stack as it has to be at the end; an empty value of a parameter is any text."""

    description: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    status: str = "CREATE_COMPLETE"


@dataclass(frozen=True)
class PublicPipeline:
    """A pipeline.

    Args:
        template: the end of its template's name in tests/data.
        values: what the command that the import proposes asks for.
        repositories: the files of its git repositories, by their paths below the root and their branch: `shop@main`.
        stacks: what has to be in the account at the end, by name.
        approvals: those that the execution waits for, in order.
        stack: whether the template's own stack is in the account, under the pipeline's name, and the import reads it.
        region: of the stacks.
        objects: the files of ZIP files in the bucket of that stack, by key.
    """

    name: str
    template: str
    stacks: dict[str, Stack]
    values: dict[str, str] = field(default_factory=dict)
    repositories: dict[str, Files] = field(default_factory=dict)
    approvals: tuple[str, ...] = ()
    stack: bool = False
    region: str = "us-east-1"
    objects: dict[str, Files] = field(default_factory=dict)


POLYGLOT = PublicPipeline(
    name="PolyglotPipeline-polyglot-app-pipeline",
    template="__polyglot-app-pipeline.yaml",
    values={"AWS::AccountId": ACCOUNT, "SourceRepo": "polyglot"},
    repositories={
        "polyglot@master": {
            "template.json": stack("SERVICE in BUCKET"),
            "buildspec.yml": build(
                'for each in greeting name webapp; do sed "s/SERVICE/$each/; s/BUCKET/$ARTIFACT_BUCKET/" template.json '
                '> "$each-sam-packaged.yaml" || exit 1; done',
                files="*-sam-packaged.yaml",
            ),
        }
    },
    stacks={
        f"{each}-ms-polyglot-app-pipeline": Stack(f"{each} in polyglot-app-pipeline-artifact")
        for each in ("greeting", "name", "webapp")
    },
)
PETSTORE = PublicPipeline(
    name="petstore-api-pipeline",
    template="__petstore-api-pipeline.yaml",
    values={
        "AWS::AccountId": ACCOUNT,
        "GitHubUser": "acme",
        "GitHubRepositoryName": "petstore",
        "GitHubBranch": "next",
        "BucketRoot": "pets",
    },
    repositories={
        "acme/petstore@next": {
            "01api/template.json": stack("pets"),
            "01api/petstore-api-buildspec.yml": build(
                "cd 01api",
                "cp template.json petstore-api-output.yaml",
                files="01api/petstore-api-output.yaml",
            ),
            "03codebuild/postman-newman-buildspec.yml": build('test "$S3_BUCKET" = pets'),
        }
    },
    stacks={"petstore-api-stack": Stack("pets")},
)
SYNTHETIC_TESTS = PublicPipeline(
    name="SetupSyntheticTestsDemoResources-Pipeline",
    template="__setup-synthetic-tests-resources-stack.yml",
    values={"CloudFormationRole.Arn": ROLE, "ArtifactStoreBucket": BUCKET},
    repositories={
        "aws-codepipeline-synthetic-tests@master": {
            "synthetic-tests-demo-resources.yml": stack(
                "demo", "DemoResourcesS3BucketName", "DemoResourcesS3ObjectKey", "Size"
            ),
            "synthetic-tests-demo-resources-parameters.json": parameters(Size="small"),
        }
    },
    stacks={
        "SyntheticTestsDemoResources": Stack(
            "demo",
            {"DemoResourcesS3BucketName": BUCKET, "DemoResourcesS3ObjectKey": "", "Size": "small"},
        )
    },
)
IDENTITY_CENTER = PublicPipeline(
    name="Identity-Center-Automation-Solution",
    template="__templates~codepipeline-stack.template",
    values={"ConnectionArn": CONNECTION, "AWS::AccountId": ACCOUNT, "AWS::Region": "us-east-1"},
    repositories={
        "ic-automation@main": {
            "src/codebuild/buildspec-param.yml": build(
                """echo '{"Parameters": {"Keep": "30"}}' > ic-s3-parameters.json""",
                """echo '{"Parameters": {"AutomationBuildProjectName": "overridden", "Users": "7"}}' > ic-automation-parameters.json""",
            ),
            "src/codebuild/buildspec-validation.yml": build(
                "test -f templates/identity-center-s3-bucket.template"
            ),
            "src/codebuild/buildspec-zipfiles.yml": build("test -f ic-automation-parameters.json"),
            "src/codebuild/buildspec-mapping.yml": build("test -f ic-s3-parameters.json"),
            "buildspec.yml": build('test -n "$CODEPIPELINE_EXECUTION_ID" -a ${#COMMIT_ID} = 40'),
            "templates/identity-center-s3-bucket.template": stack("mappings", "Keep"),
            "templates/identity-center-automation.template": stack(
                "automation", "AutomationBuildProjectName", "Users"
            ),
        }
    },
    approvals=("Approval",),
    stacks={
        "IdentityCenter-S3-Bucket-Stack": Stack("mappings", {"Keep": "30"}),
        "IdentityCenter-Automation-Stack": Stack(
            "automation", {"AutomationBuildProjectName": "ic-automation-build-project", "Users": "7"}
        ),
    },
)
SAM_FARM = PublicPipeline(
    name="farm-pipeline",
    template="aws-serverless-samfarm__pipeline~pipeline.yaml",
    values={
        "AppName": "farm",
        "GitHubRepoName": "samfarm",
        "GitHubUser": "acme",
        "CloudformationRole": ROLE,
        "AWS::AccountId": ACCOUNT,
        "AWS::Region": "us-east-1",
    },
    repositories={
        "acme/samfarm@master": {
            "saml.yaml": stack("from BUCKET", "Animals"),
            "beta.json": parameters(Animals="squirrels"),
            "buildspec.yml": build('sed "s/BUCKET/$S3_BUCKET/" saml.yaml > post-saml.yaml'),
        }
    },
    stacks={
        "farm-serverless-stack": Stack(
            "from serverless-app-123456789012-us-east-1-farm", {"Animals": "squirrels"}
        )
    },
)
SERVICE_CATALOG = PublicPipeline(
    name="scDemoPipeline",
    template="__labs~xacct-pipeline~sc-sub.yml",
    stack=True,
    objects={
        "scblog.zip": {"CFN/DeployVPC.yml": stack("network"), "CFN/DeployEC2.yml": stack("machines")},
    },
    stacks={"SCBlogVPCStack": Stack("network"), "SCBlogEC2Stack": Stack("machines")},
)
NESTED = PublicPipeline(
    name="ContinuousDeliveryNestedCFN-cfn-codebuild",
    template="__codepipeline-cfn-codebuild.yml",
    values={
        "AWS::AccountId": ACCOUNT,
        "CFNTemplateRepoName": "nested-templates",
        "ValidateResourcesRepoName": "nested-checks",
        "ArtifactStoreS3Location": "nested-artifacts",
    },
    repositories={
        "nested-templates@master": {
            "master-stack.yml": stack("nested", "Env"),
            **{f"config-{each}.json": parameters(Env=each) for each in ("test", "uat", "prod")},
            "buildspec.yml": build('test "$TEMPLATE_BUCKET/$TEMPLATE_PREFIX" = nested-artifacts/codebuild'),
        },
        "nested-checks@master": {"buildspec.yml": build("echo checked > checked")},
    },
    approvals=("UATApproval", "ProdApproval"),
    stacks={
        "Test-cfn-codebuild": Stack(status="DELETE_COMPLETE"),
        "UAT-cfn-codebuild": Stack("nested", {"Env": "uat"}),
        "Prod-cfn-codebuild": Stack("nested", {"Env": "prod"}),
    },
)
MLOPS = PublicPipeline(
    name="deploy-mlops-deploy",
    template="__deploy~mlops-deploy.yaml",
    values={
        "AWS::AccountId": ACCOUNT,
        "ImportValue.MLOpsRepoName": "mlops",
        "ImportValue.ModelName": "abalone",
    },
    repositories={
        "mlops@deploy": {
            "template.json": stack("MODEL for STAGE", "Stage"),
            "buildspec.yml": build(
                'sed "s/MODEL/$MODEL_NAME/; s/STAGE/$STAGE/" template.json > "deploy-model-$STAGE.yaml"',
                """printf '{"Parameters": {"Stage": "%s"}}' "$STAGE" > "$STAGE-config-export.json\"""",
            ),
        }
    },
    approvals=("ApproveDeploy", "ApproveProd"),
    stacks={
        "deploy-mlops-deploy-qa": Stack("abalone for QA", {"Stage": "QA"}),
        "deploy-mlops-deploy-prd": Stack("abalone for Prd", {"Stage": "Prd"}),
    },
)
_OF_FARGATE = (
    "NetworkStack",
    "LoadBalancerStack",
    "DatabaseStack",
    "DBPassSSMName",
    "TargetGroup",
    "TargetGroup2",
)
BLUE_GREEN = PublicPipeline(
    name="cloudformation-pipelinePipeline",
    template="BlueGreen__cloudformation~pipeline.yaml",
    values={
        "AWS::Region": "eu-west-1",
        "CodeCommitRepositoryName": "fargate",
        "CloudFormationRole": ROLE,
        "FargateStackName": "fargate-blue",
        "Stage2CloudFormationRole": ROLE,
        "Stage2FargateStackName": "fargate-green",
        "DockerLocalTag": "app",
        "RepoUrl": "registry.example/app",
        **{name: f"blue-{name.lower()}" for name in _OF_FARGATE},
        **{f"Stage2{name}": f"green-{name.lower()}" for name in _OF_FARGATE},
    },
    repositories={
        "fargate@master": {
            "cloudformation/fargate.yaml": stack("fargate", *_OF_FARGATE, "Image"),
            "cloudformation/applicationloadbalancer.yaml": stack(
                "balancer", "NetworkStack", "CertificateArn", "Active"
            ),
            "buildspec.yml": build(
                """printf '{"Parameters": {"Image": "%s"}}' "$REPO_URL:$LOCAL_TAG" > fargateconfig.json"""
            ),
            "buildspec-stage.yml": build(
                'test -f "$CODEBUILD_SRC_DIR_CloudformationArtifact/fargateconfig.json"',
                """printf '{"Parameters": {"Image": "of %s"}}' "$NEXTSTAGE_FARGATE_STACK" > fargateconfig2.json""",
                """printf '{"Parameters": {"Active": "green"}}' > albconfig2.json""",
            ),
        }
    },
    approvals=("QA",),
    region="eu-west-1",
    stacks={
        "fargate-blue": Stack(
            "fargate",
            {**{name: f"blue-{name.lower()}" for name in _OF_FARGATE}, "Image": "registry.example/app:app"},
        ),
        "fargate-green": Stack(
            "fargate",
            {**{name: f"green-{name.lower()}" for name in _OF_FARGATE}, "Image": "of fargate-green"},
        ),
        "green-loadbalancerstack": Stack(
            "balancer", {"NetworkStack": "green-networkstack", "CertificateArn": "NONE", "Active": "green"}
        ),
    },
)
YOCAL = PublicPipeline(
    name="yocal-pipeline",
    template="iph+yocal__cloudformation~pipeline.yml",
    values={
        "AppName": "yocal",
        "RepositoryName": "yocal",
        "RepositoryBranch": "main",
        "CloudFormationTrustRole.Arn": ROLE,
        "AWS::AccountId": ACCOUNT,
        "AWS::Region": "us-east-1",
    },
    repositories={
        "iph/yocal@main": {
            "template.yml": stack("calendar", "AppName"),
            "buildspec.yml": build("cp template.yml template-export.yml"),
        }
    },
    stacks={"yocal-lambda": Stack("calendar", {"AppName": "yocal"})},
)
PIPELINES = [
    POLYGLOT, PETSTORE, SYNTHETIC_TESTS, IDENTITY_CENTER, SAM_FARM, SERVICE_CATALOG, NESTED, MLOPS, BLUE_GREEN, YOCAL,
]  # fmt: skip
