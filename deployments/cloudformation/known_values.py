"""The values of `Ref` and `Fn::GetAtt` for resources whose names are in the template.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-template-resource-type-ref.html
"""

from __future__ import annotations

# `Ref` returns the value of this property.
NAMES = {
    "AWS::CodeBuild::Project": "Name",
    "AWS::CodeDeploy::Application": "ApplicationName",
    "AWS::CodeDeploy::DeploymentConfig": "DeploymentConfigName",
    "AWS::CodeDeploy::DeploymentGroup": "DeploymentGroupName",
    "AWS::CodePipeline::Pipeline": "Name",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::ECR::Repository": "RepositoryName",
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::ElasticBeanstalk::Application": "ApplicationName",
    "AWS::ElasticBeanstalk::Environment": "EnvironmentName",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::KMS::Alias": "AliasName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SSM::Parameter": "Name",
    "AWS::Serverless::Function": "FunctionName",
}
# If these have no name, the import assigns one, because they are imported with the pipeline.
NAMED_HERE = {
    "AWS::CodeBuild::Project",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentConfig",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::CodePipeline::Pipeline",
}
# `Fn::GetAtt` returns the value of this property.
ATTRIBUTES = {
    ("AWS::CodeCommit::Repository", "Name"): "RepositoryName",
    ("AWS::ECS::Service", "Name"): "ServiceName",
    ("AWS::SSM::Parameter", "Value"): "Value",
}
# `Fn::GetAtt` of an attribute that is built from the name and the account's values.
MADE_OF_NAME = {
    ("AWS::CodeBuild::Project", "Arn"): "arn:{partition}:codebuild:{region}:{account}:project/{name}",
    (
        "AWS::CodeCommit::Repository",
        "CloneUrlHttp",
    ): "https://git-codecommit.{region}.{suffix}/v1/repos/{name}",
    ("AWS::DynamoDB::Table", "Arn"): "arn:{partition}:dynamodb:{region}:{account}:table/{name}",
    ("AWS::ECR::Repository", "Arn"): "arn:{partition}:ecr:{region}:{account}:repository/{name}",
    ("AWS::ECR::Repository", "RepositoryUri"): "{account}.dkr.ecr.{region}.{suffix}/{name}",
    ("AWS::ECS::Cluster", "Arn"): "arn:{partition}:ecs:{region}:{account}:cluster/{name}",
    ("AWS::IAM::Role", "Arn"): "arn:{partition}:iam::{account}:role{path}{name}",
    ("AWS::KMS::Key", "Arn"): "arn:{partition}:kms:{region}:{account}:key/{name}",
    ("AWS::Lambda::Function", "Arn"): "arn:{partition}:lambda:{region}:{account}:function:{name}",
    ("AWS::S3::Bucket", "Arn"): "arn:{partition}:s3:::{name}",
    ("AWS::S3::Bucket", "DomainName"): "{name}.s3.{suffix}",
    ("AWS::Serverless::Function", "Arn"): "arn:{partition}:lambda:{region}:{account}:function:{name}",
}
PSEUDO_PARAMETERS = {
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::AccountId": None,
    "AWS::Region": None,
    "AWS::StackId": None,
    "AWS::StackName": None,
    "AWS::NotificationARNs": None,
}
# What those without a value are.
PSEUDO_MEANINGS = {
    "AWS::AccountId": "the number of the AWS account",
    "AWS::Region": "the region of the stack, such as eu-west-1",
    "AWS::StackId": "the ARN of the stack",
    "AWS::StackName": "the name of the stack",
    "AWS::NotificationARNs": "the topics that the stack notifies",
}
# Attributes stored with an imported resource, because its block is created from them.
KEPT_ATTRIBUTES = {
    "AWS::CodeBuild::Project": "Ref",
    "AWS::CodeCommit::Repository": "CloneUrlHttp",
    "AWS::CodeConnections::Connection": "Ref",
    "AWS::CodeDeploy::Application": "Ref",
    "AWS::CodeDeploy::DeploymentConfig": "Ref",
    "AWS::CodeDeploy::DeploymentGroup": "Ref",
    "AWS::CodeStarConnections::Connection": "Ref",
}
