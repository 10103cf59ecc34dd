"""The entry point `prefect.collections`: Prefect imports this module to register the worker type and the blocks."""

from prefect_codepipeline.blocks.action_type import CodePipelineActionType
from prefect_codepipeline.blocks.api_key import ApiKey
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.blocks.codedeploy_records import CodeDeployDeployment, CodeDeployGroup
from prefect_codepipeline.blocks.deploy_hosts import DeployHosts
from prefect_codepipeline.blocks.event_webhook import EventWebhook
from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.blocks.git_poll_state import GitPollState
from prefect_codepipeline.blocks.pipeline_definition import PipelineDefinition
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.blocks.pipeline_webhook import PipelineWebhook
from prefect_codepipeline.blocks.retention import RemovedExecutions, Retention
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.deployments.worker.worker import CodePipelineWorker

__all__ = [
    "ApiKey",
    "ArtifactStore",
    "CodeBuildProject",
    "CodeDeployApplication",
    "CodeDeployDeployment",
    "CodeDeployGroup",
    "CodePipelineActionType",
    "CodePipelineWorker",
    "DeployHosts",
    "EventWebhook",
    "Gateway",
    "GitConnection",
    "GitPollState",
    "PipelineDefinition",
    "PipelineSettings",
    "PipelineWebhook",
    "RemovedExecutions",
    "Retention",
    "SlackChannel",
]
