"""Access to a cluster: one of EKS, with a token as `aws eks get-token` makes it, or any by a kubeconfig in a Secret block.

https://docs.aws.amazon.com/eks/latest/userguide/cluster-auth.html
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.commands.environment import secret_value
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

_TOKEN_PREFIX = "k8s-aws-v1."
_CLUSTER_HEADER = "x-k8s-aws-id"
_URL_SECONDS = 60
# EKS accepts a token for 15 minutes; a deployment may take longer.
RENEW_SECONDS = 600.0
_RETRY_SECONDS = 30.0
# What a user of a kubeconfig may have that is secret.
_SECRET_KEYS = ("token", "password", "client-key-data", "id-token", "refresh-token", "client-secret")


@dataclass(frozen=True)
class Cluster:
    """A cluster, and the file with which kubectl and helm reach it; `renew` is called while one of them runs."""

    name: str
    kubeconfig: Path
    secrets: Sequence[str] = field(repr=False, default=())
    arn: str | None = None
    renew: Callable[[], None] = lambda: None

    @property
    def page(self) -> str | None:
        """The page of a cluster of EKS in the console."""
        return console_url(self.arn, f"eks/clusters/{self.name}?region={{region}}") if self.arn else None


def connect(context: ActionContext, name: str) -> Cluster:
    """Write the kubeconfig of a cluster, which only this user can read, below the scratch directory.

    Raises:
        ActionFailed: there is no such cluster or Secret block, it is not allowed, or AWS does not answer.
    """
    secret = (context.settings.aws.clusters or {}).get(name)
    return _by_secret(context, name, secret) if secret else _in_eks(context, name)


def _by_secret(context: ActionContext, name: str, secret: str) -> Cluster:
    of = f"cluster {name!r} in 'clusters' of the pipeline's settings"
    text = secret_value(secret, of)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:  # its message quotes the text
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("clusters"), list):
        raise ActionFailed(
            f"{of}: Secret block {secret!r} has no kubeconfig; store the whole file, as `kubectl config view --raw "
            "--flatten --minify` prints it",
            code="ConfigurationError",
        )
    file = _write(context.scratch / "kubeconfig", text)
    return Cluster(name, file, [*_secrets_in(content.get("users"))])


def _in_eks(context: ActionContext, name: str) -> Cluster:
    found = _describe(context, name)
    token_file = context.scratch / "token"
    token = _token(context, name)
    _write(token_file, token)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": found["endpoint"],
                    "certificate-authority-data": found["certificateAuthority"]["data"],
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "codepipeline"}}],
        "current-context": name,
        # kubectl and helm read this file again every minute.
        "users": [{"name": "codepipeline", "user": {"tokenFile": str(token_file)}}],
    }
    file = _write(context.scratch / "kubeconfig", json.dumps(config))
    return Cluster(name, file, [token], found.get("arn"), _Renewal(context, name, token_file))


def _describe(context: ActionContext, name: str) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    eks = client_of(context, "eks")
    where = f"EKS cluster {name!r} in region {eks.meta.region_name}"
    with translated(f"looking up {where}"):
        try:
            found: dict[str, Any] = eks.describe_cluster(name=name).get("cluster") or {}
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                raise ActionFailed(
                    f"there is no {where}; correct ClusterName or the region, or name a Secret block with the kubeconfig "
                    "of another cluster in 'clusters' of 'aws' in the settings",
                    code="ConfigurationError",
                ) from error
            raise
    if "endpoint" not in found or "certificateAuthority" not in found:
        raise ActionFailed(
            f"{where} has no endpoint; its status is {found.get('status', 'unknown')}: wait until it is ACTIVE",
            code="ConfigurationError",
        )
    return found


class _Renewal:
    """Replaces the token in its file before it expires."""

    def __init__(self, context: ActionContext, cluster: str, file: Path) -> None:
        self._context, self._cluster, self._file = context, cluster, file
        self._due = time.monotonic() + RENEW_SECONDS

    def __call__(self) -> None:
        if time.monotonic() < self._due:
            return
        try:
            _write(self._file, _token(self._context, self._cluster))
            self._due = time.monotonic() + RENEW_SECONDS
        except ActionFailed as error:  # the old token is still accepted for some minutes
            self._context.logger.warning("The token of the cluster could not be renewed: %s", error)
            self._due = time.monotonic() + _RETRY_SECONDS


def _token(context: ActionContext, cluster: str) -> str:
    """A request to STS that is signed and not sent: EKS sends it, to see whose it is."""
    sts = client_of(context, "sts", attempts=0)  # its own: it changes what it signs

    def add_cluster(request: Any, **_: Any) -> None:
        request.headers[_CLUSTER_HEADER] = cluster

    sts.meta.events.register("before-sign.sts.GetCallerIdentity", add_cluster)
    with translated(f"making a token for cluster {cluster!r}"):
        url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=_URL_SECONDS, HttpMethod="GET")
    return _TOKEN_PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def _write(file: Path, text: str) -> Path:
    """Write a file that only this user can read, in one step: kubectl may read it now."""
    new = file.with_name(f"{file.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)
    return new.replace(file)


def _secrets_in(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _secrets_in(each, str(name))
    elif isinstance(value, list):
        for each in value:
            yield from _secrets_in(each, key)
    elif key in _SECRET_KEYS:
        yield str(value)
