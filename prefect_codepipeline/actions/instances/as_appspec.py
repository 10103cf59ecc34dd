"""The steps of an EC2 action as an AppSpec, which the program on hosts outside of AWS works off."""

from __future__ import annotations

from prefect_codepipeline.actions.instances.deploy_spec import Step, Steps
from prefect_codepipeline.model.appspec.parts import (
    AppSpec,
    FileMapping,
    Script,
    absolute_path,
    path_in_bundle,
)

# Of an AppSpec these keep their name; all other steps come directly before or after the files.
_OWN_EVENTS = ("ApplicationStart", "ValidateService")


def appspec_of(steps: Steps) -> AppSpec:
    """The same files and scripts. Files that are there are overwritten.

    All scripts before the files are of BeforeInstall, also those of ApplicationStop: an EC2 action runs the scripts of the
    new artifact, CodeDeploy those of the last one.
    """
    hooks: dict[str, tuple[Script, ...]] = {}
    if steps.before:
        hooks["BeforeInstall"] = tuple(map(_script, steps.before))
    for step in steps.after:
        event = step.event if step.event in _OWN_EVENTS else "AfterInstall"
        hooks[event] = (*hooks.get(event, ()), _script(step))
    files = [
        FileMapping(path_in_bundle(each.source) or "", absolute_path(each.destination) or each.destination)
        for each in steps.copies
    ]
    return AppSpec(files=tuple(files), file_exists_behavior="OVERWRITE", hooks=hooks)


def _script(step: Step) -> Script:
    return Script(
        location=path_in_bundle(step.location) or step.location,
        timeout_in_seconds=step.timeout_seconds,
        runas=step.user,
        directory=step.directory or "",
    )
