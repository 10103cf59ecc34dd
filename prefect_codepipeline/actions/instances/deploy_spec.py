"""What a deployment does on an instance: a deploy spec 0.1, an AppSpec 0.0 of CodeDeploy, or the scripts of the action.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-EC2Deploy.html#action-reference-EC2Deploy-spec-reference
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import wrong_configuration
from prefect_codepipeline.model.appspec.parts import LONGEST_TIMEOUT

MAX_BYTES = 100_000
# The events of an AppSpec that have a place before and after the files are copied; AWS maps them as well as it can.
_BEFORE = ("ApplicationStop", "BeforeInstall")
_AFTER = ("AfterInstall", "ApplicationStart", "ValidateService")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")


@dataclass(frozen=True)
class Step:
    """A script of the artifact; `directory` is where it is found and runs, or None for the unpacked artifact."""

    event: str
    location: str
    timeout_seconds: int = LONGEST_TIMEOUT
    user: str | None = None
    directory: str | None = None


@dataclass(frozen=True)
class Copy:
    """A file or folder of the artifact, and the folder that gets it, or the folder's content."""

    source: str
    destination: str


@dataclass(frozen=True)
class Steps:
    """All that is done, in this order; `ignored` are the keys of the file that have no effect."""

    before: Sequence[Step] = ()
    copies: Sequence[Copy] = ()
    after: Sequence[Step] = ()
    ignored: Sequence[str] = ()


class _Script(BaseModel):
    model_config = ConfigDict(extra="ignore")

    location: str = Field(min_length=1)
    timeout: int = Field(LONGEST_TIMEOUT, ge=1, le=LONGEST_TIMEOUT)
    runas: str | None = None

    @field_validator("runas")
    @classmethod
    def _is_a_user(cls, value: str | None) -> str | None:
        if value is not None and not _USER.fullmatch(value):
            raise ValueError(f"{value!r} is not the name of a user")
        return value


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    source: str = Field(min_length=1)
    destination: str

    @field_validator("destination")
    @classmethod
    def _is_absolute(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError(f"{value!r} is not an absolute path")
        return value


class _Spec(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version: float
    os: str = "linux"
    files: list[_File] | None = None
    scripts: dict[str, list[_Script] | None] | None = None
    hooks: dict[str, list[_Script] | None] | None = None


def steps_of_file(content: bytes, name: str) -> Steps:
    """The steps that a deploy spec or an AppSpec asks for.

    Raises:
        ActionFailed: with code `ConfigurationError`, it is neither; names the place.
    """
    try:
        data: Any = yaml.safe_load(content)
        spec = _Spec.model_validate(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise wrong_configuration(
            f"DeploySpec {name!r} is not YAML: {' '.join(str(error).split())}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise wrong_configuration(f"DeploySpec {name!r}: {place}: {first['msg']}") from None
    if spec.os != "linux":
        raise wrong_configuration(f"DeploySpec {name!r} is for {spec.os}; this action deploys to Linux only")
    if spec.version not in (0.0, 0.1):
        raise wrong_configuration(
            f"DeploySpec {name!r}: version {spec.version} is not supported; use 0.1, or 0.0 of an AppSpec"
        )
    used = "hooks" if spec.version == 0.0 else "scripts"
    events = (spec.hooks if spec.version == 0.0 else spec.scripts) or {}
    before, after = (_BEFORE, _AFTER) if spec.version == 0.0 else (("BeforeDeploy",), ("AfterDeploy",))
    ignored = [key for key in data if key not in ("version", "os", "files", used)]
    ignored += [f"{used}.{event}" for event in events if event not in (*before, *after)]
    return Steps(
        before=_scripts(events, before),
        copies=[Copy(each.source, each.destination) for each in spec.files or ()],
        after=_scripts(events, after),
        ignored=ignored,
    )  # fmt: skip


def steps_of_scripts(target: str, before: str | None, after: str | None) -> Steps:
    """The steps of the scripts mode: everything is copied to the target directory between the two scripts.

    Raises:
        ActionFailed: with code `ConfigurationError`, the directory is not an absolute path.
    """
    if not target.startswith("/"):
        raise wrong_configuration(f"TargetDirectory {target!r} is not an absolute path")
    return Steps(
        before=[Step("PreScript", before)] if before else [],
        copies=[Copy("/", target)],
        after=[Step("PostScript", after, directory=target)] if after else [],
    )


def check_files(steps: Steps, tree: InputTree) -> None:
    """Raise `ActionFailed` with code `ConfigurationError` if the artifact lacks a file that a step needs."""
    for step in (*steps.before, *steps.after):
        if not _is_in(tree, step.location, kinds=("is_file",)):
            raise wrong_configuration(
                f"{step.event}: input artifact {tree.name!r} has no file {step.location!r}"
            )
    for copy in steps.copies:
        if not _is_in(tree, copy.source, kinds=("is_file", "is_dir")):
            raise wrong_configuration(f"files: input artifact {tree.name!r} has no {copy.source!r}")


def _scripts(events: Mapping[str, list[_Script] | None], wanted: Iterable[str]) -> list[Step]:
    return [
        Step(event, each.location, each.timeout, each.runas)
        for event in wanted
        for each in events.get(event) or ()
    ]


def _is_in(tree: InputTree, path: str, kinds: Sequence[str]) -> bool:
    root = tree.directory.resolve()
    found: Path = (root / path.lstrip("/")).resolve()
    return found.is_relative_to(root) and any(getattr(found, kind)() for kind in kinds)
