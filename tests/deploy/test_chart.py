"""The chart of the gateway and reconcile, as Helm renders it: what Kubernetes accepts, without rights and without root."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from prefect_codepipeline import __version__

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/kubernetes/chart"
SCHEMAS = json.loads((ROOT / "tests/data/kubernetes/schemas.json").read_text())["$defs"]
GIVEN = {
    "image.repository": "registry.example.com/prefect-codepipeline",
    "prefect.apiUrl": "http://prefect-server:4200/api",
    "gateway.url": "https://gateway.example.com",
}
EVERYTHING: dict[str, Any] = {
    "imagePullSecrets": [{"name": "registry"}],
    "prefect": {"uiUrl": "https://prefect.example.com", "existingSecret": "prefect-auth", "caSecret": "ca"},
    "awsSecret": "aws",
    "env": {"AWS_REGION": "eu-central-1"},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/r"}},
    "gateway": {"ingress": {"enabled": True, "className": "nginx", "host": "gateway.example.com", "tlsSecret": "tls"}},
    "networkPolicy": {
        "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 443}]}],
    },
    "nodeSelector": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"key": "small", "operator": "Exists"}],
}  # fmt: skip


def render(tmp_path: Path, values: dict[str, Any], given: dict[str, str] = GIVEN) -> str:
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("helm is not installed")
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    settings = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    command = [
        helm,
        "template",
        "cp",
        str(CHART),
        "--namespace",
        "pipelines",
        "--values",
        str(file),
        *settings,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else done.stderr


def objects(tmp_path: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(render(tmp_path, values)) if each]


def problems(each: dict[str, Any]) -> list[str]:
    name = next(
        name for name in SCHEMAS if name.startswith("io.k8s.api.") and name.endswith(f".{each['kind']}")
    )
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMAS})
    return [f"{each['kind']} {error.json_path}: {error.message}" for error in validator.iter_errors(each)]


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_kubernetes_accepts_each_object(tmp_path: Path, values: dict[str, Any]) -> None:
    found = objects(tmp_path, values)
    assert [problem for each in found for problem in problems(each)] == []
    expected = ["Deployment", "NetworkPolicy", "PodDisruptionBudget"] * 2 + ["Service", "ServiceAccount"]
    assert sorted(each["kind"] for each in found) == sorted(expected + (["Ingress"] if values else []))


def test_nothing_has_rights_in_the_cluster_or_runs_as_root(tmp_path: Path) -> None:
    for each in objects(tmp_path, EVERYTHING):
        assert "Role" not in each["kind"]
        if each["kind"] == "Deployment":
            pod = each["spec"]["template"]["spec"]
            container = pod["containers"][0]
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"]
            assert {"startupProbe", "livenessProbe"} <= container.keys()


def test_selectors_find_the_pods(tmp_path: Path) -> None:
    found = objects(tmp_path, {})
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in found
        if each["kind"] == "Deployment"
    }
    for each in found:
        spec = each.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector", {}))
        if selector:
            wanted = selector.get("matchLabels", selector)
            assert wanted.items() <= labels[each["metadata"]["name"]].items(), each["kind"]


@pytest.mark.parametrize("name", GIVEN)
def test_what_must_be_given_is_asked_for(tmp_path: Path, name: str) -> None:
    given = {key: value for key, value in GIVEN.items() if key != name}
    assert name in render(tmp_path, {}, given)


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__
