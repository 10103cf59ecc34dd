"""Check buildspec files: recognize them, find their problems, and predict what CodeBuild would do."""

from __future__ import annotations

import re
from pathlib import Path

from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.model.buildspec.parsing import parse_buildspec
from prefect_codepipeline.model.buildspec.parts import Batch, Buildspec
from prefect_codepipeline.model.validation import Problem
from prefect_codepipeline.model.validation.buildspecs import REPEATED

_NAME = re.compile(r".*buildspec.*\.(ya?ml|json)", re.IGNORECASE)
_OTHERS = {"Resources", "pipeline", "stages"}


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
    repeated = [
        REPEATED.at(found.path, key=found.path.rpartition(".")[2], line=found.first.line)
        for found in document.repeated
    ]
    return [*repeated, *problems], _outcome(buildspec)


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
