"""Convert a CloudFormation CodeBuild project to the fields of a CodeBuildProject block.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-codebuild-project.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.model.definition.compute_types import COMPUTE_SIZES

# AWS's short image names for Amazon Linux exist in its public registry. The Ubuntu images are not published.
_OURS = re.compile(r"aws/codebuild/(amazonlinux[\w-]*-standard:[\w.]+)")
_UNKNOWN = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def project_fields(properties: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields of the block, and a sentence for each omitted setting.

    Args:
        properties: the properties of an `AWS::CodeBuild::Project`; unknown values are written as `${NAME}`.
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
        # Outside AWS this gives root on the engine's machine, so a template must not enable it.
        left_out.append(
            "PrivilegedMode is ignored: set privileged or docker_socket in the block if the engine's owner allows it"
        )
    return {name: value for name, value in fields.items() if value is not None}, left_out


def _image(environment: Mapping[str, Any], left_out: list[str]) -> str | None:
    image = str(environment.get("Image") or "")
    if published := _OURS.fullmatch(image):
        return f"public.ecr.aws/codebuild/{published[1]}"
    if image.startswith("aws/codebuild/") or "${" in image:
        left_out.append(f"image {image} is not in a public registry: the default image is used")
        return None
    return image or None


def _compute_type(environment: Mapping[str, Any], left_out: list[str]) -> str | None:
    name = str(environment.get("ComputeType") or "")
    if name and name not in COMPUTE_SIZES:
        left_out.append(f"compute type {name} is not known: its builds have no CPU and memory limits")
    return name if name in COMPUTE_SIZES else None


def _variables(environment: Mapping[str, Any], left_out: list[str]) -> list[dict[str, str]]:
    declared = environment.get("EnvironmentVariables")
    found: dict[str, dict[str, str]] = {}
    for each in declared if isinstance(declared, list) else []:
        name, value = (
            (str(each.get(key, "")) for key in ("Name", "Value")) if isinstance(each, dict) else ("", "")
        )
        if not _NAME.fullmatch(name) or name.startswith("CODEBUILD_"):
            left_out.append(f"variable {name or repr(each)} is ignored: its name cannot be used")
            continue
        if unknown := _UNKNOWN.findall(value):
            options = " ".join(f"--parameter {name}=VALUE" for name in unknown)
            left_out.append(f"variable {name} is ignored: import with {options}")
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
