"""AWS's models of its APIs, from botocore: requests are checked and answers are written by them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

CODEPIPELINE = "codepipeline"


@cache
def has_models() -> bool:
    """Whether botocore is installed: it comes with the extra `aws`."""
    return find_spec("botocore") is not None


@cache
def service_model(service: str = CODEPIPELINE) -> Any:
    """The model of all operations and shapes of a service: a `botocore.model.ServiceModel`."""
    import botocore.session  # comes with the extra `aws`, and is large

    return botocore.session.get_session().get_service_model(service)


@cache
def target_prefix(service: str = CODEPIPELINE) -> str:
    """What `X-Amz-Target` begins with in the requests of a service."""
    return f"{service_model(service).metadata['targetPrefix']}."


@cache
def operation_names(service: str = CODEPIPELINE) -> frozenset[str]:
    """The names of all operations."""
    return frozenset(service_model(service).operation_names)


@cache
def input_shape(operation: str, service: str = CODEPIPELINE) -> Any:
    """The shape of an operation's request."""
    return service_model(service).operation_model(operation).input_shape


@cache
def output_shape(operation: str, service: str = CODEPIPELINE) -> Any:
    """The shape of an operation's answer, or None if its answer is empty."""
    return service_model(service).operation_model(operation).output_shape
