"""Rule/AWS/CodeBuild/1 with real processes on the host; builds are tested with the CodeBuild action."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aws_environment import use_endpoint
from aws_server import AwsServer, in_turn

from prefect_codepipeline.actions.rule_registry import abandon_rule, rule_providers
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.declaration import RuleDeclaration
from prefect_codepipeline.model.record.condition_facts import RuleAsked, RuleState

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def ask(asker: Any) -> Any:
    def ask_with(buildspec: str, **configuration: str) -> Any:
        asker.files["buildspec.yml"] = buildspec
        given = {"ProjectName": "checks", **configuration}
        return asker.ask("CodeBuild", given, inputArtifacts=[{"name": "App"}])

    return ask_with


def test_is_met_when_the_build_succeeds(ask: Any, tmp_path: Path) -> None:
    answer = ask(
        f"{{version: 0.2, phases: {{build: {{commands: ['echo $A > {tmp_path}/a', cat name.txt]}}}}}}",
        EnvironmentVariables='[{"name": "A", "value": "#{Source.BranchName}"}]',
    )

    assert answer.status == "Succeeded", answer.summary
    assert answer.summary == "2 commands ran in 0 s"
    assert (tmp_path / "a").read_text() == "main\n"


def test_is_not_met_when_it_fails(ask: Any) -> None:
    answer = ask("{version: 0.2, phases: {build: {commands: ['false']}}}")

    assert (answer.status, answer.error_details) == ("Failed", None)
    assert "Error while executing command: false. Reason: exit status 1" in answer.summary


def test_cannot_be_asked_without_a_buildspec(ask: Any) -> None:
    answer = ask("version: 0.3")

    assert answer.error_details.code == "ConfigurationError"
    assert "YAML_FILE_ERROR" in answer.summary


class TestInAws:
    """A build in AWS is waited for without a thread."""

    @pytest.fixture
    def codebuild(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
        CodeBuildProject(where="aws").save("in-aws", overwrite=True)
        server = AwsServer()
        use_endpoint(monkeypatch, server.url, "us-east-1")
        build = {"id": "in-aws:1", "arn": "arn:aws:codebuild:us-east-1:123456789012:build/in-aws:1"}
        running = {"builds": [{**build, "buildStatus": "IN_PROGRESS", "currentPhase": "BUILD"}]}
        server.answers = {
            "BatchGetProjects": lambda _: {"projects": [{"name": "in-aws", "source": {"type": "GITHUB"}}]},
            "StartBuild": lambda _: {"build": build},
            "BatchGetBuilds": in_turn([running, {"builds": [{**build, "buildStatus": "SUCCEEDED"}]}]),
            "StopBuild": lambda _: {"build": build},
        }
        yield server
        server.stop()

    @pytest.fixture
    def ask(self, asker: Any) -> Any:
        return lambda: asker.ask("CodeBuild", {"ProjectName": "in-aws"}, inputArtifacts=[{"name": "App"}])

    def test_the_next_evaluation_follows_the_same_build(
        self, codebuild: AwsServer, asker: Any, ask: Any
    ) -> None:
        assert ask().memory["build"] == "in-aws:1"

        answer = asker.ask_again()

        assert (answer.status, answer.external_execution_id) == ("Succeeded", "in-aws:1")
        assert len(codebuild.asked("StartBuild")) == 1

    def test_a_build_whose_result_is_no_longer_needed_is_stopped(
        self, codebuild: AwsServer, ask: Any
    ) -> None:
        wait = ask()
        (abandon,) = [each.abandon for kind, each in rule_providers().items() if kind.provider == "CodeBuild"]

        abandon(wait.memory)

        assert codebuild.asked("StopBuild") == [{"id": "in-aws:1"}]
        assert wait.external_execution_id == "in-aws:1"

    @pytest.mark.parametrize("place", ["not what this version wrote", None])
    def test_a_build_that_cannot_be_stopped_is_named_and_ends_the_rule_nevertheless(
        self, codebuild: AwsServer, asker: Any, ask: Any, place: str | None
    ) -> None:
        wait = ask()
        del codebuild.answers["StopBuild"]
        memory = {**wait.memory, **({"place": place} if place else {})}
        asked = RuleAsked(
            at=asker.clock,
            stage="S",
            condition="beforeEntry",
            attempt=1,
            rule="Check",
            rule_execution_id="r1",
        )
        kind = {"category": "Rule", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
        rule = RuleDeclaration.model_validate({"name": "Check", "ruleTypeId": kind})
        known = RuleState(rule, asked, 1, wait.model_copy(update={"memory": memory}), asker.clock)

        outcome = abandon_rule(known, "overridden by ana", asker.clock)

        assert outcome
        assert outcome.summary.startswith("overridden by ana; its work elsewhere (in-aws:1) may still run: ")
        assert ("AWS refused" in outcome.summary) == (place is None)

    def test_a_start_that_is_not_known_to_have_happened_is_not_repeated_when_its_token_is_old(
        self, codebuild: AwsServer, asker: Any
    ) -> None:
        wanted = {"inputArtifacts": [{"name": "App"}], "late": timedelta(minutes=6)}

        answer = asker.ask("CodeBuild", {"ProjectName": "in-aws"}, **wanted)

        assert answer.error_details.code == "InternalError"
        assert not codebuild.asked("StartBuild")

    def test_the_end_of_the_rules_time_stops_it(self, codebuild: AwsServer, asker: Any, ask: Any) -> None:
        codebuild.answers["BatchGetBuilds"] = in_turn([codebuild.answers["BatchGetBuilds"]({})])
        ask()

        answer = asker.ask_again(after=timedelta(hours=1))

        assert answer.error_details.code == "Timeout"
        assert len(codebuild.asked("StopBuild")) == 1

    def test_a_build_whose_project_was_deleted_is_neither_started_again_nor_forgotten(
        self, codebuild: AwsServer, asker: Any, ask: Any
    ) -> None:
        wait = ask()
        CodeBuildProject.delete("in-aws")
        (abandon,) = [each.abandon for kind, each in rule_providers().items() if kind.provider == "CodeBuild"]

        answer = asker.ask_again()

        said = "the CodeBuildProject block of 'in-aws' was deleted while build in-aws:1 ran in AWS"
        assert answer.error_details.code == "ConfigurationError"
        assert said in answer.summary
        with pytest.raises(ActionFailed, match=said):
            abandon(wait.memory)

    def test_a_build_is_followed_in_aws_although_its_project_builds_elsewhere_now(
        self, codebuild: AwsServer, asker: Any, ask: Any
    ) -> None:
        ask()
        CodeBuildProject(where="host").save("in-aws", overwrite=True)

        answer = asker.ask_again()

        assert (answer.status, answer.external_execution_id) == ("Succeeded", "in-aws:1")
