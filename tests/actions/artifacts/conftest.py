"""What the tests of artifacts share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.blocks.artifact_store import ArtifactStore


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """A store in a folder, and one in S3."""
    if request.param == "folder":
        return ArtifactStore(url=str(tmp_path / "store"))
    make_bucket: Any = request.getfixturevalue("make_bucket")
    name = make_bucket()
    options = {
        "endpoint_url": request.getfixturevalue("moto_url"),
        "key": "testing",
        "secret": "testing-secret",
    }
    return ArtifactStore(url=f"s3://{name}/artifacts", storage_options=options)
