"""CODEBUILD_BUILD_NUMBER: the number of builds of a project, including the current one.

The last number is kept in the name of a Prefect Variable. Names are unique, so two workers cannot get the same number.
"""

from __future__ import annotations

import re

from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.client import call


def next_number(project_name: str) -> int:
    """The number of the build that starts now. Raises `PrefectUnavailable`."""
    prefix = f"codebuild_number_{slug(project_name).replace('-', '_')}_"
    known = _find_numbers(prefix)
    number = max(known, default=0) + 1
    while not _claim(f"{prefix}{number}", project_name):
        number += 1
    for old in known:
        call("DELETE", f"/variables/name/{prefix}{old}", expected=(404,))
    return number


def _find_numbers(prefix: str) -> list[int]:
    wanted = {"variables": {"name": {"like_": f"{prefix}%"}}, "limit": 200}
    _, found = call("POST", "/variables/filter", wanted)
    matches = (re.fullmatch(re.escape(prefix) + r"(\d+)", each["name"]) for each in found)
    return [int(match[1]) for match in matches if match]


def _claim(name: str, project_name: str) -> bool:
    body = {"name": name, "value": project_name, "tags": ["prefect-codepipeline"]}
    status, _ = call("POST", "/variables/", body, expected=(409,))
    return status != 409
