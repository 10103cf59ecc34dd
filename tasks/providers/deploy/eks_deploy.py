"""Deploy/AWS/EKS/1: apply manifests with kubectl, or a chart with helm, to a cluster of EKS or any other.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-EKS.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from prefect_codepipeline.actions.aws.remote_work import bearing_silence
from prefect_codepipeline.actions.commands.programs import Programs, require_program
from prefect_codepipeline.actions.kubernetes import files, helm, kubectl
from prefect_codepipeline.actions.kubernetes.cluster import Cluster, connect
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted, wrong_configuration

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LONGEST_RELEASE, _LONGEST_NAMESPACE = 53, 63


class EksDeployConfiguration(ActionConfiguration):
    """The configuration of an action. `Subnets` and `SecurityGroupIds` have no effect, and a warning says so."""

    cluster_name: str = Field(min_length=1)
    helm_release_name: str | None = None
    helm_chart_location: str | None = None
    helm_values_files: str | None = None
    manifest_files: str | None = None
    namespace: str | None = None
    subnets: str | None = None
    security_group_ids: str | None = None

    @property
    def uses_helm(self) -> bool:
        return bool(self.helm_release_name or self.helm_chart_location)


def _named(configuration: EksDeployConfiguration, context: ActionContext) -> Iterator[Lookup]:
    name = configuration.cluster_name
    if name not in (context.settings.aws.clusters or {}):
        yield Lookup(f"cluster {name!r}", "eks", "describe_cluster", {"name": name})


@action_provider(
    category="Deploy", provider="EKS", inputs=(1, 1), outputs=(0, 0), restartable=True, online=_named
)
def deploy_to_eks(configuration: EksDeployConfiguration, context: ActionContext) -> ActionResult:
    """Deploy, and wait until everything runs. Both ways can be repeated after a crash."""
    _check(configuration, context)
    with bearing_silence(context, f"cluster {configuration.cluster_name!r}"):
        cluster = connect(context, configuration.cluster_name)
    programs = Programs(context, {"KUBECONFIG": str(cluster.kubeconfig)}, cluster.secrets, cluster.renew)
    context.report_progress(summary="deploying", percent=10, url=cluster.page)
    with _what_stays(configuration):
        summary = (_helm if configuration.uses_helm else _kubectl)(configuration, programs)
    return ActionResult(
        summary=summary,
        output_variables={"EKSClusterName": configuration.cluster_name},
        external_execution_id=_external_id(configuration, cluster),
        external_execution_url=cluster.page,
    )


def _check(configuration: EksDeployConfiguration, context: ActionContext) -> None:
    release, chart = configuration.helm_release_name, configuration.helm_chart_location
    if configuration.uses_helm and not (release and chart):
        raise wrong_configuration("HelmReleaseName and HelmChartLocation are needed together; set both")
    if configuration.uses_helm == bool(configuration.manifest_files):
        raise wrong_configuration(
            "set ManifestFiles for kubectl, or HelmReleaseName and HelmChartLocation for helm"
        )
    for key, value, longest in (
        ("HelmReleaseName", release, _LONGEST_RELEASE),
        ("Namespace", configuration.namespace, _LONGEST_NAMESPACE),
    ):
        if value and not (_LABEL.fullmatch(value) and len(value) <= longest):
            raise wrong_configuration(
                f"{key} {value!r} must have at most {longest} lower case letters, digits and hyphens, with a letter or "
                "digit at both ends"
            )
    program = "helm" if configuration.uses_helm else "kubectl"
    require_program(program, f"it deploys to cluster {configuration.cluster_name!r}")
    if configuration.subnets or configuration.security_group_ids:
        context.logger.warning(
            "Subnets and SecurityGroupIds of action %r have no effect: the worker reaches the cluster by its own network",
            context.action.name,
        )


def _kubectl(configuration: EksDeployConfiguration, programs: Programs) -> str:
    context, key = programs.context, "ManifestFiles"
    places = [files.find(context, name, key) for name in files.names_in(configuration.manifest_files)]
    if not places:
        raise wrong_configuration("ManifestFiles has no name; give one or more files, separated by commas")
    manifests = [file for place in places for file in files.manifests_in(place, key)]
    objects = kubectl.apply(programs, _substituted(context, manifests, "manifests"), configuration.namespace)
    workloads = kubectl.roll_out(programs, objects)
    return f"applied {len(objects)} objects to cluster {configuration.cluster_name!r}, {workloads} rolled out"


def _helm(configuration: EksDeployConfiguration, programs: Programs) -> str:
    context, variables = programs.context, files.variables_of(programs.context)
    chart = files.find(context, configuration.helm_chart_location or "", "HelmChartLocation")
    own = chart / "values.yaml"
    if own.is_file():
        files.substitute(own, own, variables)
    values = [_values_file(context, name, chart) for name in files.names_in(configuration.helm_values_files)]
    release = helm.Release(
        name=configuration.helm_release_name or "",
        namespace=configuration.namespace,
        chart=chart,
        values=_substituted(context, values, "values"),
    )
    helm.upgrade(release, programs, again=context.earlier is not None)
    return f"release {release.name!r} is deployed to cluster {configuration.cluster_name!r}"


def _values_file(context: ActionContext, name: str, chart: Path) -> Path:
    """A values file in the folder of the chart or, if it is not there, in the artifact."""
    if chart.is_dir() and (chart / name).is_file():
        return files.find(context, name, "HelmValuesFiles", chart)
    return files.find(context, name, "HelmValuesFiles")


def _substituted(context: ActionContext, sources: list[Path], folder: str) -> list[Path]:
    target = context.scratch / folder
    target.mkdir(exist_ok=True)
    variables = files.variables_of(context)
    return [
        files.substitute(source, target / f"{number}-{source.name}", variables)
        for number, source in enumerate(sources, 1)
    ]


@contextmanager
def _what_stays(configuration: EksDeployConfiguration) -> Iterator[None]:
    """Say in the message of an action that is ended what it leaves in the cluster."""
    stays = (
        f"helm was asked to end: see `helm status {configuration.helm_release_name}`"
        if configuration.uses_helm
        else "what was applied to the cluster stays"
    )
    try:
        yield
    except ActionInterrupted:
        raise
    except ActionAbandoned as error:
        raise ActionAbandoned(f"{error}; {stays}") from error
    except ActionFailed as error:
        if error.code != "Timeout":
            raise
        raise ActionFailed(f"{error}; {stays}", code=error.code) from error


def _external_id(configuration: EksDeployConfiguration, cluster: Cluster) -> str:
    release = f"/{configuration.helm_release_name}" if configuration.uses_helm else ""
    return f"{cluster.arn or cluster.name}{release}"
