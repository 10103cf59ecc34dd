"""Run a shell script in a container, which ends with it and with the process that started it."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.tasks.processes import OnOutput, Script, follow_output, shell_command
from prefect_codepipeline.tasks.registry import ActionContext

if TYPE_CHECKING:  # importing docker takes 0.2 s, which a pipeline on the host need not spend
    from docker import DockerClient
    from docker.models.containers import Container

LABEL = "prefect-codepipeline"
# Without these, root in the container still does what builds do as root: install packages, change owners and users.
DROPPED_CAPABILITIES = ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP"]

# Standard input is the lifeline: a line on it asks for the end, and the engine closes it when its client dies.
# When this shell ends the container does, and the kernel ends whatever else is in it.
_WRAPPER = """trap : TERM
exec 8<&0 </dev/null
{ if read -r _ <&8; then kill -TERM -1; sleep 2; fi; kill -KILL -1; } >/dev/null 2>&1 &
shell=$(command -v bash || command -v sh)
shift; "$shell" "$@" 8<&-
exit "$?"
"""
_GRACE_SECONDS = 4.0
_REMOTE = (
    "it is remote and does not see this worker's files; use an engine on the worker's own machine, through its "
    "socket, or run the action on the host"
)


@dataclass(frozen=True)
class Compute:
    """CPUs and memory as upper bounds; None is no bound."""

    cpus: float | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class Engine:
    """A container engine that answers and has the image; `info` is what it says of itself."""

    client: DockerClient
    image: str
    info: dict[str, Any]
    compute: Compute


@contextmanager
def container_engine(context: ActionContext, compute: Compute = Compute()) -> Iterator[Engine | None]:
    """The engine for the action's container, its image at hand; None when the action runs on the host.

    When the settings want a container and there is no engine or no image, a warning in the log says why it is the
    host. Containers that a worker of this machine left behind when it was killed are removed.

    Args:
        context: its settings name the engine, the image and the limits.
        compute: the bounds where the settings have none and the engine's machine has more.

    Raises:
        ActionFailed: with code `ConfigurationError`, the DockerHost block named in the settings does not exist.
        ActionAbandoned: the execution was cancelled while the image was pulled.
    """
    if context.settings.run_on == "host":
        yield None
        return
    with _connected(context) as client:
        if client is None or not _has_image(client, context):
            yield None
            return
        remove_orphaned_containers(client)
        info = client.info()
        yield Engine(client, context.settings.image, info, _bounds(context, compute, info))


def run_in_container(engine: Engine, script: Script, on_output: OnOutput, context: ActionContext) -> int:
    """Run a shell script in a container of its own and return its exit code, as `run_on_host` does.

    The input trees and the scratch directory are mounted where they are on the host, and the script runs as the
    worker's own user, so that its files are the worker's. The container is gone when this returns or raises; when
    this process is killed it stops at once, and `remove_orphaned_containers` clears it away.

    Raises:
        ActionFailed: with code `Timeout`, the deadline came first; `JobFailed`, the memory was not enough;
            `ConfigurationError`, the engine does not see this machine's files or cannot run the image;
            `InternalError`, the engine went away.
        ActionAbandoned: the execution was cancelled.
    """
    if engine.client.api.base_url.startswith(("https:", "http+docker://ssh")):
        raise ActionFailed(_cannot_run(engine, _REMOTE), code="ConfigurationError")
    with _translated_errors(engine), _created(engine, script, context) as container:
        lifeline = _attach(engine, container)
        try:
            container.start()
            _follow(lifeline, on_output, context)
            code = int(container.wait()["StatusCode"])
        finally:
            lifeline.close()
        if code:
            _check_memory(container, engine)
        return code


def remove_orphaned_containers(client: DockerClient | None = None) -> int:
    """Remove the containers of this machine's actions whose worker process is dead, and return how many.

    Args:
        client: the engine; the default one (DOCKER_HOST, or the local socket) when None.
    """
    from docker.errors import DockerException
    from prefect_docker.host import DockerHost

    try:
        client = client or DockerHost().get_client()
        found = client.containers.list(
            all=True, filters={"label": f"{LABEL}.machine={_machine()}"}, ignore_removed=True
        )
    except DockerException:
        return 0
    orphans = [each for each in found if not _is_running(each.labels.get(f"{LABEL}.process", ""))]
    for container in orphans:
        _remove(container)
    return len(orphans)


@contextmanager
def _connected(context: ActionContext) -> Iterator[DockerClient | None]:
    from docker.errors import DockerException
    from prefect_docker.host import DockerHost

    host = _named_host(context) if context.settings.docker_host else DockerHost()
    try:
        client = host.get_client()
    except DockerException as error:
        _say_host(context, "no container engine answers", error)
        yield None
        return
    try:
        yield client
    finally:
        client.close()


def _named_host(context: ActionContext) -> Any:  # Any: prefect_docker is imported only when it is needed
    from prefect_docker.host import DockerHost

    name = str(context.settings.docker_host)
    try:
        return DockerHost.load(name)
    except ValueError:
        raise ActionFailed(
            f"the pipeline's settings name the DockerHost block {name!r}, which does not exist; "
            "create it in Prefect's UI, or leave docker_host empty for the local engine",
            code="ConfigurationError",
        ) from None


def _has_image(client: DockerClient, context: ActionContext) -> bool:
    from docker.errors import DockerException, ImageNotFound

    image = context.settings.image
    try:
        client.images.get(image)
    except ImageNotFound:
        context.logger.info("Pulling image %s", image)
        error = _pull(client, context)
        if error:
            _say_host(context, f"image {image!r} is not there and cannot be pulled", error)
        return error is None
    except DockerException as error:
        _say_host(context, "the container engine fails", error)
        return False
    return True


def _pull(client: DockerClient, context: ActionContext) -> Exception | None:
    """Pull in a thread, so that a cancellation need not wait for a registry that does not answer."""
    errors: list[Exception] = []

    def pull() -> None:
        try:
            client.images.pull(context.settings.image)
        except Exception as error:  # whatever it is, there is no image
            errors.append(error)

    thread = threading.Thread(target=pull, name="pull-image", daemon=True)
    thread.start()
    while thread.is_alive():
        context.check()
        thread.join(0.1)
    return errors[0] if errors else None


def _say_host(context: ActionContext, what: str, error: Exception) -> None:
    reason = getattr(error, "explanation", None) or error
    context.logger.warning(
        "Action %r runs on the host, without the limits and the network setting of a container: %s: %s",
        context.action.name,
        what,
        reason,
    )


def _bounds(context: ActionContext, compute: Compute, info: dict[str, Any]) -> Compute:
    settings, machine_mib = context.settings, info["MemTotal"] // 2**20
    cpus = settings.cpus or compute.cpus
    memory_mib = settings.memory_mib or compute.memory_mib
    # The engine refuses more CPUs than it has.
    return Compute(
        cpus if cpus and cpus < info["NCPU"] else None,
        memory_mib if memory_mib and memory_mib < machine_mib else None,
    )


@contextmanager
def _created(engine: Engine, script: Script, context: ActionContext) -> Iterator[Container]:
    from docker.types import LogConfig, Mount

    directories = {context.scratch, *(artifact.directory for artifact in context.input_artifacts)}
    bounds = engine.compute
    memory = f"{bounds.memory_mib}m" if bounds.memory_mib else None
    container = engine.client.containers.create(
        engine.image,
        entrypoint=["sh", "-c", _WRAPPER, "sh"],
        command=shell_command("sh", script),
        environment=dict(script.environment),
        working_dir=str(script.directory),
        user=_user(engine),
        # Unlike a volume of the form a:b, a mount is refused when the engine does not have the directory.
        mounts=[Mount(str(path), str(path), type="bind") for path in sorted(directories)],
        labels=_labels(context),
        nano_cpus=int(bounds.cpus * 1e9) if bounds.cpus else None,
        mem_limit=memory,
        memswap_limit=memory,
        network_mode=None if context.settings.network else "none",
        security_opt=["no-new-privileges", "label=disable"],
        cap_drop=DROPPED_CAPABILITIES,
        log_config=LogConfig(type="none"),
        init=True,
        stdin_open=True,
        tty=False,
    )
    try:
        context.logger.info("Running in container %s of image %s", container.short_id, engine.image)
        yield container
    finally:
        _remove(container)


def _user(engine: Engine) -> str:
    # In a rootless engine the container's root is the user whose engine it is.
    rootless = any("rootless" in option for option in engine.info.get("SecurityOptions") or ())
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def _labels(context: ActionContext) -> dict[str, str]:
    return {
        f"{LABEL}.machine": _machine(),
        f"{LABEL}.process": f"{os.getpid()} {_started(os.getpid())}",
        f"{LABEL}.pipeline": context.pipeline_name,
        f"{LABEL}.pipeline-execution": context.pipeline_execution_id,
        f"{LABEL}.action": f"{context.stage_name}/{context.action.name}",
        f"{LABEL}.action-execution": context.action_execution_id,
    }


def _attach(engine: Engine, container: Container) -> Any:  # Any: a socket or what looks like one
    # Before the start, or the first and the last of the output may be lost.
    return engine.client.api.attach_socket(container.id, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})


def _follow(lifeline: Any, on_output: OnOutput, context: ActionContext) -> None:
    on_frames = _frames(on_output)
    try:
        follow_output(lifeline.fileno(), on_frames, context.check, lambda: False)
    except ActionFailed:
        os.write(lifeline.fileno(), b"end\n")
        patience = time.monotonic() + _GRACE_SECONDS
        follow_output(lifeline.fileno(), on_frames, lambda: None, lambda: time.monotonic() > patience)
        raise


def _frames(on_output: OnOutput) -> OnOutput:
    """Take the engine's stream apart: a byte that names the stream, three of nothing, the length, the output."""
    buffer = bytearray()

    def receive(chunk: bytes) -> None:
        buffer.extend(chunk)
        while len(buffer) >= 8:
            end = 8 + struct.unpack(">I", buffer[4:8])[0]
            if len(buffer) < end:
                break
            on_output(bytes(buffer[8:end]))
            del buffer[:end]
        on_output(b"")

    return receive


def _check_memory(container: Container, engine: Engine) -> None:
    container.reload()
    if container.attrs["State"]["OOMKilled"]:
        limit = (
            f"its limit of {engine.compute.memory_mib} MiB" if engine.compute.memory_mib else "all there is"
        )
        raise ActionFailed(
            f"the container ran out of memory: a process used more than {limit}; raise memory_mib in the "
            "pipeline's settings, or ComputeType"
        )


def _remove(container: Container) -> None:
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    # One that cannot be removed now is an orphan later.
    with suppress(DockerException, RequestException):
        container.remove(force=True, v=True)


@contextmanager
def _translated_errors(engine: Engine) -> Iterator[None]:
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        unseen = "bind source path does not exist" in str(error)
        reason = _REMOTE if unseen else str(error.explanation or error)
        raise ActionFailed(_cannot_run(engine, reason), code="ConfigurationError") from error
    except (DockerException, RequestException) as error:
        raise ActionFailed(
            f"container engine {engine.info.get('Name')!r} went away while the action ran: {error}",
            code="InternalError",
        ) from error


def _cannot_run(engine: Engine, reason: str) -> str:
    return f"container engine {engine.info.get('Name')!r} cannot run image {engine.image!r}: {reason}"


def _machine() -> str:
    """This machine since its last start, and within it the set of process ids that are ours."""
    names = [socket.gethostname()]
    if sys.platform == "linux":
        names += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            os.readlink("/proc/self/ns/pid"),
        ]
    return " ".join(names)


def _is_running(process: str) -> bool:
    identifier, _, started = process.partition(" ")
    return identifier.isdigit() and _started(int(identifier)) == started


def _started(process: int) -> str:
    """When a process started, in the kernel's ticks; "-" where that cannot be known, "" when there is none."""
    if sys.platform == "linux":
        with suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
            return "" if fields[0] == b"Z" else fields[19].decode()
        return ""
    try:
        os.kill(process, 0)
    except OSError:
        return ""
    return "-"
