"""Parse a buildspec from plain data, and find everything that CodeBuild would reject or ignore.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any, Literal, cast

from prefect_codepipeline.model.buildspec.batch import parse_batch
from prefect_codepipeline.model.buildspec.parts import (
    DEFAULT_RETRIES,
    MAX_RETRIES,
    PHASES,
    VERSIONS,
    ArtifactFiles,
    Batch,
    BuildEnv,
    Buildspec,
    Cache,
    OnFailure,
    Phase,
    PhaseName,
    ReportGroup,
    is_identifier,
)
from prefect_codepipeline.model.plain_data import Language, Reading, as_text, below, cut, kind_of, quote
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation import buildspecs

REPORT_FORMATS = (
    "CUCUMBERJSON", "JUNITXML", "NUNITXML", "NUNIT3XML", "TESTNGXML", "VISUALSTUDIOTRX",
    "CLOVERXML", "COBERTURAXML", "JACOCOXML", "SIMPLECOV",
)  # fmt: skip
MAX_REPORT_GROUPS = 5
MAX_FALLBACK_KEYS = 5
MAX_PATTERN = 4096  # characters; compiling a much longer regex takes seconds
SHELLS = ("bash", "/bin/sh", "powershell.exe", "cmd.exe")

_TOP_KEYS = {"version", "run-as", "env", "proxy", "batch", "phases", "reports", "artifacts", "cache"}
_ENV_KEYS = {"shell", "variables", "parameter-store", "secrets-manager", "exported-variables", "git-credential-helper"}  # fmt: skip
_PHASE_KEYS = {"run-as", "on-failure", "runtime-versions", "commands", "finally"}
_REPORT_KEYS = {"files", "base-directory", "discard-paths", "file-format"}
_SECONDARY_KEYS = {"files", "name", "discard-paths", "base-directory", "exclude-paths", "enable-symlinks", "s3-prefix"}  # fmt: skip
_CACHE_KEYS = {"key", "fallback-keys", "action", "paths"}
_LANGUAGE = Language(
    whole="the buildspec",
    shape=buildspecs.SHAPE,
    unknown=buildspecs.UNKNOWN,
    flag=buildspecs.FLAG,
    elsewhere={
        "environment_variables": "since version 0.2 use 'variables' in 'env'",
        **{str(phase): "write phases in 'phases'" for phase in PHASES},
    },
)
_ON_FAILURE = re.compile(r"RETRY(?:-(?P<count>[0-9]+))?(?:-(?P<regex>.+))?", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_ARN = re.compile(r"arn:[^:]*:secretsmanager:[^:]*:[^:]*:secret:[^:]*")


def parse_buildspec(data: object) -> tuple[Buildspec | None, list[Problem]]:
    """Parse a buildspec, and list its problems.

    Never raises, whatever the data. Empty `commands` are only a warning, because CodeBuild accepts them with a line
    in its log. Missing `commands` in a phase that needs them are an error.

    Args:
        data: the parsed JSON or YAML; scalars are strings or have their own types.

    Returns:
        The buildspec, or None if there is an error; and at most 1,000 problems in the order in which they were found.
        The paths are those of a `Document`: `phases.build.commands[2]`.
    """
    reading = Reading(_LANGUAGE)
    if not isinstance(data, Mapping):
        reading.note_shape("", "a mapping with 'version' and 'phases'", data)
        return None, reading.problems
    version = _version(data.get("version"), reading)
    top = reading.mapping("", data, _TOP_KEYS | ({"environment_variables"} if version == "0.1" else set()))
    batch = parse_batch(top.get("batch"), reading)
    found = Buildspec(
        version=version,
        phases=_phases(top.get("phases"), batch, reading),
        env=_env(top.get("env"), top.get("environment_variables") if version == "0.1" else None, reading),
        artifacts=_artifacts(top.get("artifacts"), reading),
        secondary_artifacts=_secondary_artifacts(top.get("artifacts"), reading),
        reports=_reports(top.get("reports"), reading),
        cache=_cache(top.get("cache"), reading),
        batch=batch,
        run_as=reading.text("run-as", top.get("run-as")) or None,
    )
    # Only the keys are checked: the proxy comes from the project.
    reading.mapping("proxy", top.get("proxy"), {"upload-artifacts", "logs"})
    return (None if reading.has_errors else found), reading.problems


def parse_on_failure(value: str) -> OnFailure | None:
    """`ABORT`, `CONTINUE`, `RETRY`, `RETRY-n`, `RETRY-regex` or `RETRY-n-regex`; None for anything else.

    The regex is a Python regex of at most 4,096 characters. CodeBuild does not document its regex syntax.
    """
    if value in ("ABORT", "CONTINUE"):
        return OnFailure(cast("Literal['ABORT', 'CONTINUE']", value))
    match = _ON_FAILURE.fullmatch(value)
    if not match:
        return None
    count = match["count"]
    if count and (len(count) > len(str(MAX_RETRIES)) or int(count) > MAX_RETRIES):
        return None
    pattern = match["regex"] or ".*"
    if len(pattern) > MAX_PATTERN:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # FutureWarning about syntax that a later Python reads differently
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None
    return OnFailure("RETRY", int(count) if count else DEFAULT_RETRIES, pattern)


# -- version and phases


def _version(data: object, reading: Reading) -> Literal["0.1", "0.2"]:
    text = (reading.text("version", data) or "").strip()
    if text not in VERSIONS and not isinstance(data, (Mapping, list)):
        reading.note(buildspecs.VERSION, "version", version=quote(data) if text else "(none)")
    return "0.1" if text == "0.1" else "0.2"


def _phases(data: object, batch: Batch | None, reading: Reading) -> tuple[Phase, ...]:
    if data is None or data == {}:
        if not batch or any(build.buildspec is None for build in batch.builds):
            reading.note(buildspecs.PHASES, "phases")
        return ()
    phases = reading.mapping("phases", data)
    for name in phases:
        if name not in PHASES:
            hint = reading.propose(name, PHASES) or _misplaced(name)
            reading.note(buildspecs.PHASE_NAME, f"phases.{name}", hint=hint, name=cut(name))
    return tuple(_phase(name, phases[name], reading) for name in PHASES if name in phases)


def _misplaced(name: str) -> str:
    return f"'{name}' belongs beside 'phases', with less indentation" if name in _TOP_KEYS else ""


def _phase(name: PhaseName, data: object, reading: Reading) -> Phase:
    path = f"phases.{name}"
    phase = reading.mapping(path, data, _PHASE_KEYS)
    commands = _commands(f"{path}.commands", phase.get("commands"), reading)
    if name != "install" and not phase.get("commands") and (data is None or isinstance(data, Mapping)):
        # CodeBuild only logs a line for empty `commands`; missing ones violate its buildspec reference.
        rule = buildspecs.NO_COMMANDS if "commands" in phase or data is None else buildspecs.COMMANDS
        reading.note(rule, f"{path}.commands", phase=name)
    versions = reading.text_map(f"{path}.runtime-versions", phase.get("runtime-versions"))
    if versions and name != "install":
        reading.note(buildspecs.RUNTIMES_ELSEWHERE, f"{path}.runtime-versions")
        versions = {}
    return Phase(
        name=name,
        commands=commands,
        finally_commands=_commands(f"{path}.finally", phase.get("finally"), reading),
        on_failure=_on_failure(f"{path}.on-failure", phase.get("on-failure"), reading),
        run_as=reading.text(f"{path}.run-as", phase.get("run-as")) or None,
        runtime_versions=versions,
    )


def _commands(path: str, data: object, reading: Reading) -> tuple[str, ...]:
    if isinstance(data, Mapping):
        _note_command(path, "Commands", data, reading)
        return ()
    found = []
    for index, command in enumerate(data if isinstance(data, list) else [data]):
        if isinstance(command, (Mapping, list)):
            _note_command(f"{path}[{index}]", f"Commands[{index}]", command, reading)
        elif command is not None and (text := as_text(command)).strip():
            found.append(text)
    return tuple(found)


def _note_command(path: str, what: str, data: object, reading: Reading) -> None:
    if isinstance(data, list):
        hint = "write each command as one string in the list"
    elif len(data) == 1 if isinstance(data, Mapping) else False:
        hint = "put quotes around the command, or write it below '- |': YAML reads ': ' in it as a mapping"
    else:
        hint = "write commands as a list of strings, each after '- '"
    reading.note(buildspecs.COMMAND, path, hint=hint, what=what, found=kind_of(data))


def _on_failure(path: str, data: object, reading: Reading) -> OnFailure | None:
    text = reading.text(path, data)
    if not text:
        return None
    found = parse_on_failure(text)
    if not found:
        hint = reading.propose(text.upper(), ("ABORT", "CONTINUE", "RETRY"))
        reading.note(buildspecs.ON_FAILURE, path, hint=hint, value=quote(text))
    return found


# -- env


def _env(data: object, of_version_0_1: object, reading: Reading) -> BuildEnv:
    env = reading.mapping("env", data, _ENV_KEYS)
    older = reading.mapping("environment_variables", of_version_0_1, {"plaintext"})
    variables = {
        **_variables("environment_variables.plaintext", older.get("plaintext"), reading),
        **_variables("env.variables", env.get("variables"), reading),
    }
    shell = reading.text("env.shell", env.get("shell")) or None
    if shell and shell not in SHELLS:
        reading.note(buildspecs.SHELL, "env.shell", shell=quote(shell))
    return BuildEnv(
        shell=shell,
        variables=variables,
        parameter_store=_references("env.parameter-store", env.get("parameter-store"), reading),
        secrets_manager=_secrets(env.get("secrets-manager"), reading),
        exported_variables=_exported(env.get("exported-variables"), reading),
        git_credential_helper=reading.flag("env.git-credential-helper", env.get("git-credential-helper")),
    )


def _variables(path: str, data: object, reading: Reading) -> dict[str, str]:
    found = reading.text_map(path, data)
    for name in found:
        if name.startswith("CODEBUILD_"):
            reading.note(buildspecs.ENV_RESERVED, f"{path}.{name}")
        elif not _VARIABLE.fullmatch(name):
            reading.note(buildspecs.ENV_NAME, f"{path}.{name}", name=cut(name))
    return found


def _references(path: str, data: object, reading: Reading) -> dict[str, str]:
    found = _variables(path, data, reading)
    for name, reference in found.items():
        if not reference:
            reading.note(buildspecs.REFERENCE, f"{path}.{name}")
    return found


def _secrets(data: object, reading: Reading) -> dict[str, str]:
    found = _references("env.secrets-manager", data, reading)
    for name, reference in found.items():
        if why := _wrong_with_secret(reference):
            reading.note(buildspecs.SECRET, f"env.secrets-manager.{name}", why=why)
    return found


def _wrong_with_secret(reference: str) -> str:
    """The mistake in `secret-id:json-key:version-stage:version-id`, or ''. The id may be an ARN, which has colons."""
    arn = _SECRET_ARN.match(reference)
    if reference.startswith("arn:") and not arn:
        return (
            ""  # the end of such an id cannot be determined; reading the secret will show whether it is valid
        )
    parts = ["arn", *reference[arn.end() :].split(":")[1:]] if arn else reference.split(":")
    if reference and not parts[0]:
        return "it has no secret-id"
    if len(parts) > 4:
        return "it has more than secret-id:json-key:version-stage:version-id"
    if len(parts) == 4 and parts[2] and parts[3]:
        return "use either version-stage or version-id, not both"
    return ""


def _exported(data: object, reading: Reading) -> tuple[str, ...]:
    names = reading.texts("env.exported-variables", data)
    for index, name in enumerate(names):
        if name.startswith("AWS_"):
            path = f"env.exported-variables[{index}]" if isinstance(data, list) else "env.exported-variables"
            reading.note(buildspecs.EXPORTED, path, name=cut(name))
    return tuple(name for name in names if not name.startswith("AWS_"))


# -- artifacts, reports and cache


def _artifacts(data: object, reading: Reading) -> ArtifactFiles | None:
    artifacts = reading.mapping("artifacts", data, _SECONDARY_KEYS | {"secondary-artifacts"})
    if artifacts.get("secondary-artifacts") and not artifacts.get("files"):
        # The CDK writes this for a build with several outputs.
        reading.note(buildspecs.ONLY_SECONDARY, "artifacts.files")
        return None
    return _artifact_files("artifacts", artifacts, reading) if artifacts else None


def _secondary_artifacts(data: object, reading: Reading) -> dict[str, ArtifactFiles]:
    path = "artifacts.secondary-artifacts"
    secondary = data.get("secondary-artifacts") if isinstance(data, Mapping) else None
    found = {}
    for name, value in reading.mapping(path, secondary).items():
        if not is_identifier(name):
            reading.note(buildspecs.ARTIFACT_IDENTIFIER, f"{path}.{name}", name=cut(name))
        files = reading.mapping(f"{path}.{name}", value, _SECONDARY_KEYS)
        if value is None or isinstance(value, Mapping):
            found[name] = _artifact_files(f"{path}.{name}", files, reading)
    return found


def _artifact_files(path: str, artifacts: Mapping[str, Any], reading: Reading) -> ArtifactFiles:
    files = reading.texts(f"{path}.files", artifacts.get("files"), by_commas=True)
    if not artifacts.get("files"):
        reading.note(buildspecs.ARTIFACT_FILES, f"{path}.files")
    return ArtifactFiles(
        files=files,
        name=reading.text(f"{path}.name", artifacts.get("name")) or None,
        discard_paths=reading.flag(f"{path}.discard-paths", artifacts.get("discard-paths")),
        base_directory=reading.text(f"{path}.base-directory", artifacts.get("base-directory")) or None,
        exclude_paths=reading.texts(f"{path}.exclude-paths", artifacts.get("exclude-paths"), by_commas=True),
        enable_symlinks=reading.flag(f"{path}.enable-symlinks", artifacts.get("enable-symlinks")),
        s3_prefix=reading.text(f"{path}.s3-prefix", artifacts.get("s3-prefix")) or None,
    )


def _reports(data: object, reading: Reading) -> tuple[ReportGroup, ...]:
    groups = reading.mapping("reports", data)
    if len(groups) > MAX_REPORT_GROUPS:
        reading.note(buildspecs.REPORT_COUNT, "reports", count=len(groups))
    return tuple(_report_group(name, value, reading) for name, value in groups.items())


def _report_group(name: str, data: object, reading: Reading) -> ReportGroup:
    path = below("reports", name)
    group = reading.mapping(path, data, _REPORT_KEYS)
    files = reading.texts(f"{path}.files", group.get("files"), by_commas=True)
    if not group.get("files") and (data is None or isinstance(data, Mapping)):
        reading.note(buildspecs.REPORT_FILES, f"{path}.files")
    file_format = (reading.text(f"{path}.file-format", group.get("file-format")) or "JUNITXML").upper()
    if file_format not in REPORT_FORMATS:
        hint = reading.propose(file_format, REPORT_FORMATS)
        known = ", ".join(REPORT_FORMATS)
        reading.note(
            buildspecs.REPORT_FORMAT, f"{path}.file-format", hint=hint, format=quote(file_format), known=known
        )
    return ReportGroup(
        name=name,
        files=files,
        base_directory=reading.text(f"{path}.base-directory", group.get("base-directory")) or None,
        discard_paths=reading.flag(f"{path}.discard-paths", group.get("discard-paths")),
        file_format=file_format,
    )


def _cache(data: object, reading: Reading) -> Cache | None:
    cache = reading.mapping("cache", data, _CACHE_KEYS)
    if not cache:
        return None
    paths = reading.texts("cache.paths", cache.get("paths"))
    if not cache.get("paths"):
        reading.note(buildspecs.CACHE_PATHS, "cache.paths")
    key = reading.text("cache.key", cache.get("key")) or None
    fallback = reading.texts("cache.fallback-keys", cache.get("fallback-keys"))
    if len(fallback) > MAX_FALLBACK_KEYS:
        reading.note(buildspecs.FALLBACK_KEYS, "cache.fallback-keys", count=len(fallback))
    if fallback and not key:
        reading.note(buildspecs.FALLBACK_WITHOUT_KEY, "cache.fallback-keys")
    action = reading.text("cache.action", cache.get("action")) or None
    if action not in (None, "restore", "save"):
        hint = reading.propose(str(action), ("restore", "save"))
        reading.note(buildspecs.CACHE_ACTION, "cache.action", hint=hint, action=quote(action))
    found = Cache(paths, key, fallback if key else (), cast("Literal['restore', 'save'] | None", action))
    return found if paths else None
