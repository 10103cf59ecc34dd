"""A request to the S3 endpoint whose sender is known, and the store of its artifacts."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from starlette.requests import Request

from prefect_codepipeline.actions.artifacts.storing import load_artifact_store
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.gateway.aws.s3.errors import access_denied
from prefect_codepipeline.gateway.aws.signing.identify import JobCaller
from prefect_codepipeline.model.record.artifacts import StoredArtifact

# A client asks for many ranges or parts within a moment.
_FRESH_SECONDS = 5.0
_MOST_KNOWN = 1000
_lock = threading.Lock()
_stores: dict[tuple[str, str | None], tuple[float, ArtifactStore]] = {}
# What clients say of encryption, and expect to read again; the key of SSE-C is not among it.
_ENCRYPTION = (
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key-md5",
)


@dataclass(frozen=True)
class Asked:
    """A request of a job's worker."""

    request: Request
    caller: JobCaller

    @cached_property
    def headers(self) -> dict[str, str]:
        """By names in lower case."""
        return {name.lower(): value for name, value in self.request.headers.items()}

    @cached_property
    def query(self) -> dict[str, str]:
        """Without what some clients add, and what asks for nothing."""
        return {name: value for name, value in self.request.query_params.items() if name != "x-id"}

    @property
    def path(self) -> str:
        return str(self.request.scope["path"])

    @property
    def bucket(self) -> str:
        return self.path.split("/", 2)[1]

    @property
    def key(self) -> str:
        return self.path.split("/", 2)[2]

    def artifact(self) -> StoredArtifact:
        """The input artifact at the address. Raises `S3Error`: the job has none there."""
        found = self.caller.grant.reads.get(self.path)
        if found is None:
            raise access_denied()
        return StoredArtifact.model_validate(dict(found))

    def output_name(self) -> str:
        """The name of the output artifact at the address. Raises `S3Error`: the job has none there."""
        name = self.caller.grant.writes.get(self.path)
        if name is None:
            raise access_denied()
        return name

    def store(self) -> ArtifactStore:
        """The artifact store of the execution. Asks Prefect.

        Raises:
            ActionFailed: the store cannot be used.
            MissingBlock: the settings cannot be read.
            PrefectUnavailable: Prefect does not answer.
        """
        named = (self.caller.grant.pipeline_name, self.caller.grant.settings_id)
        with _lock:
            begun, found = _stores.get(named, (-_FRESH_SECONDS, None))
        if found and time.monotonic() - begun < _FRESH_SECONDS:
            return found
        begun = time.monotonic()
        found = load_artifact_store(settings_of(*named).artifact_store)
        with _lock:
            if len(_stores) >= _MOST_KNOWN:
                _stores.clear()
            _stores[named] = (begun, found)
        return found


def encryption(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers about encryption that an answer repeats."""
    return {name: headers[name] for name in _ENCRYPTION if name in headers}


def quoted(etag: str) -> str:
    """An ETag as headers have it."""
    return f'"{etag}"'
