"""Resolve `parameter-store` and `secrets-manager` of a buildspec, from AWS, Prefect or the worker's environment.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.env.parameter-store
https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.env.secrets-manager
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prefect_codepipeline.actions.aws.account import account_with
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.commands.environment import (
    SecretReference,
    find_secret,
    parse_secret_reference,
    pick_key,
    secret_value,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.prefect_api.variables import read_variable

_AT_ONCE = 10  # the limit of GetParameters


@dataclass(frozen=True)
class WantedSecret:
    """An environment variable whose value is stored in Parameter Store or Secrets Manager."""

    variable: str
    type: Literal["PARAMETER_STORE", "SECRETS_MANAGER"]
    reference: str

    def __str__(self) -> str:
        kind = "parameter" if self.type == "PARAMETER_STORE" else "secret"
        return f"environment variable {self.variable!r}: {kind} {self.reference!r}"


@dataclass(frozen=True)
class SecretSource:
    """Where references are looked up. Region, profile and role are for AWS; they precede what the settings say.

    `environment` means the environment of this process: parameter `/prod/db-url` is CODEBUILD_PARAMETER_PROD_DB_URL
    and secret `prod/db` is CODEBUILD_SECRET_PROD_DB.
    """

    kind: Literal["aws", "prefect", "environment"] = "prefect"
    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    settings: AwsSettings = field(default_factory=AwsSettings)


def resolve_secrets(wanted: Sequence[WantedSecret], source: SecretSource) -> dict[str, str]:
    """The values of secrets, by the names of their variables.

    Raises:
        ActionFailed: with code `ConfigurationError`, a secret does not exist, or its reference is invalid;
            `PermissionError`, AWS denied access; `SystemUnavailable`, AWS did not answer.
    """
    if source.kind == "aws":
        return {**_parameters_of_aws(wanted, source), **_secrets_of_aws(wanted, source)}
    look_up = _in_prefect if source.kind == "prefect" else _in_environment
    return {each.variable: look_up(each) for each in wanted}


def environment_name(wanted: WantedSecret) -> str:
    """The variable of the worker's environment that holds a parameter or a secret.

    Example:
        >>> environment_name(WantedSecret("URL", "PARAMETER_STORE", "/prod/db-url"))
        'CODEBUILD_PARAMETER_PROD_DB_URL'
    """
    if wanted.type == "PARAMETER_STORE":
        return f"CODEBUILD_PARAMETER_{_clean(wanted.reference, '_').upper()}"
    name = (_parse(wanted).block_names or [""])[-1]
    return f"CODEBUILD_SECRET_{name.replace('-', '_').upper()}"


def _parameters_of_aws(wanted: Iterable[WantedSecret], source: SecretSource) -> dict[str, str]:
    parameters = [each for each in wanted if each.type == "PARAMETER_STORE"]
    if not parameters:
        return {}
    client = _client("ssm", source, parameters[0])
    resolved: dict[str, str] = {}
    for batch in _batches(parameters):
        concerned = [each for each in parameters if each.reference in batch]
        with translated("; ".join(map(str, concerned))):
            answer = client.get_parameters(Names=batch, WithDecryption=True)
        values: dict[str, str] = {}
        for found in answer["Parameters"]:
            # A parameter that was requested by ARN or with a version comes back under its plain name.
            alone = batch if len(batch) == 1 else []
            for name in (found["Name"], found.get("ARN", found["Name"]), *alone):
                values[name] = found["Value"]
        _refuse_missing(concerned, values, client)
        resolved.update({each.variable: values[each.reference] for each in concerned})
    return resolved


def _refuse_missing(concerned: Iterable[WantedSecret], values: dict[str, str], client: Any) -> None:
    missing = [each for each in concerned if each.reference not in values]
    if missing:
        raise ActionFailed(
            f"{'; '.join(map(str, missing))}: Parameter Store in {client.meta.region_name} has no such parameter; "
            "create it with `aws ssm put-parameter`, or correct the name or the project's aws_region",
            code="ConfigurationError",
        )


def _secrets_of_aws(wanted: Iterable[WantedSecret], source: SecretSource) -> dict[str, str]:
    secrets = [each for each in wanted if each.type == "SECRETS_MANAGER"]
    if not secrets:
        return {}
    client = _client("secretsmanager", source, secrets[0])
    known: dict[SecretReference, str] = {}
    values = {}
    for each in secrets:
        reference = _parse(each)
        whole = reference._replace(json_key="")
        if whole not in known:
            known[whole] = _fetch(client, whole, each)
        values[each.variable] = _key_of(known[whole], reference, each)
    return values


def _fetch(client: Any, reference: SecretReference, wanted: WantedSecret) -> str:
    if reference.version_stage and reference.version_id:
        raise ActionFailed(
            f"{wanted}: it has both a version stage and a version id; CodeBuild accepts only one of them",
            code="ConfigurationError",
        )
    asked = {
        "SecretId": reference.secret_id,
        "VersionStage": reference.version_stage,
        "VersionId": reference.version_id,
    }
    with translated(str(wanted)):
        answer = client.get_secret_value(**{name: value for name, value in asked.items() if value})
    if "SecretString" in answer:
        return str(answer["SecretString"])
    try:
        return bytes(answer["SecretBinary"]).decode()
    except UnicodeDecodeError:
        raise ActionFailed(
            f"{wanted}: it holds binary data, which an environment variable cannot hold",
            code="ConfigurationError",
        ) from None


def _in_prefect(wanted: WantedSecret) -> str:
    if wanted.type == "SECRETS_MANAGER":
        return secret_value(wanted.reference, f"environment variable {wanted.variable!r}")
    _refuse_version(wanted, _has_version(wanted.reference))
    block, variable = _clean(wanted.reference, "-"), _clean(wanted.reference, "_")
    found = find_secret(block)
    if found is not None:
        return _as_text(found.get_secret_value())
    for name in dict.fromkeys((variable, block)):
        if known := read_variable(name):
            return _as_text(known["value"])
    raise ActionFailed(
        f"{wanted}: there is neither a Secret block {block!r} nor a Variable {variable!r}; create it with "
        f"`codepipeline secret add {block}` or `prefect variable set {variable} VALUE`",
        code="ConfigurationError",
    )


def _in_environment(wanted: WantedSecret) -> str:
    name = environment_name(wanted)
    remedy = f"set {name} in the worker's environment"
    if wanted.type == "PARAMETER_STORE":
        _refuse_version(wanted, _has_version(wanted.reference))
        key = ""
    else:
        reference = _parse(wanted)
        _refuse_version(
            wanted, bool(reference.version_id or reference.version_stage not in ("", "AWSCURRENT"))
        )
        key = reference.json_key
    if name not in os.environ:
        raise ActionFailed(f"{wanted}: {name} is not set; {remedy}", code="ConfigurationError")
    value = os.environ[name]
    return _as_text(pick_key(value, key, str(wanted), remedy)) if key else value


def _refuse_version(wanted: WantedSecret, has_version: bool) -> None:
    if has_version:
        raise ActionFailed(
            f"{wanted} requests a version, but outside AWS there is only the current value; remove the version, or "
            "set secrets_from of the project to 'aws'",
            code="ConfigurationError",
        )


def _key_of(value: str, reference: SecretReference, wanted: WantedSecret) -> str:
    if not reference.json_key:
        return value
    return _as_text(pick_key(value, reference.json_key, str(wanted), "correct the secret in AWS, or the key"))


def _parse(wanted: WantedSecret) -> SecretReference:
    try:
        return parse_secret_reference(wanted.reference)
    except ValueError as error:
        raise ActionFailed(
            f"environment variable {wanted.variable!r}: {error}", code="ConfigurationError"
        ) from None


def _client(service: str, source: SecretSource, wanted: WantedSecret) -> Any:
    with translated(str(wanted)):
        settings = source.settings
        if source.profile:
            settings = settings.changed_by(AwsSettings(profile=source.profile))
        return account_with(settings, source.region, source.role_arn).client(service)


def _batches(parameters: Iterable[WantedSecret]) -> Iterator[list[str]]:
    """The names for each request. A name with a version is requested alone: the answer may have only the plain name."""
    names = sorted({each.reference for each in parameters})
    plain = [name for name in names if not _has_version(name)]
    yield from (plain[start : start + _AT_ONCE] for start in range(0, len(plain), _AT_ONCE))
    yield from ([name] for name in names if _has_version(name))


def _has_version(parameter: str) -> bool:
    return ":" in parameter.rpartition("/")[2]


def _clean(name: str, separator: str) -> str:
    return re.sub(r"[^a-z0-9]+", separator, name.lower()).strip(separator)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
