"""The operations of the AWS API: a thin function each, over the engine."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from prefect_codepipeline.gateway.aws.protocol.call import Operation

_MODULES = (
    "action_types",
    "approvals",
    "control",
    "executions",
    "jobs",
    "pipelines",
    "pipeline_state",
    "published_types",
    "tags",
    "third_party_jobs",
    "webhooks",
)


@cache
def operations() -> dict[str, Operation]:
    """What answers each operation, by the operation's name."""
    found: dict[str, Operation] = {}
    for name in _MODULES:
        found.update(import_module(f"{__name__}.{name}").OPERATIONS)
    return found
