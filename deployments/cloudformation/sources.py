"""Find the documents to import: a file, the standard input, or the output of `cdk synth`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.documents.reading import MAX_BYTES, read_document
from prefect_codepipeline.errors import UnreadableDefinition

# Names of resources and providers are built from the stack's, and the shortest limit is 35 characters.
_LONGEST_STACK_NAME = 24


def documents_at(source: Path) -> list[Document]:
    """The documents at a path: the file, `-` for the standard input, or the templates of a `cdk.out` folder.

    From a folder, only templates with a pipeline are returned, including subfolders, which CDK uses for stages.

    Raises:
        UnreadableDefinition: no document can be read, or no template contains a pipeline.
    """
    if str(source) == "-":
        return [read_document(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input")]
    if not source.is_dir():
        return [read_file(source)]
    found = [read_file(path) for path in sorted(source.rglob("*.template.json"))]
    with_pipelines = [document for document in found if _contains_pipeline(document)]
    if not with_pipelines:
        what = f"its {len(found)} templates contain no pipeline" if found else "contains no *.template.json"
        raise UnreadableDefinition(f"{source}: {what}; a folder must be the output of `cdk synth` (cdk.out)")
    return with_pipelines


def _contains_pipeline(document: Document) -> bool:
    resources = document.content.get("Resources") if isinstance(document.content, dict) else None
    return isinstance(resources, dict) and any(
        isinstance(resource, dict) and resource.get("Type") == "AWS::CodePipeline::Pipeline"
        for resource in resources.values()
    )


def stack_name_of(file_name: str) -> str:
    """The stack name for a file: the end of its stem, with invalid characters replaced by dashes.

    It is short, because names of resources are often built from it.
    """
    stem = re.split(r"[\\/]", file_name)[-1].partition(".")[0]
    words = re.findall(r"[A-Za-z0-9]+", stem)
    while len(words) > 1 and len("-".join(words)) > _LONGEST_STACK_NAME:
        words.pop(0)
    return "-".join(words)[:_LONGEST_STACK_NAME] or "stack"
