"""The CPUs and memory of CodeBuild's compute types.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-compute-types.html
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

ComputeType = Literal[
    "BUILD_GENERAL1_SMALL",
    "BUILD_GENERAL1_MEDIUM",
    "BUILD_GENERAL1_LARGE",
    "BUILD_GENERAL1_XLARGE",
    "BUILD_GENERAL1_2XLARGE",
    "BUILD_LAMBDA_1GB",
    "BUILD_LAMBDA_2GB",
    "BUILD_LAMBDA_4GB",
    "BUILD_LAMBDA_8GB",
    "BUILD_LAMBDA_10GB",
]


class ComputeSize(NamedTuple):
    """Upper bounds of CPUs and memory; None means no bound."""

    cpus: float | None = None
    memory_mib: int | None = None


# Values for Linux on x86. AWS publishes no number of CPUs for Lambda: it grows with the memory.
COMPUTE_SIZES: Mapping[str, ComputeSize] = MappingProxyType(
    {
        "BUILD_GENERAL1_SMALL": ComputeSize(2, 4 * 1024),
        "BUILD_GENERAL1_MEDIUM": ComputeSize(4, 8 * 1024),
        "BUILD_GENERAL1_LARGE": ComputeSize(8, 16 * 1024),
        "BUILD_GENERAL1_XLARGE": ComputeSize(36, 72 * 1024),
        "BUILD_GENERAL1_2XLARGE": ComputeSize(72, 144 * 1024),
        "BUILD_LAMBDA_1GB": ComputeSize(None, 1024),
        "BUILD_LAMBDA_2GB": ComputeSize(None, 2 * 1024),
        "BUILD_LAMBDA_4GB": ComputeSize(None, 4 * 1024),
        "BUILD_LAMBDA_8GB": ComputeSize(None, 8 * 1024),
        "BUILD_LAMBDA_10GB": ComputeSize(None, 10 * 1024),
    }
)
