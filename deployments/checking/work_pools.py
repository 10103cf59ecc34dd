"""Where a pipeline and its actions are to run: their work pools, queues and job variables exist, and are allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prefect_codepipeline.actions.allowed_pools import allowed_pools, not_allowed
from prefect_codepipeline.engine.operations.projection import FLOW_NAME
from prefect_codepipeline.engine.pool_runs.pools import (
    find_pool,
    find_unserved,
    pool_names,
    put_action_deployment,
    queue_names,
)
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import nearest
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.deployments import (
    DEFAULT_WORK_POOL,
    Place,
    find_deployment_of,
    place_of,
)

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def check_places(declaration: PipelineDeclaration, settings: StoredSettings, place: Place) -> list[str]:
    """Check where the pipeline and its actions are to run, and make the deployments of its actions' pools.

    Returns what was made, and which pools no live worker serves, as sentences.

    Raises:
        ValidationException: a pool or queue does not exist or is not allowed, or a pool has no such job variable.
    """
    name = declaration.name
    there = place_of(find_deployment_of(FLOW_NAME, name))
    whole = place.or_else(there).or_else(Place(DEFAULT_WORK_POOL))
    of_actions = dict(_places_of_actions(declaration, settings))
    allowed = allowed_pools(name)
    problems = [
        f"{what}: {problem}"
        for what, each in {f"pipeline {name!r}": whole, **of_actions}.items()
        for problem in _problems_of(each, allowed)
    ]
    problems += _without_pool(declaration, settings)
    if problems:
        raise ValidationException("\n".join(problems))
    pools = sorted({each.work_pool for each in of_actions.values() if each.work_pool})
    made = [f"deployment action/{pool}: created" for pool in pools if _is_created(pool)]
    served = {(each.work_pool or "", each.work_queue or "default") for each in of_actions.values()}
    warnings = (find_unserved(pool, queue) for pool, queue in sorted(served))
    return [*made, *(f"warning: {each.why}" for each in warnings if each)]


def _places_of_actions(
    declaration: PipelineDeclaration, settings: StoredSettings
) -> Iterator[tuple[str, Place]]:
    for name, own in _settings_of_actions(declaration, settings):
        if own.work_pool:
            yield f"action {name}", Place(own.work_pool, own.work_queue, own.job_variables)


def _without_pool(declaration: PipelineDeclaration, settings: StoredSettings) -> Iterator[str]:
    """The actions whose settings have a queue or job variables and no work pool, which would not count."""
    names = [
        name
        for name, own in _settings_of_actions(declaration, settings)
        if (own.work_queue or own.job_variables) and not own.work_pool
    ]
    if names:
        yield (
            f"action {', '.join(names)}: work_queue and job_variables of an action are those of its own work pool, and the "
            "settings name none; add work_pool beside them"
        )


def _settings_of_actions(
    declaration: PipelineDeclaration, settings: StoredSettings
) -> Iterator[tuple[str, ActionSettings]]:
    """Each action that may run on a work pool of its own, by its quoted name."""
    for stage in declaration.stages:
        for action in stage.actions:
            if not action.is_approval:
                yield f"'{stage.name}/{action.name}'", settings.for_action(stage.name, action.name)


def _is_created(pool: str) -> bool:
    return put_action_deployment(pool)[1] == "created"


def _problems_of(place: Place, allowed: frozenset[str] | None) -> Iterator[str]:
    assert place.work_pool, "the caller has completed it"
    if why := not_allowed(place.work_pool, allowed):
        yield why
        return
    pool = find_pool(place.work_pool)
    if pool is None:
        yield _unknown("work pool", place.work_pool, pool_names()) + (
            f"; create it with `codepipeline setup --pool {place.work_pool}`"
        )
        return
    if place.work_queue:
        queues = queue_names(place.work_pool)
        if place.work_queue not in queues:
            of_pool = f" of work pool {place.work_pool!r}"
            yield _unknown("work queue", place.work_queue, queues, of_pool) + (
                f"; create it with `prefect work-queue create {place.work_queue} --pool {place.work_pool}`"
            )
    yield from _problems_of_variables(pool, place.job_variables)


def _problems_of_variables(pool: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    if not pool["base_job_template"]:
        return  # the first worker of the pool brings it
    declared = (pool["base_job_template"].get("variables") or {}).get("properties") or {}
    for name, value in given.items():
        if value is None:
            continue  # removes it
        if name not in declared:
            yield _unknown("job variable", name, declared, f" of work pool {pool['name']!r}")
        elif kinds := _misses(declared[name], value):
            yield f"job variable {name!r} of work pool {pool['name']!r} must be of type {' or '.join(kinds)}"


def _misses(schema: Mapping[str, Any], value: Any) -> list[str]:
    """The types that a variable may have, if the value has none of them."""
    kinds = [each["type"] for each in (schema, *schema.get("anyOf", ())) if isinstance(each.get("type"), str)]
    if not kinds or any("$ref" in each for each in schema.get("anyOf", ())):
        return []
    # True is an int for Python, but no number for Prefect.
    fits = (
        isinstance(value, _TYPES.get(kind, (object,))) and (kind == "boolean" or not isinstance(value, bool))
        for kind in kinds
    )
    return [] if any(fits) else kinds


def _unknown(what: str, name: str, known: Any, where: str = "") -> str:
    there = ", ".join(map(repr, sorted(known))) or "none"
    hint = nearest(name, known)
    return f"{what} {name!r}{where} does not exist; {hint + ' ' if hint else ''}there are: {there}"
