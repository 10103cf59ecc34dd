"""The environment of an action's commands: a few inherited variables, CodeBuild's, and those of the definition.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from prefect_codepipeline.actions.commands.masking import parts_of_secret
from prefect_codepipeline.actions.commands.processes import CLEAN_PATH
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import required
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.declaration import EnvironmentVariable
from prefect_codepipeline.model.record.spans import traceparent
from prefect_codepipeline.prefect_api.block_documents import find_block

PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
CERTIFICATES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
)

# One of them is set where OpenTelemetry is configured.
TRACE_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True)
class BuildEnvironment:
    """The environment variables of commands, and the secrets to mask in all output."""

    variables: Mapping[str, str]
    secrets: Sequence[str] = field(repr=False, default=())


def build_environment(context: ActionContext, image: str | None = None) -> BuildEnvironment:
    """The complete environment of an action's commands.

    The worker passes on only the locale, the time zone, proxies and certificates. HOME and TMPDIR are new
    directories in `context.scratch`. PATH is a clean one on the host, and the image's own in a container.

    Args:
        context: the context of the action.
        image: the container image, None on the host.

    Raises:
        ActionFailed: with code `ConfigurationError`, a variable is reserved or a secret cannot be read.
    """
    declared = list(context.action.environment_variables or ())
    refuse_reserved(variable.name for variable in declared)
    secrets = {
        variable.name: resolve_secret(variable) for variable in declared if variable.type == "SECRETS_MANAGER"
    }
    variables = {
        **inherited_variables(context, in_container=image is not None),
        **codebuild_variables(context, image),
        **{variable.name: secrets.get(variable.name, variable.value) for variable in declared},
    }
    return environment_of(variables, secrets.values())


def inherited_variables(context: ActionContext, *, in_container: bool) -> dict[str, str]:
    """The variables that all commands have, from the worker's environment and the scratch directory.

    They are the locale, the time zone, proxies and certificates; HOME and TMPDIR, which are new directories; and on
    the host a clean PATH.
    """
    return {
        **_from_the_worker(),
        **(_copied_certificates(context) if in_container else {**_certificates(), "PATH": CLEAN_PATH}),
        **{name: str(_ensure_directory(context.scratch / name.lower())) for name in ("HOME", "TMPDIR")},
    }


def environment_of(variables: Mapping[str, str], secrets: Iterable[str]) -> BuildEnvironment:
    """The environment with these variables; secrets and proxy passwords are masked in the output of its commands."""
    masked = [part for secret in secrets for part in parts_of_secret(secret)]
    return BuildEnvironment(variables, [*masked, *_proxy_passwords(variables)])


def codebuild_variables(context: ActionContext, image: str | None = None) -> dict[str, str]:
    """The `CODEBUILD_*` and `AWS_*` variables whose values are known.

    The first input artifact is CODEBUILD_SRC_DIR, each other one CODEBUILD_SRC_DIR_<name>. Shells cannot expand a
    name with hyphens, so such a variable also exists with `_` instead of the hyphens.
    """
    first, *others = context.input_artifacts
    known = {
        "CODEBUILD_BUILD_ID": f"{context.pipeline_name}:{context.action_execution_id}",
        "CODEBUILD_BUILD_IMAGE": image,
        "CODEBUILD_BUILD_SUCCEEDING": "1",
        "CODEBUILD_INITIATOR": f"codepipeline/{context.pipeline_name}",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": first.revision_id,
        "CODEBUILD_SRC_DIR": str(first.directory),
        "CODEBUILD_START_TIME": str(int(time.time() * 1000)),
        "AWS_DEFAULT_REGION": context.action.region,
        "AWS_REGION": context.action.region,
        "TRACEPARENT": _traceparent(context),
    }
    for artifact in others:
        known[f"CODEBUILD_SRC_DIR_{artifact.name.replace('-', '_')}"] = str(artifact.directory)
        known[f"CODEBUILD_SRC_DIR_{artifact.name}"] = str(artifact.directory)
    return {name: value for name, value in known.items() if value is not None}


def _traceparent(context: ActionContext) -> str | None:
    """The place of this action in the trace of its execution, where the worker's variables say that there are traces."""
    if not any(os.environ.get(name) for name in TRACE_ENDPOINTS):
        return None
    return traceparent(context.pipeline_execution_id, context.action_execution_id)


class SecretReference(NamedTuple):
    """`secretId[:jsonKey[:versionStage[:versionId]]]`; the id may be an ARN, which has six colons of its own."""

    secret_id: str
    json_key: str = ""
    version_stage: str = ""
    version_id: str = ""

    @property
    def block_names(self) -> list[str]:
        """The names of blocks that may hold the secret, best first: lower case letters, digits and hyphens."""
        name = self.secret_id.rpartition(":")[2]
        names = [name, name[:-7]] if re.fullmatch(r"arn:.+-[A-Za-z0-9]{6}", self.secret_id) else [name]
        cleaned = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in names]
        return [name for name in dict.fromkeys(cleaned) if name]


def parse_secret_reference(text: str) -> SecretReference:
    """Read the value of an environment variable of type SECRETS_MANAGER. Raises `ValueError`."""
    parts = text.split(":")
    own = 7 if parts[0] == "arn" else 1
    secret_id, rest = ":".join(parts[:own]), parts[own:]
    if not secret_id or len(rest) > 3:
        raise ValueError(f"{text!r} is not of the form secretId:jsonKey:versionStage:versionId")
    return SecretReference(secret_id, *rest)


def resolve_secret(variable: EnvironmentVariable) -> str:
    """The value of a secret, from the Prefect block `Secret` with the secret's name.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is no such block, key or version.
    """
    return secret_value(variable.value, f"environment variable {variable.name!r}")


def secret_value(text: str, of: str) -> str:
    """The value of the secret that `text` refers to; messages start with `of`, which uses the secret.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is no such block, key or version.
    """
    what = f"{of}: secret {text!r}"
    try:
        reference = parse_secret_reference(text)
    except ValueError as error:
        raise ActionFailed(f"{of}: {error}", code="ConfigurationError") from None
    if reference.version_id or reference.version_stage not in ("", "AWSCURRENT"):
        raise ActionFailed(
            f"{what} requests a version, but a Secret block has only the current value; remove the version",
            code="ConfigurationError",
        )
    value = _load_secret(reference, what)
    if reference.json_key:
        value = pick_key(value, reference.json_key, what, "`codepipeline secret add` replaces it")
    return value if isinstance(value, str) else json.dumps(value)


def _load_secret(reference: SecretReference, what: str) -> Any:  # Any: a Secret block holds any JSON
    found = find_secret(*reference.block_names)
    if found is not None:  # a secret may be empty, and is false then
        return found.get_secret_value()
    name = (reference.block_names or ["NAME"])[-1]
    raise ActionFailed(
        f"{what}: there is no Secret block {name!r}; create it with `codepipeline secret add {name}`",
        code="ConfigurationError",
    )


def find_secret(*names: str) -> Any:  # Any: the value is any JSON
    """What holds the value of the first Secret block that exists, or None.

    Raises:
        ActionFailed: with code `ConfigurationError`, the block cannot be used.
    """
    from prefect.blocks.system import Secret

    command = f"codepipeline secret add {names[0]}" if names else None
    block = required(lambda: find_block(Secret, *names, command=command))
    # Not `get()`, which turns a text of digits into a number.
    return None if block is None else block.value


def pick_key(value: Any, key: str, what: str, remedy: str) -> Any:
    """The value of a key in a secret that is a JSON object, or the text of one.

    Raises:
        ActionFailed: with code `ConfigurationError`, the secret is not a JSON object or does not have the key; the
            message consists of `what`, the reason and the `remedy`.
    """
    try:
        return (json.loads(value) if isinstance(value, str) else value)[key]
    except (ValueError, TypeError, KeyError):
        raise ActionFailed(
            f"{what}: it is not a JSON object with the key {key!r}; {remedy}", code="ConfigurationError"
        ) from None


def refuse_reserved(names: Iterable[str]) -> None:
    """Raise `ActionFailed` with code `ConfigurationError` if one of the names is reserved for CodeBuild."""
    reserved = [name for name in names if name.startswith("CODEBUILD_")]
    if reserved:
        raise ActionFailed(
            f"environmentVariables: {', '.join(map(repr, reserved))}: names that start with CODEBUILD_ are "
            "reserved; choose another name",
            code="ConfigurationError",
        )


def _from_the_worker() -> dict[str, str]:
    wanted = {"LANG", "LANGUAGE", "TZ", *PROXIES, *map(str.upper, PROXIES)}
    return {name: value for name, value in os.environ.items() if name in wanted or name.startswith("LC_")}


def _certificates() -> dict[str, str]:
    return {name: os.environ[name] for name in CERTIFICATES if os.environ.get(name)}


def _copied_certificates(context: ActionContext) -> dict[str, str]:
    """Copies of the worker's certificate bundles that the container can read; directories are not copied."""
    directory = _ensure_directory(context.scratch / "certificates")
    copied = {}
    for name, path in _certificates().items():
        if Path(path).is_file():
            copied[name] = str(shutil.copy(path, directory / f"{name}.pem"))
    return copied


def _proxy_passwords(variables: Mapping[str, str]) -> Iterator[str]:
    for name in variables:
        if name.lower() in PROXIES and (password := urlsplit(variables[name]).password):
            yield from (password, unquote(password))


def _ensure_directory(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
