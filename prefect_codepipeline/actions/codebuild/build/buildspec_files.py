"""Find and read the buildspec of a build: a file in the source, an object in S3, or an inline text.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec-ref-name-storage
"""

from __future__ import annotations

import re
from pathlib import Path

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.documents.reading import read_document
from prefect_codepipeline.errors import ActionFailed, UnreadableDefinition
from prefect_codepipeline.model.buildspec.parsing import parse_buildspec
from prefect_codepipeline.model.buildspec.parts import Buildspec, is_text

DEFAULT_BUILDSPEC = "buildspec.yml"
_S3 = re.compile(r"arn:[^:]+:s3:::(?P<bucket>[^/]+)/(?P<key>.+)")
_MOST_PROBLEMS = 20


def read_buildspec(wanted: str | None, source: Path, context: ActionContext) -> Buildspec:
    """The buildspec of a build; problems that are not errors are logged as warnings.

    Args:
        wanted: a path in the source, the ARN of an object in S3, or an inline buildspec; None means buildspec.yml.
        source: the source directory.
        context: of the action: its logger receives the warnings, its account reads the object.

    Raises:
        ActionFailed: with code `ConfigurationError`, the buildspec does not exist, or CodeBuild would refuse it; the
            message lists every problem with line and column.
    """
    name, content = _content(wanted, source, context)
    try:
        document = read_document(content, name)
    except UnreadableDefinition as error:
        raise ActionFailed(f"YAML_FILE_ERROR: {error}", code="ConfigurationError") from None
    spec, problems = parse_buildspec(document.content)
    for problem in problems:
        if problem.severity == "warning":
            context.logger.warning("%s", _with_place(document, problem.path, str(problem)))
    if spec is None:
        errors = [
            _with_place(document, each.path, str(each)) for each in problems if each.severity == "error"
        ]
        raise ActionFailed(
            "YAML_FILE_ERROR: " + "\n".join(errors[:_MOST_PROBLEMS]), code="ConfigurationError"
        )
    return spec


def _content(wanted: str | None, source: Path, context: ActionContext) -> tuple[str, bytes]:
    """The name of the buildspec for messages, and its bytes."""
    if wanted and is_text(wanted):
        return "buildspec", wanted.encode()
    if wanted and (place := _S3.fullmatch(wanted)):
        return wanted, _object(place["bucket"], place["key"], context)
    name = wanted or DEFAULT_BUILDSPEC
    path = source / name.removeprefix("/")
    if not path.resolve().is_relative_to(source.resolve()):
        raise ActionFailed(
            f"buildspec {name!r} is refused: it is outside the source", code="ConfigurationError"
        )
    try:
        return name, path.read_bytes()
    except OSError as error:
        raise ActionFailed(
            f"YAML_FILE_ERROR: buildspec {name!r} cannot be read from the source: {error.strerror}"
            f"{_hint(source, name)}",
            code="ConfigurationError",
        ) from None


def _hint(source: Path, name: str) -> str:
    """A hint at other buildspecs in the source."""
    found = sorted(path.name for path in source.glob("*buildspec*") if path.name != name)
    if not found:
        return "; add one, or name it in the project or in BuildspecOverride"
    return f"; the source has {', '.join(found[:5])}: name it in the project or in BuildspecOverride"


def _object(bucket: str, key: str, context: ActionContext) -> bytes:
    s3 = client_of(context, "s3")
    with translated(f"reading buildspec s3://{bucket}/{key}"):
        content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def _with_place(document: Document, path: str, text: str) -> str:
    place = document.place_of(path)
    return f"{document.name}:{place.line}:{place.column}: {text}"
