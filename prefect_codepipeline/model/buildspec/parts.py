"""A buildspec: its parts, and the order of its phases.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PhaseName = Literal["install", "pre_build", "build", "post_build"]
PHASES: tuple[PhaseName, ...] = ("install", "pre_build", "build", "post_build")
VERSIONS = ("0.1", "0.2")
DEFAULT_RETRIES = 3
MAX_RETRIES = 100
_IDENTIFIER = re.compile(r"[A-Za-z0-9_]{1,128}")
# A build that fails in one of these phases has no started work to finish.
_BEFORE = ("SUBMITTED", "QUEUED", "PROVISIONING")


@dataclass(frozen=True)
class OnFailure:
    """The reaction to a failed phase: `ABORT`, `CONTINUE`, or `RETRY` if the message matches `pattern`."""

    action: Literal["ABORT", "CONTINUE", "RETRY"]
    retries: int = 0
    pattern: str = ".*"


@dataclass(frozen=True)
class Phase:
    """One phase. `run_as` is None if the `run-as` of the buildspec applies."""

    name: PhaseName
    commands: tuple[str, ...] = ()
    finally_commands: tuple[str, ...] = ()
    on_failure: OnFailure | None = None
    run_as: str | None = None
    runtime_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildEnv:
    """`env`: `parameter_store` and `secrets_manager` hold references, not values."""

    shell: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    parameter_store: Mapping[str, str] = field(default_factory=dict)
    secrets_manager: Mapping[str, str] = field(default_factory=dict)
    exported_variables: tuple[str, ...] = ()
    git_credential_helper: bool = False


@dataclass(frozen=True)
class ArtifactFiles:
    """The files of an artifact. The shell expands `name`; CodePipeline ignores it."""

    files: tuple[str, ...]
    name: str | None = None
    discard_paths: bool = False
    base_directory: str | None = None
    exclude_paths: tuple[str, ...] = ()
    enable_symlinks: bool = False
    s3_prefix: str | None = None


@dataclass(frozen=True)
class ReportGroup:
    """`reports.<name>`; `file_format` is in upper case as in AWS (`JUNITXML`)."""

    name: str
    files: tuple[str, ...]
    base_directory: str | None = None
    discard_paths: bool = False
    file_format: str = "JUNITXML"


@dataclass(frozen=True)
class Cache:
    """`cache`: `action` is None if the cache is both restored and saved."""

    paths: tuple[str, ...]
    key: str | None = None
    fallback_keys: tuple[str, ...] = ()
    action: Literal["restore", "save"] | None = None


@dataclass(frozen=True)
class BatchEnv:
    """Settings of one build in a batch that replace those of its project."""

    compute_type: str | None = None
    image: str | None = None
    privileged_mode: bool | None = None
    type: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    fleet: str | None = None


@dataclass(frozen=True)
class BatchBuild:
    """One build of a batch. `buildspec` is a path in the source or the text; None means the buildspec of the batch."""

    identifier: str
    buildspec: str | None = None
    env: BatchEnv = BatchEnv()
    depend_on: tuple[str, ...] = ()
    ignore_failure: bool = False


@dataclass(frozen=True)
class Batch:
    """`batch`, with its list, graph, matrix or fanout expanded into builds."""

    kind: Literal["build-list", "build-graph", "build-matrix", "build-fanout"]
    builds: tuple[BatchBuild, ...]
    fast_fail: bool = False


@dataclass(frozen=True)
class Buildspec:
    """A buildspec; `phases` has only the phases that the file contains, in the order in which they run."""

    version: Literal["0.1", "0.2"]
    phases: tuple[Phase, ...]
    env: BuildEnv = BuildEnv()
    artifacts: ArtifactFiles | None = None
    secondary_artifacts: Mapping[str, ArtifactFiles] = field(default_factory=dict)
    reports: tuple[ReportGroup, ...] = ()
    cache: Cache | None = None
    batch: Batch | None = None
    run_as: str | None = None


def next_phase(phase: str, succeeded: bool, on_failure: OnFailure | None = None) -> str:
    """The phase that follows `phase` (`SUBMITTED` to `FINALIZING`). The caller handles `RETRY`, which restarts the build.

    https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html
    """
    order = (
        *_BEFORE,
        "DOWNLOAD_SOURCE",
        *map(str.upper, PHASES),
        "UPLOAD_ARTIFACTS",
        "FINALIZING",
        "COMPLETED",
    )
    following = order[order.index(phase) + 1]
    if succeeded:
        return following
    if phase in _BEFORE:
        return "COMPLETED"
    if on_failure and phase.lower() in PHASES:
        return following if on_failure.action == "CONTINUE" else "FINALIZING"
    return "FINALIZING" if phase in ("DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD") else following


def is_text(wanted: str) -> bool:
    """Whether a buildspec is an inline text and not a path or an ARN."""
    return "\n" in wanted or wanted.lstrip().startswith(("{", "version:"))


def is_identifier(name: str) -> bool:
    """Whether CodeBuild accepts a name for an artifact or for a build of a batch."""
    return bool(_IDENTIFIER.fullmatch(name))
