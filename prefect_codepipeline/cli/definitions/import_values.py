"""The values of an import that are not in its template: from its stack, from the user, or from the command that is proposed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.deployments.cloudformation.deployed_stack import DeployedStack
    from prefect_codepipeline.deployments.cloudformation.pipelines import Imported
    from prefect_codepipeline.documents.document import Document


def deployed_stack(options: Mapping[str, str], documents: list[Document]) -> DeployedStack | None:
    """The stack of the options, which AWS is asked for."""
    from prefect_codepipeline.actions.aws.client import Account
    from prefect_codepipeline.deployments.cloudformation.deployed_stack import read_deployed_stack

    if "stack" not in options:
        if options:
            raise CodePipelineError(
                f"--{next(iter(options))} says where the stack of --stack is; give --stack"
            )
        return None
    if len(documents) > 1:
        raise CodePipelineError(
            f"{len(documents)} templates have pipelines, and --stack names the stack of one; name one of the files: "
            + ", ".join(document.name for document in documents)
        )
    account = Account(region=options.get("region"), profile=options.get("profile"))
    return read_deployed_stack(options["stack"], account)


def with_answers(
    documents: list[Document], given: Mapping[str, str], deployed: DeployedStack | None
) -> dict[str, str]:
    """The given values, and those that the user answers for the parameters that a condition or an action here needs."""
    from prefect_codepipeline.deployments.checking.needed import needed_values
    from prefect_codepipeline.deployments.cloudformation.pipelines import import_document

    known, asked = dict(given), set(given)
    while True:  # an answer can make another value necessary
        found = [import_document(document, known, deployed) for document in documents]
        pipelines = [pipeline for imported in found for pipeline in imported.pipelines]
        needed = {name: each.what for imported in found for name, each in imported.undecided.items()}
        needed |= {
            value.name: value.what
            for pipeline in pipelines
            for value in needed_values(pipeline.wire, pipeline.beside)
            if pipeline.missing[value.name].parameter
        }
        needed = {name: what for name, what in needed.items() if name not in asked}
        if not needed:
            return known
        for name, what in needed.items():
            asked.add(name)
            if answer := input(f"{name} ({what}), empty if unknown: "):
                known[name] = answer


def proposed_commands(imported: Imported, out: Path, origin: Mapping[str, Any]) -> dict[str, str]:
    """The commands that give what the pipelines of a template lack, each with the sentence that introduces it.

    `origin` is what the import got: the names of its `parameters`, and the options of its stack.
    """
    from prefect_codepipeline.deployments.checking.needed import import_command, needed_values

    lacking = {
        value.name: pipeline.missing[value.name].parameter is not None
        for pipeline in imported.pipelines
        for value in needed_values(pipeline.wire, pipeline.beside)
    }
    if not lacking:
        return {}

    def command(names: list[str], **more: str) -> str:
        beside = imported.pipelines[0].beside
        beside = replace(beside, imported={**beside.imported, **origin, **more})
        return import_command(out / "definition.json", beside, names)

    found = {"give the missing values with": command(list(lacking))}
    if "stack" not in origin and not all(lacking.values()):  # a value that is not a parameter of the template
        found["or read them from the stack of the template"] = command([], stack="NAME")
    return found
