"""`codepipeline graph`: draw a pipeline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from prefect_codepipeline.cli.definitions.named import FileOrName, deployed_declaration, file_of
from prefect_codepipeline.cli.output import print_json
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.errors import CodePipelineError


def graph(
    name: FileOrName,
    *,
    format: Literal["svg", "mermaid"] | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    json: AsJson = False,
) -> None:
    """Draw a pipeline: stages, run-order groups, artifacts, approvals and conditions.

    Parameters
    ----------
    format:
        SVG for browsers, Mermaid for Markdown; by default chosen from the suffix of --output, else SVG.
    output:
        The file to write; printed to the standard output by default.
    """
    from prefect_codepipeline.deployments.files.definition import read_definition
    from prefect_codepipeline.model.views.graph import draw_mermaid, draw_pipeline, graph_of

    if json and (format or output):
        raise CodePipelineError("--json prints what the drawing shows, without --format and --output")
    file = file_of(name)
    declaration = read_definition(file) if file else deployed_declaration(name)
    if json:
        print_json(graph_of(declaration))
        return
    if format is None:
        format = "mermaid" if output and output.suffix in (".mmd", ".mermaid", ".md") else "svg"
    text = draw_mermaid(declaration) if format == "mermaid" else f"{draw_pipeline(declaration)}\n"
    if output and output.suffix == ".md":
        text = f"```mermaid\n{text}```\n"
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise CodePipelineError(f"{output}: {error.strerror}") from None
