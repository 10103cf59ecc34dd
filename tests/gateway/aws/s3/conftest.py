"""A job of a pipeline whose artifacts are in a folder or in S3, and its worker's S3 clients."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from prefect_codepipeline.actions.artifacts.storing import fetch_tree, store_tree
from prefect_codepipeline.actions.artifacts.uploads import Uploads
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.gateway.aws.signing.job_credentials import JobGrant, issue
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.prefect_api.internals import save_anonymously

BUCKET = "codepipeline-artifacts"


@dataclass
class Job:
    """A job with the input `in` and the output `out`."""

    gateway: str
    store: ArtifactStore
    pipeline: str = field(default_factory=lambda: f"shop-{uuid4().hex[:8]}")
    settings_id: str | None = None
    inputs: dict[str, StoredArtifact] = field(default_factory=dict)

    @property
    def source(self) -> dict[str, str]:
        return {"Bucket": BUCKET, "Key": f"{self.pipeline}/Source/aaaaaaa"}

    @property
    def target(self) -> dict[str, str]:
        return {"Bucket": BUCKET, "Key": f"{self.pipeline}/Built/bbbbbbb"}

    def give(self, tree: Path) -> StoredArtifact:
        stored = store_tree(self.store, "Source", OutputTree(tree))
        self.inputs[f"/{BUCKET}/{self.source['Key']}"] = stored
        return stored

    def credentials(self, expires: timedelta = timedelta(hours=1)) -> dict[str, str]:
        grant = JobGrant(
            job_id=str(uuid4()),
            reads={path: json.loads(stored.model_dump_json()) for path, stored in self.inputs.items()},
            writes={f"/{BUCKET}/{self.target['Key']}": "Built"},
            expires=datetime.now(timezone.utc) + expires,
            pipeline_name=self.pipeline,
            settings_id=self.settings_id,
        )
        return issue(grant)

    def s3(self, url: str = "", expires: timedelta = timedelta(hours=1), **options: Any) -> Any:
        """A client with fresh credentials."""
        keys = self.credentials(expires)
        return boto3.client(
            "s3",
            endpoint_url=url or self.gateway,
            region_name="us-east-1",
            aws_access_key_id=keys["accessKeyId"],
            aws_secret_access_key=keys["secretAccessKey"],
            aws_session_token=keys["sessionToken"],
            config=Config(
                signature_version="s3v4",
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                read_timeout=60,
            ),
            **options,
        )

    def uploaded(self) -> StoredArtifact | None:
        return Uploads(self.store).find(**{name.lower(): value for name, value in self.target.items()})

    def fetch_upload(self, place: Path) -> Path:
        found = self.uploaded()
        assert found
        fetch_tree(self.store, found, place)
        return place


@pytest.fixture
def job(request: pytest.FixtureRequest, gateway: str, tmp_path: Path) -> Iterator[Job]:
    """The parameter says where its artifacts are: `folder` (by default) or `s3`.

    The settings with the folder are those of an execution alone, as `codepipeline run` has them; those with S3 are the pipeline's.
    """
    store = ArtifactStore(url=str(tmp_path / "store"))
    if getattr(request, "param", "folder") == "s3":
        moto, bucket = request.getfixturevalue("moto_url"), f"bucket-{uuid4().hex[:12]}"
        boto3.client("s3", endpoint_url=moto, region_name="us-east-1").create_bucket(Bucket=bucket)
        options = {"endpoint_url": moto, "key": "testing", "secret": "testing-secret"}
        store = ArtifactStore(url=f"s3://{bucket}/artifacts", storage_options=options)
    made = Job(gateway, store)
    store.save(made.pipeline)
    settings = PipelineSettings(artifact_store=made.pipeline)
    if store.folder:
        made.settings_id = str(save_anonymously(settings))
    else:
        settings.save(slug(made.pipeline))
    yield made
    if made.settings_id is None:
        PipelineSettings.delete(slug(made.pipeline))
    ArtifactStore.delete(made.pipeline)


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[..., bytes]:
    """The bytes of a ZIP archive of files that take `size` bytes together."""

    def make(size: int = 1000) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as written:
            written.writestr("app/main.py", "print(1)\n")
            written.writestr("data.bin", os.urandom(size))
        return packed.getvalue()

    return make
