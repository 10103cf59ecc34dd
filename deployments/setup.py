"""What a Prefect server needs for pipelines besides the pipelines: the work pool, its queues, and two deployments.

The embedded set-up needs no more than a pool, even for executions in another one: its own process reconciles and polls.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.deployments.work_pools.templates import known_types, template_for
from prefect_codepipeline.engine.pool_runs.pools import put_action_deployment
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.prefect_api.block_documents import create_block, field_problems, find_block
from prefect_codepipeline.prefect_api.client import call, find_named, path_segment
from prefect_codepipeline.prefect_api.deployments import (
    NOTHING_TO_PULL,
    Place,
    find_deployment_of,
    put_deployment,
)

_SCHEDULE = {"schedule": {"interval": 60}, "active": True}


@dataclass(frozen=True)
class _Upkeep:
    """A flow that runs each minute in a queue of its own."""

    name: str
    entrypoint: str
    description: str
    priority: int
    more: Mapping[str, Any]


# Queues with a lower number go first.
_UPKEEP = (
    _Upkeep(
        "reconcile",
        "prefect_codepipeline.flows.reconcile.reconcile",
        "Expires approvals, resumes executions whose process died, opens gates. Safe to run at any time.",
        1,
        {},
    ),
    _Upkeep(
        "poll",
        "prefect_codepipeline.flows.poll.poll",
        "Starts executions for pushes, by one git ls-remote per repository and minute.",
        2,
        {"concurrency_limit": 1, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}},
    ),
)


@dataclass(frozen=True)
class Part:
    """A part of a Prefect server, and what became of it: its type or priority, or what was changed."""

    kind: Literal["work pool", "work queue", "deployment", "artifact store"]
    name: str
    result: Literal["created", "updated", "exists"]
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = self.name if self.kind == "deployment" else repr(self.name)
        between, within = (": ", "; ") if self.result == "updated" else (", ", ", ")
        details = f"{between}{within.join(self.details)}" if self.details else ""
        return f"{self.kind} {name}: {self.result}{details}"


def set_up(
    work_pool: str, kind: str | None, job_variables: Mapping[str, Any], image: str | None = None
) -> list[Part]:
    """Create what is missing, and update what is different. May be called any number of times.

    Args:
        work_pool: the name of the work pool.
        kind: the type of the work pool if it must be created, `codepipeline` by default.
        job_variables: of the three deployments, beside those that they have; None removes one.
        image: of the flow runs of the pool, if its type has images.

    Raises:
        ValidationException: the pool exists with another type, or Prefect refuses a part of it.
    """
    return [
        make_pool(work_pool, kind, image),
        *(_make_queue(work_pool, each) for each in _UPKEEP),
        *(_make_deployment(Place(work_pool, each.name, job_variables), each) for each in _UPKEEP),
        _make_action_deployment(work_pool, job_variables),
    ]


def make_pool(name: str, kind: str | None, image: str | None = None) -> Part:
    """Create a work pool if it does not exist; what became of it. Arguments and exceptions as of `set_up`.

    A template that the pool has stays as it is, but for the image.
    """
    if path_segment(name) is None:
        raise ValidationException(f"{name!r} cannot be the name of a work pool")
    there = find_named("/work_pools", name)
    if there is None:
        template = template_for(kind or "codepipeline", image)
        if not template:
            raise ValidationException(
                f"work pool {name!r} was not created: Prefect knows no type {kind!r}, only {', '.join(known_types())}; the worker "
                "of a type of your own creates its pool when it starts"
            )
        body = {"name": name, "type": kind or "codepipeline", "base_job_template": template}
        status, answer = call("POST", "/work_pools/", body, expected=(403, 409, 422))
        if status in (403, 422):
            raise ValidationException(f"work pool {name!r} was not created: Prefect answered {answer}")
        there = find_named("/work_pools", name) or answer
        if status == 201:
            return Part("work pool", name, "created", (f"type {there['type']}", *_image_of(template)))
    if kind and there["type"] != kind:
        raise ValidationException(f"work pool {name!r} has the type {there['type']}, not {kind}")
    template = _template_of(there, image)
    if template == there["base_job_template"]:
        return Part("work pool", name, "exists", (f"type {there['type']}", *_image_of(template)))
    call("PATCH", f"/work_pools/{path_segment(name)}", {"base_job_template": template})
    what = "image" if there["base_job_template"] else "base job template"
    return Part("work pool", name, "updated", (f"{what} written", *_image_of(template)))


def _template_of(pool: Mapping[str, Any], image: str | None) -> dict[str, Any]:
    """The template that a pool has, or else gets, with that image."""
    template: dict[str, Any] = copy.deepcopy(pool["base_job_template"])
    if not template:
        return template_for(pool["type"], image)
    if image is None:
        return template
    try:
        template["variables"]["properties"]["image"]["default"] = image
    except KeyError:
        raise ValidationException(
            f"the base job template of work pool {pool['name']!r} has no variable `image`"
        ) from None
    return template


def make_store(url: str) -> Part:
    """Create the ArtifactStore block `default`, where all pipelines store artifacts that name no other.

    Raises:
        ValidationException: the block exists with another URL, or this cannot be a store.
    """
    try:
        wanted = ArtifactStore(url=url)
    except ValidationError as error:
        raise ValidationException(f"artifact store {url!r}: {field_problems(error)}") from None
    if create_block(wanted, "default"):
        return Part("artifact store", "default", "created", (wanted.url,))
    there = find_block(ArtifactStore, "default")
    if there and there.url != wanted.url:
        raise ValidationException(
            f"the artifact store 'default' is {there.url}, not {wanted.url}; artifacts do not move by themselves: change "
            "the block in Prefect's UI when they have been copied"
        )
    return Part("artifact store", "default", "exists", (wanted.url,))


def _image_of(template: Mapping[str, Any]) -> Iterator[str]:
    """The image that flow runs have by default, as a detail."""
    variables = (template.get("variables") or {}).get("properties") or {}
    if image := variables.get("image", {}).get("default"):
        yield f"image {image}"


def _make_queue(work_pool: str, upkeep: _Upkeep) -> Part:
    """A queue that users gave another priority keeps it."""
    path = f"/work_pools/{path_segment(work_pool)}/queues"
    there = find_named(path, upkeep.name)
    if there is None:
        body = {
            "name": upkeep.name,
            "priority": upkeep.priority,
            "description": f"Of the flow {upkeep.name}.",
        }
        status, _ = call("POST", path, body, expected=(409,))
        if status == 201:
            return Part("work queue", upkeep.name, "created", (f"priority {upkeep.priority}",))
        there = find_named(path, upkeep.name) or body
    return Part("work queue", upkeep.name, "exists", (f"priority {there['priority']}",))


def _make_deployment(place: Place, upkeep: _Upkeep) -> Part:
    """A schedule that users changed or paused stays; so does everything else that is not named here."""
    name = f"{upkeep.name}/{upkeep.name}"
    there = find_deployment_of(upkeep.name, upkeep.name)
    own = {
        "entrypoint": upkeep.entrypoint,
        "pull_steps": NOTHING_TO_PULL,
        "path": None,
        "description": upkeep.description,
        "schedules": list(_schedules(there)),
        **(upkeep.more if there is None else {}),
    }
    changes = put_deployment(upkeep.name, upkeep.name, place, own, there)
    if there is None:
        return Part("deployment", name, "created", ("each minute", f"in work queue {upkeep.name!r}"))
    changes += [f"{key} corrected" for key in ("entrypoint", "pull_steps", "path") if there[key] != own[key]]
    return Part("deployment", name, "updated" if changes else "exists", tuple(changes))


def _make_action_deployment(work_pool: str, job_variables: Mapping[str, Any]) -> Part:
    """Of the actions that run on this pool while their executions run elsewhere."""
    _, result = put_action_deployment(work_pool, job_variables)
    return Part("deployment", f"action/{work_pool}", result)


def _schedules(there: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Prefect replaces the schedules of a deployment that is written."""
    if not there or not there["schedules"]:
        yield _SCHEDULE
        return
    for each in there["schedules"]:
        yield {key: each[key] for key in ("schedule", "active", "parameters", "slug")}
