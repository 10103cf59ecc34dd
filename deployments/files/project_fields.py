"""The fields of a CodeBuildProject block, of what CloudFormation says of a project.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-codebuild-project.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.model.definition.compute_types import COMPUTE_SIZES

# The images that AWS names in short lie in its public registry; those on Ubuntu it does not publish.
_OURS = re.compile(r"aws/codebuild/(amazonlinux[\w-]*-standard:[\w.]+)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def project_fields(properties: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fields of the block, and a sentence for each thing that it cannot have.

    Args:
        properties: of an `AWS::CodeBuild::Project`, read from a template; `${NAME}` is what is not known.
    """
    left_out: list[str] = []
    environment, source = _mapping(properties, "Environment"), _mapping(properties, "Source")
    fields = {
        "image": _image(environment, left_out),
        "compute_type": _compute_type(environment, left_out),
        "environment_variables": _variables(environment, left_out) or None,
        "buildspec": source.get("BuildSpec") if isinstance(source.get("BuildSpec"), str) else None,
        "timeout_in_minutes": _number(properties.get("TimeoutInMinutes")),
        "queued_timeout_in_minutes": _number(properties.get("QueuedTimeoutInMinutes")),
        "concurrent_build_limit": _number(properties.get("ConcurrentBuildLimit")),
        "cache": "local" if _mapping(properties, "Cache").get("Type") in ("LOCAL", "S3") else None,
    }
    if _is_true(environment.get("PrivilegedMode")):
        # Outside of AWS that is root on the engine's machine, which a template does not decide.
        left_out.append(
            "PrivilegedMode is left out: whoever runs the engine sets privileged or docker_socket"
        )
    return {name: value for name, value in fields.items() if value is not None}, left_out


def _image(environment: Mapping[str, Any], left_out: list[str]) -> str | None:
    image = str(environment.get("Image") or "")
    if published := _OURS.fullmatch(image):
        return f"public.ecr.aws/codebuild/{published[1]}"
    if image.startswith("aws/codebuild/") or "${" in image:
        left_out.append(f"image {image} cannot be pulled from anywhere: the default is used")
        return None
    return image or None


def _compute_type(environment: Mapping[str, Any], left_out: list[str]) -> str | None:
    name = str(environment.get("ComputeType") or "")
    if name and name not in COMPUTE_SIZES:
        left_out.append(f"compute type {name} is not known: nothing bounds its builds")
    return name if name in COMPUTE_SIZES else None


def _variables(environment: Mapping[str, Any], left_out: list[str]) -> list[dict[str, str]]:
    declared = environment.get("EnvironmentVariables")
    found: dict[str, dict[str, str]] = {}
    for each in declared if isinstance(declared, list) else []:
        name, value = (
            (str(each.get(key, "")) for key in ("Name", "Value")) if isinstance(each, dict) else ("", "")
        )
        if not _NAME.fullmatch(name) or name.startswith("CODEBUILD_") or "${" in value:
            left_out.append(f"variable {name or repr(each)} is left out: its name or value cannot be used")
            continue
        found[name] = {"name": name, "value": value, "type": str(each.get("Type") or "PLAINTEXT")}
    return list(found.values())


def _number(value: Any) -> int | None:
    return int(value) if re.fullmatch(r"\d{1,9}", str(value)) else None


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def _mapping(properties: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = properties.get(key)
    return found if isinstance(found, dict) else {}
