"""Build/AWS/CodeBuild/1 and Test/AWS/CodeBuild/1 as the engine calls them, with a real Prefect server and real processes."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from uuid import uuid4

import pytest

from prefect_codepipeline.actions.artifacts.storing import load_artifact_store
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, get_provider
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration

pytestmark = pytest.mark.usefixtures("prefect_server")


class Builds:
    """A project of the test's own, and its builds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = f"App_{uuid4().hex[:8]}"
        self.records: list[str] = []
        self.logger = logging.Logger("build", logging.INFO)
        self.logger.addFilter(lambda record: self.records.append(record.getMessage()))
        self.progress: list[str] = []

    @property
    def lines(self) -> list[str]:
        """What the commands printed."""
        lines = (line for record in self.records for line in record.split("\n"))
        return [line for line in lines if not line.startswith(("$ ", "Phase ", "YAML", "The files"))]

    def block(self, **fields) -> None:
        CodeBuildProject(**fields).save(self.project.lower().replace("_", "-"), overwrite=True)

    def source(self, buildspec: str | None, artifact: str = "Source", /, **files: str) -> None:
        directory = self.folder / artifact
        directory.mkdir(exist_ok=True)
        for path, content in {**files, **({"buildspec.yml": dedent(buildspec)} if buildspec else {})}.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(content)

    def context(self, inputs=("Source",), outputs=(), category="Build", **fields) -> ActionContext:
        number = len(list(self.folder.glob("scratch-*")))
        scratch = self.folder / f"scratch-{number}"
        scratch.mkdir()
        kind = {"category": category, "owner": "AWS", "provider": "CodeBuild", "version": "1"}
        action = {
            "name": "Build",
            "actionTypeId": kind,
            "outputArtifacts": [{"name": name} for name in outputs],
        }
        return replace(
            ActionContext(
                pipeline_name="release",
                pipeline_execution_id=str(uuid4()),
                stage_name="Build",
                action=ActionDeclaration.model_validate(action),
                action_execution_id=f"a{number}",
                scratch=scratch,
                deadline=time.monotonic() + 60,
                input_artifacts=tuple(
                    InputTree(name, self.folder / name, revision_id="4f2a") for name in inputs
                ),
                settings=ActionSettings(run_on="host"),
                logger=self.logger,
                report_progress=lambda summary="", *_, **__: self.progress.append(summary),
            ),
            **fields,
        )

    def run(self, context: ActionContext | None = None, **configuration: str) -> ActionResult:
        context = context or self.context()
        provider = get_provider(context.action.action_type_id)
        given = {"ProjectName": self.project, **configuration}
        return provider.run(provider.configuration.model_validate(given), context)

    def failure(self, context: ActionContext | None = None, **configuration: str) -> ActionFailed:
        with pytest.raises(ActionFailed) as failed:
            self.run(context, **configuration)
        return failed.value


@pytest.fixture
def builds(tmp_path: Path) -> Builds:
    return Builds(tmp_path)


def test_a_project_without_a_block_builds_at_once(builds):
    builds.source(
        """
        version: 0.2
        env: {exported-variables: [TAG]}
        phases:
          install: {commands: ["echo installing"]}
          build: {commands: ["export TAG=1.2.3", "mkdir dist; echo $CODEBUILD_INITIATOR >dist/app"]}
        artifacts: {files: ['**/*'], base-directory: dist}
        """
    )
    context = builds.context(outputs=("Out",), category="Test")
    result = builds.run(context)

    assert result.summary == "3 commands ran in 0 s"
    assert result.output_variables == {"TAG": "1.2.3"}
    tree = result.output_artifacts["Out"]
    assert (tree.directory / tree.files[0]).read_text() == "codepipeline/release\n"
    assert result.external_execution_id == f"{builds.project}:{context.action_execution_id}"
    assert result.external_execution_url.endswith(f"/runs/flow-run/{context.pipeline_execution_id}")
    assert builds.progress == [
        "INSTALL 1/1: echo installing",
        "BUILD 1/2: export TAG=1.2.3",
        "BUILD 2/2: mkdir dist; echo $CODEBUILD_INITIATOR >dist/app",
    ]


def test_variables_of_the_action_win_over_the_project_s_and_those_over_the_buildspec_s(builds):
    from prefect.blocks.system import Secret

    name = f"token-{uuid4().hex[:8]}"
    Secret(value='{"key": "geheim-4711"}').save(name)
    builds.source(
        """
        version: 0.2
        env:
          variables: {A: spec, B: spec, C: spec}
          secrets-manager: {TOKEN: "{name}:key", B: "no-such-secret-is-asked-for"}
        phases:
          build: {commands: ["echo $A $B $C", "echo token=$TOKEN", "echo $TOKEN | base64"]}
        """.replace("{name}", name)
    )
    variables = [{"name": "A", "value": "project"}, {"name": "B", "value": "project"}]
    builds.block(where="host", environment_variables=variables)
    builds.run(EnvironmentVariables=json.dumps([{"name": "A", "value": "action", "type": "PLAINTEXT"}]))

    assert builds.lines[:2] == ["action project spec", "token=***"]
    assert "4711" not in "".join(builds.records)
    assert "Z2VoZWlt" not in "".join(builds.records)


def test_the_numbers_of_a_project_s_builds_count_up(builds):
    builds.source("{version: 0.2, phases: {build: {commands: ['echo number $CODEBUILD_BUILD_NUMBER']}}}")
    for _ in range(3):
        builds.run()
    threads = [threading.Thread(target=builds.run, args=(builds.context(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert builds.lines[:3] == ["number 1", "number 2", "number 3"]
    assert sorted(builds.lines[3:]) == ["number 4", "number 5", "number 6", "number 7"]


def test_a_failed_build_says_what_failed_and_what_its_reports_tell(builds, prefect_server):
    from prefect_codepipeline.prefect_api.client import call

    builds.source(
        """
        version: 0.2
        phases:
          build: {commands: ["echo about to fail", "sh -c 'echo sorry; exit 5'"]}
        reports: {unit: {files: [junit.xml]}}
        """,
        **{
            "junit.xml": "<testsuite><testcase name='test_a'/><testcase name='test_login'><failure>no</failure></testcase>"
            "</testsuite>"
        },
    )
    store = load_artifact_store(None)
    context = builds.context(store=store)
    failed = builds.failure(context)

    assert str(failed).startswith(
        "phase BUILD, command 2 of 2: Error while executing command: sh -c 'echo sorry; exit 5'. "
        "Reason: exit status 5 (1 passed, 1 failed: test_login)\nThe last lines of its output:\nsorry"
    )
    assert failed.code == "JobFailed"
    assert failed.external_execution_id == f"{builds.project}:a0"
    kept = f"reports/release/{context.pipeline_execution_id}/Build/Build/unit/junit.xml"
    assert (store.folder / kept).exists()
    wanted = {"artifacts": {"key": {"like_": "report-release-build-unit%"}}, "sort": "CREATED_DESC"}
    _, tables = call("POST", "/artifacts/filter", wanted)
    assert "test_login" in tables[0]["data"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("ci/other.yml", "other file"),
        ("version: 0.2\nphases:\n  build:\n    commands: ['echo inline']", "inline"),
        ('{"version": 0.2, "phases": {"build": {"commands": ["echo json"]}}}', "json"),
    ],
)
def test_the_buildspec_may_be_another(builds, override, expected):
    builds.source(None, **{"ci/other.yml": "{version: 0.2, phases: {build: {commands: [echo other file]}}}"})
    builds.run(BuildspecOverride=override)

    assert builds.lines == [expected]


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({}, "YAML_FILE_ERROR: buildspec 'buildspec.yml' cannot be read from the source: No such file .*the source has my-buildspec"),
        ({"BuildspecOverride": "../../etc/passwd"}, "it is outside the source"),
        ({"BuildspecOverride": "version: 0.2"}, "YAML_FILE_ERROR: buildspec:1:1"),
        ({"BuildspecOverride": "version: 0.2\nphases: {build: {commands: [{echo: x}]}}"}, "Expected Commands\\[0\\] to be of string"),
        ({"BatchEnabled": "true", "BuildspecOverride": "my-buildspec.yaml"}, "the buildspec has no `batch`"),
        ({"PrimarySource": "Other"}, "PrimarySource 'Other' is not an input artifact"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_runs(builds, configuration, message):
    builds.source(None, **{"my-buildspec.yaml": "{version: 0.2, phases: {build: {commands: [echo ran]}}}"})
    failed = builds.failure(**configuration)

    assert re.search(message, str(failed)), failed
    assert failed.code == "ConfigurationError"
    assert "ran" not in builds.lines


def test_several_inputs_need_a_primary_one_and_are_all_there(builds):
    builds.source(
        "{version: 0.2, phases: {build: {commands: [cat name $CODEBUILD_SRC_DIR_Other/name]}}}",
        "Main",
        name="main\n",
    )
    builds.source(None, "Other", name="other\n")
    context = builds.context(inputs=("Other", "Main"))

    assert "PrimarySource is required" in str(builds.failure(context))
    builds.run(context, PrimarySource="Main")
    assert builds.lines == ["main", "other"]


def test_a_reference_for_a_full_clone_is_cloned(builds, tmp_path):
    from git_repositories import GitRepository

    from prefect_codepipeline.blocks.git_connection import GitConnection

    repository = GitRepository(tmp_path / "repositories" / "acme" / uuid4().hex[:8])
    repository.path.mkdir(parents=True)
    repository.git("init", "--quiet", "--initial-branch=main")
    spec = "{version: 0.2, phases: {build: {commands: [git log --format=%s, git describe --tags, git remote get-url origin]}}}"
    repository.commit("first", **{"buildspec.yml": spec})
    repository.git("tag", "v1")
    commit = repository.commit("second")
    repository.commit("third, which is not built")
    GitConnection(url_template=f"{tmp_path}/repositories/{{FullRepositoryId}}").save(
        f"clone-{uuid4().hex[:8]}"
    )
    reference = {
        "provider": "CodeStarSourceConnection",
        "fullRepositoryId": f"acme/{repository.path.name}",
        "branch": "main",
        "commitId": commit,
        "cloneUrl": str(repository.path),
    }
    builds.source(None, **{"codebuild-clone-ref.json": json.dumps(reference)})
    context = builds.context()
    tree = replace(context.input_artifacts[0], format="CODEBUILD_CLONE_REF", revision_id=commit)
    builds.run(replace(context, input_artifacts=(tree,)))

    assert builds.lines == ["second", "first", f"v1-1-g{commit[:7]}", str(repository.path)]


def test_the_cache_of_a_project_serves_its_next_build(builds, tmp_path):
    builds.block(where="host", cache="local", cache_location=str(tmp_path / "caches"))
    builds.source(
        """
        version: 0.2
        phases:
          build: {commands: ["cat deps/a ~/.m2/b || true; mkdir -p deps ~/.m2; echo dep >deps/a; echo jar >~/.m2/b"]}
        cache: {paths: ['deps/**/*', '/root/.m2/**/*']}
        """
    )
    builds.run()
    (tmp_path / "Source/deps/a").unlink()
    builds.records.clear()
    builds.run()

    assert builds.lines == [
        "Cache: 2 files restored from 'without a key'",
        "dep",
        "jar",
        "Cache: 2 files saved as 'without a key'",
    ]


def test_no_more_builds_of_a_project_run_at_once_than_its_block_allows(builds, tmp_path):
    builds.block(where="host", concurrent_build_limit=1)
    builds.source(
        "{version: 0.2, phases: {build: {commands: ['mkdir ../lock && sleep 0.5 && rmdir ../lock']}}}"
    )
    failures: list[BaseException] = []

    def run(context: ActionContext) -> None:
        try:
            builds.run(context)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(builds.context(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    assert any("Queued" in line for line in builds.progress)


def test_a_build_that_is_queued_too_long_fails_and_one_that_is_stopped_ends(builds):
    from prefect_codepipeline.actions.codebuild.project.queue import turn_of

    context = builds.context()
    with turn_of(builds.project, 1, 1, context):
        with (
            pytest.raises(ActionFailed, match="queued for 0 minutes") as failed,
            turn_of(builds.project, 1, 0, context),
        ):
            pass
        assert failed.value.code == "Timeout"
        threading.Timer(0.3, context.cancellation.cancel).start()
        with pytest.raises(ActionAbandoned), turn_of(builds.project, 1, 5, context):
            pass


BATCH = """
version: 0.2
batch:
  fast-fail: {fast_fail}
  build-graph:
    - {{identifier: a, env: {{variables: {{WHO: a}}}}, ignore-failure: {ignore}}}
    - {{identifier: b, buildspec: other.yml, depend-on: [a]}}
    - {{identifier: c, env: {{variables: {{WHO: c}}}}}}
phases:
  build:
    commands:
      - echo "$WHO $CODEBUILD_BATCH_BUILD_IDENTIFIER" >$WHO.txt
      - {command}
artifacts: {{files: ['*.txt']}}
"""
OTHER = "{version: 0.2, phases: {build: {commands: ['cp other.yml b.txt']}}, artifacts: {files: [b.txt]}}"


def batch(command: str = "true", fast_fail: bool = False, ignore: bool = False) -> str:
    return BATCH.format(command=command, fast_fail=str(fast_fail).lower(), ignore=str(ignore).lower())


def names(result: ActionResult, name: str) -> list[str]:
    tree = result.output_artifacts[name]
    if tree.files is not None:
        return list(tree.files)
    return sorted(
        str(path.relative_to(tree.directory)) for path in tree.directory.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(
    ("outputs", "configuration", "expected"),
    [
        (("Out",), {}, {"Out": ["a/a.txt", "b/b.txt", "c/c.txt"]}),
        (("Out",), {"CombineArtifacts": "true"}, {"Out": ["a.txt", "b.txt", "c.txt"]}),
        (("a", "c"), {}, {"a": ["a.txt"], "c": ["c.txt"]}),
    ],
)
def test_a_batch_runs_each_build_in_its_own_directory(builds, outputs, configuration, expected):
    builds.source(batch(), **{"other.yml": OTHER})
    result = builds.run(builds.context(outputs=outputs), BatchEnabled="true", **configuration)

    assert {name: names(result, name) for name in result.output_artifacts} == expected
    assert "[b] $ cp other.yml b.txt" in builds.records or any(
        "[b] $ cp other.yml" in each for each in builds.records
    )
    assert builds.progress[-1] == "3 of 3 builds ended"


def test_a_build_that_fails_fails_the_batch_and_lets_out_what_depends_on_it(builds):
    builds.source(batch(command="test $WHO != a"), **{"other.yml": OTHER})
    failed = builds.failure(BatchEnabled="true")

    lines = str(failed).split("\n")
    assert lines[0] == "2 of 3 builds of the batch did not succeed"
    assert "a: phase BUILD, command 2 of 2: Error while executing command: test $WHO != a" in str(failed)
    assert "b: it depends on a, which did not succeed" in lines
    assert any(line.startswith("[c] ") for line in builds.lines) or any(
        "[c]" in each for each in builds.records
    )


def test_a_failure_that_is_ignored_fails_nothing(builds):
    builds.source(batch(command="test $WHO != a", ignore=True), **{"other.yml": OTHER})
    result = builds.run(builds.context(outputs=("Out",)), BatchEnabled="true")

    assert names(result, "Out") == ["b/b.txt", "c/c.txt"]


def test_a_batch_that_fails_fast_ends_what_runs(builds):
    builds.source(batch(command="test $WHO != a && sleep 60", fast_fail=True), **{"other.yml": OTHER})
    begun = time.monotonic()
    failed = builds.failure(BatchEnabled="true")

    assert time.monotonic() - begun < 30
    assert "c: it was ended because the batch has fast-fail" in str(failed)


def test_a_stopped_batch_is_abandoned(builds):
    builds.source(batch(command="sleep 60"), **{"other.yml": OTHER})
    context = builds.context()
    threading.Timer(1, context.cancellation.cancel).start()

    with pytest.raises(ActionAbandoned):
        builds.run(context, BatchEnabled="true")


def test_a_matrix_builds_every_combination(builds):
    builds.source(
        """
        version: 0.2
        batch:
          build-matrix:
            dynamic: {env: {variables: {OS: [linux, mac], PY: ["3.10", "3.13"]}}}
        phases: {build: {commands: ["echo $OS $PY"]}}
        """
    )
    builds.run(BatchEnabled="true")

    printed = sorted(line.partition("] ")[2] for line in builds.lines if line.startswith("["))
    assert [line for line in printed if not line.startswith(("$", "Phase"))] == [
        "linux 3.10", "linux 3.13", "mac 3.10", "mac 3.13"
    ]  # fmt: skip


def test_a_buildspec_cannot_give_itself_privileges(builds):
    builds.source(
        "{version: 0.2, batch: {build-list: [{identifier: a, env: {privileged-mode: true}}]}, "
        "phases: {build: {commands: [echo ran]}}}"
    )

    assert "a: batch: env.privileged-mode is set, but the CodeBuildProject block does not allow it" in str(
        builds.failure(BatchEnabled="true")
    )
    assert "ran" not in "".join(builds.records)
