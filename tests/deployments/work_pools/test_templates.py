"""The base job template for Kubernetes: Prefect's variables, and jobs that Kubernetes' schema accepts."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prefect.utilities.templating import apply_values
from prefect.workers.base import BaseJobConfiguration

from prefect_codepipeline.deployments.work_pools.templates import OWN_IMAGE, template_for
from prefect_codepipeline.errors import ValidationException

ROOT = Path(__file__).parents[3]
SCHEMAS = json.loads((ROOT / "tests/data/kubernetes/schemas.json").read_text())["$defs"]
JOB = {"$ref": "#/$defs/io.k8s.api.batch.v1.Job", "$defs": SCHEMAS}
# Prefect's worker refuses a job without these two in the pod's specification; Kubernetes drops them with a warning.
OF_PREFECT_ONLY = ("parallelism", "completions")


def job(**variables: Any) -> dict[str, Any]:
    """The job as Prefect's worker fills in the template."""
    template = template_for("kubernetes")
    defaults = BaseJobConfiguration._get_base_config_defaults(template["variables"]["properties"])
    filled = apply_values(
        template["job_configuration"]["job_manifest"], {"name": "a", "labels": {}, **defaults, **variables}
    )
    container = filled["spec"]["template"]["spec"]["containers"][0]
    # The worker writes these two in Kubernetes' form.
    container["env"] = [{"name": name, "value": value} for name, value in container["env"].items()]
    container.setdefault("args", ["prefect", "flow-run", "execute"])
    return dict(filled)


def problems(manifest: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(JOB)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


def without_what_only_prefect_wants(manifest: dict[str, Any]) -> dict[str, Any]:
    pod = manifest["spec"]["template"]["spec"]
    assert [pod.pop(name) for name in OF_PREFECT_ONLY] == [1, 1]
    return manifest


EVERYTHING = {
    "image": "registry.example.com/pipelines:1",
    "namespace": "pipelines",
    "service_account_name": "runs",
    "cpu_request": "500m",
    "cpu_limit": "2",
    "memory_request": "1Gi",
    "memory_limit": "16Gi",
    "finished_job_ttl": 60,
    "node_selector": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "volumes": [{"name": "work", "emptyDir": {"sizeLimit": "5Gi"}}],
    "volume_mounts": [{"name": "work", "mountPath": "/work"}],
    "run_as_non_root": True,
    "termination_grace_seconds": 90,
}


@pytest.mark.parametrize("variables", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_a_job_is_one_that_kubernetes_accepts(variables: dict[str, Any]) -> None:
    assert problems(without_what_only_prefect_wants(job(**variables))) == []


def test_the_schema_refuses_what_kubernetes_does_not_know() -> None:
    wrong = job(tolerations=[{"key": "gpu", "operatr": "Exists"}], termination_grace_seconds="long")
    found = problems(wrong)
    assert len(found) == 3, found  # and the two that only Prefect wants
    assert all(any(word in each for each in found) for word in ("operatr", "parallelism", "'long'"))


def test_each_variable_has_its_place_in_the_job() -> None:
    filled = job(**EVERYTHING)
    spec, pod = filled["spec"], filled["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert filled["metadata"]["namespace"] == "pipelines"
    assert spec["ttlSecondsAfterFinished"] == 60
    assert (pod["serviceAccountName"], pod["nodeSelector"]) == ("runs", {"kubernetes.io/arch": "arm64"})
    assert (pod["tolerations"], pod["volumes"]) == (EVERYTHING["tolerations"], EVERYTHING["volumes"])
    assert pod["securityContext"] == {"runAsNonRoot": True}
    assert pod["terminationGracePeriodSeconds"] == 90
    assert container["volumeMounts"] == EVERYTHING["volume_mounts"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "16Gi"}


def test_it_has_the_variables_of_prefect() -> None:
    views = files("prefect.server.api").joinpath("collections_data/views/aggregate-worker-metadata.json")
    prefects = json.loads(views.read_text())["prefect-kubernetes"]["kubernetes"]
    variables = template_for("kubernetes")["variables"]["properties"]
    of_prefect = prefects["default_base_job_configuration"]["variables"]["properties"]
    assert of_prefect.keys() <= variables.keys()
    assert variables.keys() - of_prefect.keys() == {
        "annotations",  # newer than Prefect's list of workers
        "backoff_limit",
        "node_selector",
        "tolerations",
        "volumes",
        "volume_mounts",
        "run_as_non_root",
        "termination_grace_seconds",
    }


def test_the_image_of_flow_runs_is_ours_or_the_given_one() -> None:
    def image(given: str | None = None) -> str:
        return str(template_for("kubernetes", given)["variables"]["properties"]["image"]["default"])

    assert (image(), image("other:2")) == (OWN_IMAGE, "other:2")
    with pytest.raises(ValidationException, match="type 'codepipeline' have no image"):
        template_for("codepipeline", "other:2")


def test_deploy_has_the_template_too() -> None:
    beside = ROOT / "deploy/kubernetes/base-job-template.json"
    template = ROOT / "deployments/work_pools/kubernetes.json"
    assert beside.read_text() == template.read_text(), "run `make docs`"
