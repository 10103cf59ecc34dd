"""The dry run of a pipeline: what would run, in which order, where, and with which inputs and values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prefect_codepipeline.actions.catalog import built_in_action_types
from prefect_codepipeline.deployments.checking.blocks_needed import (
    Blocks,
    Need,
    blocks_of_deploy,
    need_by_name,
    need_of_resource,
    needs_of,
)
from prefect_codepipeline.deployments.checking.needed import NeededValue
from prefect_codepipeline.deployments.files.resource_kinds import BlockOf, blocks_of
from prefect_codepipeline.deployments.files.resources import Beside
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    PipelineDeclaration,
    StageDeclaration,
)
from prefect_codepipeline.model.definition.plan import Group, run_order_groups
from prefect_codepipeline.model.definition.variables import find_references

_SECRET_KEY = re.compile(r"token|secret|password|privatekey", re.IGNORECASE)


@dataclass(frozen=True)
class PlannedVariable:
    """A variable of the pipeline; `source` is given, default, or missing."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class PlannedAction:
    """What one action would do: `values` are its settings, with the known variables resolved."""

    name: str
    action_type: str
    where: str
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    waits_for: list[str] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)


@dataclass(frozen=True)
class PlannedStep:
    """Actions of a stage that start together: those of one run order. `is_approval`: all of them are approvals."""

    run_order: int
    actions: list[PlannedAction]
    is_approval: bool = False


@dataclass(frozen=True)
class PlannedStage:
    """A stage with its steps in order, and its conditions."""

    name: str
    steps: list[PlannedStep]
    conditions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """The result of a dry run."""

    name: str
    pipeline_type: str
    execution_mode: str
    variables: list[PlannedVariable]
    stages: list[PlannedStage]
    needs: list[Need]
    resources: list[str]
    missing: dict[str, str]
    placeholders: list[str]

    def all_needs(self) -> Iterator[Need]:
        """The blocks that the pipeline or one of its actions needs."""
        yield from self.needs
        for stage in self.stages:
            for step in stage.steps:
                for action in step.actions:
                    yield from action.needs


def plan(
    declaration: PipelineDeclaration,
    given: Mapping[str, str],
    where: Mapping[tuple[str, str], str],
    beside: Beside,
    blocks: Blocks | None,
    store: str = "",
    needed: Sequence[NeededValue] = (),
    named: Sequence[tuple[str, str]] = (),
) -> Plan:
    """Return what an execution of a pipeline would do.

    Args:
        declaration: a checked declaration, or one built leniently from an invalid definition.
        given: the variables passed to the execution.
        where: where commands would run, by the names of stage and action.
        beside: the resources file of an imported pipeline.
        blocks: the blocks on the server; None without a server.
        store: the name of the ArtifactStore block; empty for the default.
        needed: the unknown values that the pipeline needs.
        named: the blocks that the settings name for actions, by type and name.
    """
    planner = _Planner(declaration, given, where, blocks, blocks_of_deploy(beside))
    return Plan(
        declaration.name,
        declaration.pipeline_type,
        declaration.execution_mode,
        planner.variables,
        [planner.stage(stage) for stage in declaration.stages],
        [*_store(store, blocks), *(need_by_name(kind, (name,), blocks) for kind, name in named)],
        list(_resources(beside, blocks)),
        {value.name: ", ".join(value.paths) for value in needed},
        list(beside.placeholders),
    )


class _Planner:
    def __init__(
        self,
        declaration: PipelineDeclaration,
        given: Mapping[str, str],
        where: Mapping[tuple[str, str], str],
        blocks: Blocks | None,
        created: list[BlockOf],
    ) -> None:
        self.where = where
        self.blocks = blocks
        self.created = created
        self.variables = [
            PlannedVariable(each.name, given[each.name], "given")
            if each.name in given
            else PlannedVariable(
                each.name, each.default_value or "", "default" if each.default_value else "missing"
            )
            for each in declaration.variables or []
        ]
        self.known = {each.name: each.value for each in self.variables if each.source != "missing"}
        self.namespaces: dict[str, str] = {}
        self.artifacts: dict[str, str] = {}
        for stage in declaration.stages:
            for action in stage.actions:
                place = f"{stage.name}/{action.name}"
                if action.namespace:
                    self.namespaces[action.namespace] = place
                self.artifacts |= {output.name: place for output in action.output_artifacts}

    def stage(self, stage: StageDeclaration) -> PlannedStage:
        steps = [self._step(stage, group) for group in run_order_groups(stage)]
        return PlannedStage(stage.name, steps, list(_conditions(stage)))

    def _step(self, stage: StageDeclaration, group: Group) -> PlannedStep:
        planned = [self._action(stage.name, action) for action in group]
        return PlannedStep(group[0].run_order, planned, all(action.is_approval for action in group))

    def _action(self, stage: str, action: ActionDeclaration) -> PlannedAction:
        values, waits = {}, []
        for key, text in _texts(action):
            values[key] = self._resolved(text)
            waits += list(self._waits_for(values[key]))
        return PlannedAction(
            action.name,
            str(action.action_type_id),
            self._where(stage, action),
            [
                f"{each.name} (from {self.artifacts.get(each.name, 'nowhere')})"
                for each in action.input_artifacts
            ],
            [each.name for each in action.output_artifacts],
            values,
            list(dict.fromkeys(waits)),
            list(needs_of(action, self.blocks, self.created)),
        )

    def _where(self, stage: str, action: ActionDeclaration) -> str:
        if action.is_approval:
            return "waits for a person"
        kind = action.action_type_id
        if kind not in built_in_action_types():
            return f"not supported: there is no provider for {kind}"
        if kind.category == "Source":
            return "in the worker"
        return self.where.get((stage, action.name), "in the worker")

    def _resolved(self, text: str) -> str:
        for reference in find_references(text):
            if reference.namespace == "variables" and reference.key in self.known:
                text = text.replace("#{" + reference.text + "}", self.known[reference.key])
        return text

    def _waits_for(self, text: str) -> Iterator[str]:
        for reference in find_references(text):
            written = "#{" + reference.text + "}"
            if reference.namespace == "variables":
                yield f"{written}: no value, pass --variable {reference.key}=VALUE"
            elif reference.namespace == "codepipeline":
                yield f"{written}: known when the execution starts"
            elif producer := self.namespaces.get(reference.namespace):
                yield f"{written}: known when {producer} has run"
            else:
                yield f"{written}: the namespace does not exist"


def _texts(action: ActionDeclaration) -> Iterator[tuple[str, str]]:
    for key, value in action.configuration.items():
        yield key, "****" if _SECRET_KEY.search(key) and not value.startswith("{{resolve:") else value
    for index, command in enumerate(action.commands or []):
        yield f"command {index + 1}", command
    for variable in action.environment_variables or []:
        yield f"${variable.name}", variable.value


def _conditions(stage: StageDeclaration) -> Iterator[str]:
    around = {
        "before entry": stage.before_entry and stage.before_entry.conditions,
        "on success": stage.on_success and stage.on_success.conditions,
        "on failure": stage.on_failure and stage.on_failure.conditions,
    }
    for when, conditions in around.items():
        for condition in conditions or []:
            rules = ", ".join(f"{rule.name} ({rule.rule_type_id.provider})" for rule in condition.rules or [])
            yield f"{when}: {condition.result or 'FAIL'} unless {rules}"
    if stage.on_failure and stage.on_failure.result:
        yield f"on failure: {stage.on_failure.result}"


def _store(name: str, blocks: Blocks | None) -> Iterator[Need]:
    if name:
        yield need_by_name("artifact-store", (name,), blocks)


def _resources(beside: Beside, blocks: Blocks | None) -> Iterator[str]:
    for block in blocks_of(beside.resources):
        what = f"{block.logical_id} ({block.type})"
        if block.fields is None and not block.url_template:
            yield f"{what}: {block.reason}"
            continue
        need = need_of_resource(block, blocks)
        does = {
            "present": "exists",
            "missing": "would be created by deploy",
            "unknown": "created by deploy if missing",
        }
        yield f"{what}: {block.noun} {need.name!r} {does[need.state]}" + (
            f"; {block.reason}" if block.reason else ""
        )
