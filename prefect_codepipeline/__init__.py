"""AWS CodePipeline's release pipelines on Prefect.

The public names are loaded on first use: importing Prefect takes two seconds, and `codepipeline validate` does
not need Prefect. `dir()` lists them, so that `prefect block register -m prefect_codepipeline` finds the blocks.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "ApiKey": "blocks.api_key",
    "ArtifactStore": "blocks.artifact_store",
    "CodeBuildProject": "blocks.codebuild_project",
    "CodeDeployApplication": "blocks.codedeploy_application",
    "EventWebhook": "blocks.event_webhook",
    "Gateway": "blocks.gateway",
    "GitConnection": "blocks.git_connection",
    "PipelineDefinition": "blocks.pipeline_definition",
    "PipelineSettings": "blocks.pipeline_settings",
    "Retention": "blocks.retention",
    "SlackChannel": "blocks.slack_channel",
    "pipeline": "flows.pipeline",
    "reconcile": "flows.reconcile",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
