"""Check buildspec and AppSpec files: recognize them, find their problems, and predict what AWS would do."""

from __future__ import annotations

import re
from pathlib import Path

from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.model.appspec.parsing import parse_appspec
from prefect_codepipeline.model.appspec.parts import AppSpec
from prefect_codepipeline.model.buildspec.parsing import parse_buildspec
from prefect_codepipeline.model.buildspec.parts import Batch, Buildspec
from prefect_codepipeline.model.validation import Problem, appspecs, buildspecs
from prefect_codepipeline.model.validation.rules import Rule

_NAME = re.compile(r".*buildspec.*\.(ya?ml|json)", re.IGNORECASE)
_OTHERS = {"Resources", "pipeline", "stages"}
_APPSPEC_NAMES = {"appspec.yml", "appspec.yaml", "appspec.json"}
_APPSPEC_KEYS = {"files", "hooks", "permissions"}
# They are right where they belong, and this check does not know the action that uses the file.
_OTHER_APPSPECS = {
    appspecs.ECS.name: "this is the AppSpec of an ECS service, for actions of type Deploy/AWS/CodeDeployToECS/1, and not checked "
    "further: hosts cannot be deployed with it",
    appspecs.LAMBDA.name: "this is the AppSpec of a Lambda function, which CodeDeploy in AWS deploys, and not checked further: "
    "hosts cannot be deployed with it",
}  # fmt: skip


def has_buildspec_name(path: Path) -> bool:
    """Whether a file has the name of a buildspec: `buildspec.yml`, `buildspec_debug.yaml`, `api-buildspec.json`."""
    return bool(_NAME.fullmatch(path.name))


def looks_like_buildspec(document: Document) -> bool:
    """Whether a document has a buildspec's keys, whatever its name."""
    content = document.content
    return isinstance(content, dict) and "version" in content and bool({"phases", "batch"} & content.keys())


def is_something_else(document: Document) -> bool:
    """Whether a document with the name of a buildspec is a template or a pipeline."""
    return isinstance(document.content, dict) and bool(_OTHERS & document.content.keys())


def check_buildspec(document: Document) -> tuple[list[Problem], str]:
    """The problems of a buildspec, without line numbers, and a sentence about what CodeBuild would do with it."""
    buildspec, problems = parse_buildspec(document.content)
    return [*_repeated(document, buildspecs.REPEATED), *problems], _outcome(buildspec)


def _outcome(buildspec: Buildspec | None) -> str:
    if buildspec is None:
        return "CodeBuild would fail the build in DOWNLOAD_SOURCE with YAML_FILE_ERROR, before any command"
    if buildspec.batch:
        return f"CodeBuild would run {_builds(buildspec.batch)} as a batch"
    phases = [phase.name for phase in buildspec.phases if phase.commands or phase.finally_commands]
    return f"CodeBuild would run {', '.join(phases)}" if phases else "CodeBuild would run no command"


def _builds(batch: Batch) -> str:
    names = [build.identifier for build in batch.builds]
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} build{'' if len(names) == 1 else 's'} ({listed})"


def _repeated(document: Document, rule: Rule) -> list[Problem]:
    """The problems of keys that stand more than once in a document; the parsers do not see them any more."""
    return [
        rule.at(found.path, key=found.path.rpartition(".")[2], line=found.first.line)
        for found in document.repeated
    ]


# -- AppSpecs


def has_appspec_name(path: Path) -> bool:
    """Whether a file has the name of an AppSpec."""
    return path.name.lower() in _APPSPEC_NAMES


def looks_like_appspec(document: Document) -> bool:
    """Whether a document has an AppSpec's keys, whatever its name."""
    content = document.content
    return (
        isinstance(content, dict)
        and {"version", "os"} <= content.keys()
        and bool(_APPSPEC_KEYS & content.keys())
    )


def is_other_than_appspec(document: Document) -> bool:
    """Whether a document with the name of an AppSpec is a template or a pipeline. `Resources` of an AppSpec is a list."""
    content = document.content
    if not isinstance(content, dict):
        return False
    return bool({"pipeline", "stages"} & content.keys()) or isinstance(content.get("Resources"), dict)


def check_appspec(document: Document) -> tuple[list[Problem], str]:
    """The problems of an AppSpec, without line numbers, and a sentence about what CodeDeploy would do with it."""
    appspec, problems = parse_appspec(document.content, document.unquoted)
    for problem in problems:
        if problem.rule in _OTHER_APPSPECS:
            return [], _OTHER_APPSPECS[problem.rule]
    return [*_repeated(document, appspecs.REPEATED), *problems], _outcome_of_appspec(appspec)


def _outcome_of_appspec(appspec: AppSpec | None) -> str:
    if appspec is None:
        return "an action of type CodeDeploy would fail before it touches a host"
    count = len(appspec.files)
    installed = f"install from {count} source{'' if count == 1 else 's'}" if count else "install no file"
    return f"CodeDeploy would {installed} and run {', '.join(appspec.hooks) or 'no script'}"
