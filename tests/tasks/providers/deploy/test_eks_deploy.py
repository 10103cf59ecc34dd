"""Deploy/AWS/EKS/1: with a kubectl and a helm that record their calls, and moto's EKS; a real kubectl reads the kubeconfig."""

from __future__ import annotations

import base64
import http.server
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
import yaml
from faulty_endpoint import Fault, json_refusal
from provider_calls import call_to_its_end
from pydantic import ValidationError
from waiting import until

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.kubernetes import cluster
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.model.definition.declaration import EnvironmentVariable
from prefect_codepipeline.tasks.providers.deploy.eks_deploy import EksDeployConfiguration, deploy_to_eks

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {spec: {containers: [{name: app, image: "${IMAGE}:$IMAGE_TAG", args: ["$HOME"]}]}}}
"""
# Applies what it is given, as JSON; the pods of `web` do not start if there is a file `broken`.
KUBECTL = """
def meta(name): return {"name": name, "namespace": "shop"}
workload = {"apiVersion": "apps/v1", "spec": {"selector": {"matchLabels": {"app": "web"}}}}
if sys.argv[1] == "apply":
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("settings")}
    by_hand = {**workload, "kind": "DaemonSet", "spec": {"updateStrategy": {"type": "OnDelete"}}, "metadata": meta("agent")}
    items = [config, {**workload, "kind": "Deployment", "metadata": meta("web")}, by_hand]
    print(json.dumps({"kind": "List", "items": items}))
elif sys.argv[1] == "rollout" and os.path.exists(folder + "/broken"):
    sys.exit("error: deployment \\"web\\" exceeded its progress deadline")
elif sys.argv[1] == "get":
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image app:v7"}
    states = [{"name": "app", "state": {"waiting": waiting}}]
    print(json.dumps({"items": [{"metadata": {"name": "web-1"}, "status": {"containerStatuses": states}}]}))
"""
# The releases that it lists are those in the file `releases`.
HELM = """
import time
if sys.argv[1] == "list":
    print(open(folder + "/releases").read() if os.path.exists(folder + "/releases") else "[]")
elif sys.argv[1] == "history":
    print(json.dumps([{"revision": 6, "status": "superseded"}, {"revision": 7, "status": "deployed"},
                      {"revision": 8, "status": "failed"}, {"revision": 9, "status": "pending-upgrade"}]))
elif sys.argv[1] == "upgrade":
    print("Release has been upgraded")
"""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 1)


@pytest.fixture
def source(tmp_path: Path) -> InputTree:
    for name, text in {
        "k8s/web.yaml": WEB,
        "k8s/notes.txt": "not a manifest",
        "one.yml": "kind: ConfigMap",
        "chart/Chart.yaml": "name: web",
        "chart/values.yaml": "tag: $IMAGE_TAG",
        "chart/prod.yaml": "replicas: $REPLICAS",
        "prod.yaml": "name: ${NAME}",
        "bad.yaml": "\udcff",
        "web-1.2.3.tgz": "a chart",
    }.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(text.encode(errors="surrogateescape"))
    (tmp_path / "source" / "empty").mkdir()
    return InputTree("Source", tmp_path / "source")


@pytest.fixture
def make_context(make_aws_context: Any, source: InputTree) -> Callable[..., ActionContext]:
    def make(variables: dict[str, str] | None = None, **fields: Any) -> ActionContext:
        context: ActionContext = make_aws_context("Deploy/EKS", **{"input_artifacts": (source,), **fields})
        declared = [EnvironmentVariable(name=name, value=value) for name, value in (variables or {}).items()]
        action = context.action.model_copy(update={"environment_variables": declared})
        object.__setattr__(context, "action", action)
        return context

    return make


@pytest.fixture
def programs(recorded_programs: Any) -> Any:
    recorded_programs.add("kubectl", KUBECTL)
    recorded_programs.add("helm", HELM)
    return recorded_programs


@pytest.fixture
def eks(aws: Any) -> dict[str, Any]:
    """A cluster of EKS."""
    made = aws("eks").create_cluster(
        name=f"shop-{uuid4().hex[:8]}",
        roleArn="arn:aws:iam::123456789012:role/eks",
        resourcesVpcConfig={"subnetIds": ["subnet-1", "subnet-2"]},
    )
    return dict(made["cluster"])


def deploy(name: str, context: ActionContext, **more: str) -> ActionResult:
    configuration = EksDeployConfiguration.model_validate({"ClusterName": name, **more})
    return call_to_its_end(deploy_to_eks, configuration, context)


HELM_MODE = {"HelmReleaseName": "web", "HelmChartLocation": "chart", "Namespace": "shop"}


def test_manifests_are_applied_and_their_workloads_rolled_out(eks, make_context, programs, caplog):
    told: list[str] = []
    context = make_context(
        {"IMAGE": "registry/app", "IMAGE_TAG": "v7"},
        report_progress=lambda **progress: told.append(progress["summary"]),
    )
    caplog.set_level("INFO")

    result = deploy(eks["name"], context, ManifestFiles="k8s, one.yml", Namespace="shop")

    applied, rollout = programs.calls()
    web, one = f"{context.scratch}/manifests/1-web.yaml", f"{context.scratch}/manifests/2-one.yml"
    command = f"kubectl apply --filename {web} --filename {one} --namespace shop --output json"
    assert str(applied) == command
    container = yaml.safe_load(applied.files[web][0])["spec"]["template"]["spec"]["containers"][0]
    assert container == {"name": "app", "image": "registry/app:v7", "args": ["$HOME"]}
    assert str(rollout).startswith("kubectl rollout status deployment/web --namespace shop --timeout ")
    assert result.output_variables == {"EKSClusterName": eks["name"]}
    assert result.summary == f"applied 3 objects to cluster '{eks['name']}', 1 rolled out"
    assert result.external_execution_id == eks["arn"]
    page = f"https://us-east-1.console.aws.amazon.com/eks/clusters/{eks['name']}?region=us-east-1"
    assert result.external_execution_url == page
    assert told == ["deploying", "rollout of Deployment 'web' in namespace 'shop' (1 of 1)"]
    assert "Applied ConfigMap 'settings' in namespace 'shop'" in caplog.text


def test_a_rollout_that_fails_says_what_its_pod_says(eks, make_context, programs):
    (programs.folder / "broken").touch()

    with pytest.raises(ActionFailed) as failed:
        deploy(eks["name"], make_context(), ManifestFiles="k8s")

    assert str(failed.value).startswith(
        "rollout of Deployment 'web' in namespace 'shop' failed with exit code 1: pod web-1, container app: "
        "ImagePullBackOff: Back-off pulling image app:v7"
    )
    assert str(programs.calls()[-1]) == "kubectl get pods --namespace shop --selector app=web --output json"
    assert failed.value.code == "JobFailed"


def test_a_chart_is_installed_with_its_values(eks, make_context, programs, source):
    context = make_context({"IMAGE_TAG": "v7", "REPLICAS": "3", "NAME": "shop"})

    result = deploy(eks["name"], context, **HELM_MODE, HelmValuesFiles="prod.yaml,../source/one.yml")

    (call,) = programs.calls()
    chart = f"{source.directory}/chart"
    values = [f"{context.scratch}/values/1-prod.yaml", f"{context.scratch}/values/2-one.yml"]
    assert str(call).startswith(
        f"helm upgrade web {chart} --install --wait --namespace shop --values {values[0]} --values {values[1]} --timeout"
    )
    assert call.argv[-2:] == ["--labels", f"codepipeline-action-execution={context.action_execution_id}"]
    assert (
        call.files[values[0]][0] == "replicas: 3"
    )  # in the folder of the chart, before that in the artifact
    assert (source.directory / "chart" / "values.yaml").read_text() == "tag: v7"
    assert result.external_execution_id == f"{eks['arn']}/web"
    assert result.summary == f"release 'web' is deployed to cluster '{eks['name']}'"


def test_a_packed_chart_is_installed(eks, make_context, programs, source):
    deploy(eks["name"], make_context(), HelmReleaseName="web", HelmChartLocation="web-1.2.3.tgz")

    assert str(programs.calls()[0]).startswith(f"helm upgrade web {source.directory}/web-1.2.3.tgz --install")


def test_the_kubeconfig_is_private_and_the_programs_see_nothing_of_the_worker(
    eks, make_context, programs, monkeypatch, caplog
):
    monkeypatch.setenv("OF_THE_WORKER", "planted")
    caplog.set_level("DEBUG")

    deploy(eks["name"], make_context(), ManifestFiles="k8s")

    for call in programs.calls():
        text, mode = call.files["KUBECONFIG"]
        config = yaml.safe_load(text)
        token_file = Path(config["users"][0]["user"]["tokenFile"])
        assert mode == "0o600"
        assert token_file.stat().st_mode & 0o777 == 0o600
        assert config["clusters"][0]["cluster"]["server"] == eks["endpoint"]
        assert not {"OF_THE_WORKER", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"} & call.environment.keys()
        assert token_file.read_text() not in f"{call} {call.environment} {caplog.text}"
        assert call.environment["HOME"].startswith(str(token_file.parent))


def test_the_token_is_a_signed_request_for_the_identity(eks, make_context, programs):
    deploy(eks["name"], make_context(), ManifestFiles="one.yml")

    config = yaml.safe_load(programs.calls()[0].files["KUBECONFIG"][0])
    token = Path(config["users"][0]["user"]["tokenFile"]).read_text()
    prefix, _, encoded = token.partition(".")
    assert prefix == "k8s-aws-v1"
    query = parse_qs(urlsplit(base64.urlsafe_b64decode(encoded + "==").decode()).query)
    assert query["Action"] == ["GetCallerIdentity"]
    assert query["X-Amz-Expires"] == ["60"]
    assert query["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
    assert query["X-Amz-Credential"][0].startswith("testing/")


def test_the_token_is_renewed_while_a_program_runs(eks, make_context, programs, monkeypatch):
    monkeypatch.setattr(cluster, "RENEW_SECONDS", 0.0)
    kubectl = """
import time
file = json.load(open(os.environ["KUBECONFIG"]))["users"][0]["user"]["tokenFile"]
first, deadline = os.stat(file).st_ino, time.time() + 5
while os.stat(file).st_ino == first and time.time() < deadline: time.sleep(0.05)
if os.stat(file).st_ino == first: sys.exit("the token is still the same")
print(json.dumps({"kind": "ConfigMap", "metadata": {"name": "settings"}}))
"""
    programs.add("kubectl", kubectl)

    assert "applied 1 objects" in deploy(eks["name"], make_context(), ManifestFiles="one.yml").summary


def save_secret(name: str, value: str) -> None:
    from prefect.blocks.system import Secret

    Secret(value=value).save(name, overwrite=True)


@pytest.mark.usefixtures("prefect_server")
def test_any_cluster_by_a_kubeconfig_in_a_secret_block(make_context, programs, aws_endpoint, caplog):
    text = "apiVersion: v1\nclusters: [{name: own}]\nusers: [{name: me, user: {token: hunter2-token}}]\n"
    save_secret("own-cluster", text)
    save_secret("not-a-config", "hunter2-other")
    programs.add("kubectl", KUBECTL + "\nprint(open(os.environ['KUBECONFIG']).read(), file=sys.stderr)")
    clusters = {"own": "own-cluster", "none": "not-there", "text": "not-a-config"}
    settings = ActionSettings(aws=AwsSettings(clusters=clusters))
    caplog.set_level("INFO")

    result = deploy("own", make_context(settings=settings), ManifestFiles="one.yml")

    assert aws_endpoint.requests == []
    assert programs.calls()[0].files["KUBECONFIG"] == [text, "0o600"]
    assert result.external_execution_id == "own"
    assert result.external_execution_url is None
    assert "token: ***" in caplog.text
    assert "hunter2" not in caplog.text
    for name, message in {
        "none": "there is no Secret block 'not-there'; create it",
        "text": "has no kubeconfig",
    }.items():
        with pytest.raises(ActionFailed, match=message) as failed:
            deploy(name, make_context(settings=settings), ManifestFiles="one.yml")
        assert failed.value.code == "ConfigurationError"
        assert "hunter2" not in str(failed.value)


def restarted(make_context: Any, programs: Any, release: dict[str, Any] | None) -> ActionContext:
    """The context of the next process after a crash; helm lists that release for this action."""
    context: ActionContext = make_context(earlier=Earlier(datetime.now(timezone.utc)))
    (programs.folder / "releases").write_text(json.dumps([release] if release else []))
    return context


@pytest.mark.parametrize(
    ("release", "undone"),
    [
        pytest.param(None, [], id="nothing was begun"),
        pytest.param({"status": "failed"}, [], id="it had failed"),
        pytest.param(
            {"status": "pending-install"}, ["helm uninstall web --namespace shop --wait"], id="install"
        ),
        pytest.param(
            {"status": "pending-upgrade"},
            [
                "helm history web --namespace shop --output json",
                "helm rollback web 7 --namespace shop --wait",
            ],
            id="upgrade",
        ),
    ],
)
def test_after_a_crash_our_own_pending_operation_is_undone(eks, make_context, programs, release, undone):
    context = restarted(make_context, programs, release)

    deploy(eks["name"], context, **HELM_MODE)

    listed, *rest = map(str, programs.calls())
    selector = f"codepipeline-action-execution={context.action_execution_id}"
    assert listed == (
        f"helm list --namespace shop --deployed --failed --pending --selector {selector} --filter ^web$ --output json"
    )
    assert rest[:-1] == undone
    assert rest[-1].startswith("helm upgrade web")


def test_a_release_that_was_deployed_before_the_crash_is_not_deployed_twice(eks, make_context, programs):
    result = deploy(eks["name"], restarted(make_context, programs, {"status": "deployed"}), **HELM_MODE)

    assert [call.argv[0] for call in programs.calls()] == ["list"]
    assert "is deployed" in result.summary


@pytest.mark.parametrize(
    ("printed", "message", "code"),
    [
        (
            "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress",
            "which is not one of this action; wait for it or, if the program that started it has ended, run "
            "`helm rollback web --namespace shop`",
            "JobFailed",
        ),
        ("Error: unknown flag: --labels", "too old; install 3.13 or newer", "ConfigurationError"),
        ("Error: UPGRADE FAILED: context deadline exceeded", "pod web-1, container app: ImagePullBackOff", "Timeout"),
        ("Error: Kubernetes cluster unreachable: x", "see that the worker reaches", "SystemUnavailable"),
        ("Error: secrets is forbidden: User x", "an access entry of EKS", "PermissionError"),
        ("Error: bad chart", "failed with exit code 1", "JobFailed"),
    ],
)  # fmt: skip
def test_what_helm_refuses(eks, make_context, programs, printed, message, code):
    programs.add("helm", f"sys.exit({printed!r})")

    with pytest.raises(ActionFailed) as failed:
        deploy(eks["name"], make_context(), **HELM_MODE)

    assert message in str(failed.value)
    assert failed.value.code == code


@pytest.mark.parametrize("mode", [HELM_MODE, {"ManifestFiles": "k8s"}], ids=["helm", "kubectl"])
def test_an_ended_action_ends_its_program_gently_and_says_what_stays(eks, make_context, programs, mode):
    stuck = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), open(folder + "/ended", "w").close(), os._exit(1)))
open(folder + "/started", "w").close()
time.sleep(60)
"""
    for name in ("helm", "kubectl"):
        programs.add(name, stuck)
    stays = "what was applied to the cluster stays" if "ManifestFiles" in mode else "see `helm status web`"
    started, ended = programs.folder / "started", programs.folder / "ended"
    for end, error in (("cancel", ActionAbandoned), ("leave", ActionInterrupted)):
        for file in (started, ended):
            file.unlink(missing_ok=True)
        context = make_context()
        stop = threading.Thread(
            target=lambda end=end, context=context: (
                until(started.exists),
                getattr(context.cancellation, end)(),
            )
        )
        stop.start()
        with pytest.raises(error) as raised:
            deploy(eks["name"], context, **mode)
        stop.join()
        assert ended.exists()
        assert (stays in str(raised.value)) == (end == "cancel")

    with pytest.raises(ActionFailed, match="ran out of time") as failed:
        deploy(eks["name"], make_context(seconds=1.5), **mode)
    assert failed.value.code == "Timeout"
    assert stays in str(failed.value)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ({}, "set ManifestFiles for kubectl, or HelmReleaseName"),
        ({**HELM_MODE, "ManifestFiles": "k8s"}, "set ManifestFiles for kubectl, or HelmReleaseName"),
        ({"HelmReleaseName": "web"}, "are needed together"),
        ({"ManifestFiles": ","}, "ManifestFiles has no name"),
        ({"ManifestFiles": "none.yaml"}, "ManifestFiles: input artifact 'Source' has no 'none.yaml'"),
        ({"ManifestFiles": "../secret"}, "has no '../secret'"),
        ({"ManifestFiles": "empty"}, "folder 'empty' has no manifests"),
        ({"ManifestFiles": "bad.yaml"}, "file 'bad.yaml' is not UTF-8 text"),
        ({**HELM_MODE, "HelmChartLocation": "none"}, "HelmChartLocation: input artifact 'Source' has no"),
        ({**HELM_MODE, "HelmValuesFiles": "none"}, "HelmValuesFiles: input artifact 'Source' has no"),
        ({**HELM_MODE, "HelmReleaseName": "--debug"}, "HelmReleaseName '--debug' must have at most 53"),
        ({"ManifestFiles": "k8s", "Namespace": "-x"}, "Namespace '-x' must have at most 63"),
    ],
)
def test_what_cannot_be_is_refused_before_a_program_runs(eks, make_context, programs, mode, message):
    with pytest.raises(ActionFailed) as failed:
        deploy(eks["name"], make_context(), **mode)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert programs.calls() == []


@pytest.mark.parametrize("mode", [HELM_MODE, {"ManifestFiles": "k8s"}], ids=["helm", "kubectl"])
def test_a_worker_without_the_program_is_named_at_once(make_context, recorded_programs, aws_endpoint, mode):
    name = "kubectl" if "ManifestFiles" in mode else "helm"

    with pytest.raises(
        ActionFailed, match=f"the program '{name}' is not on the PATH of the worker"
    ) as failed:
        deploy("shop", make_context(), **mode)

    assert failed.value.code == "ConfigurationError"
    assert aws_endpoint.requests == []


def test_a_cluster_that_is_not_there_or_not_allowed(eks, make_context, programs, aws_endpoint):
    with pytest.raises(
        ActionFailed, match="there is no EKS cluster 'none' in region us-east-1; correct"
    ) as failed:
        deploy("none", make_context(), ManifestFiles="k8s")
    assert failed.value.code == "ConfigurationError"

    aws_endpoint.faults = [Fault("GET", "/clusters/", json_refusal(403, "AccessDeniedException", "no"))]
    with pytest.raises(ActionFailed, match="AWS refused") as failed:
        deploy(eks["name"], make_context(), ManifestFiles="k8s")
    assert failed.value.code == "PermissionError"

    creating = json.dumps({"cluster": {"name": eks["name"], "status": "CREATING"}}).encode()
    aws_endpoint.faults = [Fault("GET", "/clusters/", lambda: (200, {}, creating))]
    with pytest.raises(ActionFailed, match="its status is CREATING: wait until it is ACTIVE"):
        deploy(eks["name"], make_context(), ManifestFiles="k8s")


def test_throttling_and_a_broken_connection_are_borne(eks, make_context, programs, aws_endpoint):
    aws_endpoint.faults = [
        Fault("GET", "/clusters/", json_refusal(429, "ThrottlingException")),
        Fault("GET", "/clusters/", "drop"),
    ]

    assert deploy(eks["name"], make_context(), ManifestFiles="k8s").output_variables


def test_a_network_of_aws_has_no_effect(eks, make_context, programs, caplog):
    deploy(eks["name"], make_context(), ManifestFiles="k8s", Subnets="subnet-1")

    assert "Subnets and SecurityGroupIds of action 'Act' have no effect" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"), [({"ClusterName": ""}, "at least 1"), ({"X": "1"}, "Extra inputs")]
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        EksDeployConfiguration.model_validate({"ClusterName": "shop", **change})


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl for a certificate")
def test_a_real_kubectl_reaches_the_cluster_with_this_kubeconfig(make_context, aws_endpoint, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=api"]
    subprocess.run(
        [*make, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    seen: list[str] = []

    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    described = {
        "endpoint": f"https://127.0.0.1:{server.server_port}",
        "certificateAuthority": {"data": base64.b64encode(certificate.read_bytes()).decode()},
    }
    aws_endpoint.faults = [
        Fault("GET", "/clusters/", lambda: (200, {}, json.dumps({"cluster": described}).encode()))
    ]

    found = cluster.connect(make_context(), "shop")
    command = ["kubectl", "get", "--raw", "/healthz", "--kubeconfig", str(found.kubeconfig)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    server.shutdown()
    server.server_close()

    assert ran.stdout == "ok", ran.stderr
    assert set(seen) == {f"Bearer {found.secrets[0]}"}
