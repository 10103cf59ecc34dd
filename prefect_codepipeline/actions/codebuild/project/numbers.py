"""CODEBUILD_BUILD_NUMBER: how many builds a project has had, this one included.

The last number is the name of a Prefect Variable, because a name is given once only, however many workers ask.
"""

from __future__ import annotations

import re

from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.client import call


def next_number(project_name: str) -> int:
    """The number of the build that begins now. Raises `PrefectUnavailable`."""
    prefix = f"codebuild_number_{slug(project_name).replace('-', '_')}_"
    known = _known(prefix)
    number = max(known, default=0) + 1
    while not _claim(f"{prefix}{number}", project_name):
        number += 1
    for old in known:
        call("DELETE", f"/variables/name/{prefix}{old}", expected=(404,))
    return number


def _known(prefix: str) -> list[int]:
    wanted = {"variables": {"name": {"like_": f"{prefix}%"}}, "limit": 200}
    _, found = call("POST", "/variables/filter", wanted)
    matches = (re.fullmatch(re.escape(prefix) + r"(\d+)", each["name"]) for each in found)
    return [int(match[1]) for match in matches if match]


def _claim(name: str, project_name: str) -> bool:
    body = {"name": name, "value": project_name, "tags": ["prefect-codepipeline"]}
    status, _ = call("POST", "/variables/", body, expected=(409,))
    return status != 409
