"""What the AWS API knows of pipelines and executions without asking Prefect each time: nothing older than a second."""

from __future__ import annotations

from functools import lru_cache

from prefect_codepipeline.gateway.aws.mirror.mirror import Mirror
from prefect_codepipeline.prefect_api.client import api_url


def mirror() -> Mirror:
    """The mirror of this process."""
    return _mirror_of(api_url())


@lru_cache(maxsize=1)
def _mirror_of(url: str) -> Mirror:
    return Mirror()
