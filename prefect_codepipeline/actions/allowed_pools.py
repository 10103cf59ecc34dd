"""The work pools that settings allow a pipeline: for itself, for its actions, and for the flow runs that its rules start."""

from __future__ import annotations

from collections.abc import Collection

from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.block_documents import block_of, list_documents


def allowed_pools(pipeline_name: str) -> frozenset[str] | None:
    """The work pools that the settings allow a pipeline and its actions; None if they allow all.

    Those of the block `default` count for every pipeline, those of the pipeline's own block in addition.
    """
    documents = list_documents(StoredSettings, {"any_": [slug(pipeline_name), "default"]}, with_secrets=True)
    found = [block_of(StoredSettings, each) for each in documents]
    limits = [frozenset(each.allowed_pools) for each in found if each.allowed_pools is not None]
    return frozenset.intersection(*limits) if limits else None


def not_allowed(work_pool: str, allowed: Collection[str] | None) -> str | None:
    """Why settings forbid the pool; None if they do not."""
    if allowed is None or work_pool in allowed:
        return None
    named = ", ".join(map(repr, sorted(allowed))) or "none"
    return f"work pool {work_pool!r} is not among the allowed pools ({named}), which the settings block fixes"
