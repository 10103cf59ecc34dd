"""Apply manifests with kubectl, and wait until what they describe runs.

https://kubernetes.io/docs/reference/kubectl/generated/kubectl_apply/
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.commands.failures import last_lines
from prefect_codepipeline.actions.commands.programs import Programs, Ran
from prefect_codepipeline.errors import ActionFailed

# Left for the question why something does not run.
SPARE_SECONDS = 20
_ROLLED_OUT = ("Deployment", "DaemonSet", "StatefulSet")
_STARTING = ("ContainerCreating", "PodInitializing")
_TIMED_OUT = re.compile(r"timed out waiting|deadline exceeded", re.I)
# What the output means: the code of the failure, and what to do.
_REASONS = (
    (
        re.compile(r"Unauthorized|Forbidden|forbidden|must be logged in|provide credentials"),
        "PermissionError",
        "; allow it in the cluster: an access entry of EKS, or a role of Kubernetes",
    ),
    (
        re.compile(
            r"connection refused|no such host|i/o timeout|TLS handshake timeout|unable to connect|"
            r"Unable to connect|unreachable|certificate signed by unknown"
        ),
        "SystemUnavailable",
        "; see that the worker reaches the cluster's endpoint",
    ),
)


def apply(programs: Programs, files: Sequence[Path], namespace: str | None) -> list[Mapping[str, Any]]:
    """Apply manifests, and return the objects as the cluster has them.

    Raises:
        ActionFailed: the cluster refused one of them; those before it stay.
    """
    named = [argument for file in files for argument in ("--filename", str(file))]
    command = ["kubectl", "apply", *named, *in_namespace(namespace), "--output", "json"]
    ran = programs.run(command, programs.context.scratch, captured=True)
    if ran.code:
        raise failure("kubectl apply", ran)
    try:
        answer = json.loads(ran.output)
    except ValueError:
        raise ActionFailed("kubectl apply did not print JSON; install kubectl 1.20 or newer") from None
    objects: list[Mapping[str, Any]] = answer["items"] if answer.get("kind") == "List" else [answer]
    for each in objects:
        programs.context.logger.info("Applied %s", _name(each))
    return objects


def roll_out(programs: Programs, objects: Sequence[Mapping[str, Any]]) -> int:
    """Wait until the workloads among the objects run in their new form, and return how many these are.

    Raises:
        ActionFailed: one of them does not; the message says why, from its pods.
    """
    context = programs.context
    workloads = [each for each in objects if _is_rolled_out(each)]
    for number, each in enumerate(workloads):
        context.report_progress(
            summary=f"rollout of {_name(each)} ({number + 1} of {len(workloads)})",
            percent=20 + 80 * number // len(workloads),
        )
        seconds = max(1, int(context.remaining_seconds) - SPARE_SECONDS)
        place = in_namespace(each["metadata"].get("namespace"))
        resource = f"{each['kind'].lower()}/{each['metadata']['name']}"
        command = ["kubectl", "rollout", "status", resource, *place, "--timeout", f"{seconds}s"]
        ran = programs.run(command, context.scratch)
        if ran.code:
            labels = each.get("spec", {}).get("selector", {}).get("matchLabels", {})
            raise failure(f"rollout of {_name(each)}", ran, why_not(programs, labels, place))
    return len(workloads)


def why_not(programs: Programs, labels: Mapping[str, str], place: Sequence[str]) -> str:
    """Why pods with these labels do not run, as a part of a message; empty if that is not known."""
    if not labels or shutil.which("kubectl") is None:
        return ""
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    command = ["kubectl", "get", "pods", *place, "--selector", selector, "--output", "json"]
    ran = programs.run(command, programs.context.scratch, captured=True)
    try:
        pods = json.loads(ran.output).get("items", ()) if ran.code == 0 else ()
    except ValueError:
        return ""
    return next((f": {reason}" for pod in pods for reason in _reasons(pod)), "")


def failure(doing: str, ran: Ran, cause: str = "") -> ActionFailed:
    """The failure of a program, with the cause if it is known, and what to do."""
    code, advice = next(
        ((code, advice) for pattern, code, advice in _REASONS if pattern.search(ran.text)), ("JobFailed", "")
    )
    if code == "JobFailed" and _TIMED_OUT.search(ran.text):
        code = "Timeout"
    return ActionFailed(
        f"{doing} failed with exit code {ran.code}{cause}{advice}{last_lines(ran.tail)}", code=code
    )


def in_namespace(namespace: str | None) -> list[str]:
    """The arguments of kubectl and helm for a namespace."""
    return ["--namespace", namespace] if namespace else []


def _is_rolled_out(each: Mapping[str, Any]) -> bool:
    if each.get("kind") not in _ROLLED_OUT or not str(each.get("apiVersion", "")).startswith("apps/"):
        return False
    # kubectl cannot wait for what is replaced by hand.
    return bool(each.get("spec", {}).get("updateStrategy", {}).get("type") != "OnDelete")


def _reasons(pod: Mapping[str, Any]) -> Iterator[str]:
    status, name = pod.get("status", {}), pod.get("metadata", {}).get("name", "")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield f"pod {name} is not scheduled: {condition.get('message') or condition.get('reason')}"
    for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = each.get("state", {})
        stopped = state.get("waiting") or state.get("terminated") or {}
        reason = stopped.get("reason")
        if reason and reason not in (*_STARTING, "Completed"):
            said = ": ".join(filter(None, (reason, stopped.get("message"))))
            yield f"pod {name}, container {each.get('name')}: {said}"


def _name(each: Mapping[str, Any]) -> str:
    meta = each.get("metadata", {})
    where = f" in namespace {meta['namespace']!r}" if meta.get("namespace") else ""
    return f"{each.get('kind')} {meta.get('name')!r}{where}"
