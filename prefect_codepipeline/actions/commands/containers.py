"""Find a container engine for an action, pull the image, and check that the engine supports the options."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import required
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.prefect_api.block_documents import find_block

if TYPE_CHECKING:  # importing docker takes 0.2 s, which a pipeline on the host need not spend
    from docker import DockerClient
    from docker.models.containers import Container

LABEL = "prefect-codepipeline"
# What `docker.from_env` and the program `docker` read.
_ENGINE_VARIABLES = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


@dataclass(frozen=True)
class Compute:
    """Upper limits of CPUs and memory; None means no limit."""

    cpus: float | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class ContainerOptions:
    """The differences between a container and that of the Commands action.

    `as_root` runs the script as root, as CodeBuild does; afterwards the worker becomes the owner of the script's
    files. `registry_credentials` names a prefect-docker DockerRegistryCredentials block. Without `fall_back` the
    action fails if there is no engine or no image.
    """

    privileged: bool = False
    docker_socket: bool = False
    registry_credentials: str | None = None
    as_root: bool = False
    fall_back: bool = True


@dataclass(frozen=True)
class Engine:
    """A container engine that answers and has the image; `info` is the engine's description of itself.

    `mounts` are more directories of this machine for the container; the keys are the paths in the container.
    """

    client: DockerClient
    image: str
    info: dict[str, Any]
    compute: Compute
    options: ContainerOptions = ContainerOptions()
    mounts: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_rootless(self) -> bool:
        """Whether root in a container is the user who runs the engine."""
        return any("rootless" in option for option in self.info.get("SecurityOptions") or ())


@contextmanager
def container_engine(
    context: ActionContext, compute: Compute = Compute(), options: ContainerOptions = ContainerOptions()
) -> Iterator[Engine | None]:
    """The engine for the action's container, with the image pulled; None if the action runs on the host.

    If the settings request a container and there is no engine or no image, a warning in the log gives the reason why
    the action runs on the host. Containers of killed workers of this machine are removed.

    Args:
        context: its settings name the engine, the image and the limits.
        compute: the limits if the settings have none; limits above the engine's capacity are dropped.
        options: the differences from the container of the Commands action.

    Raises:
        ActionFailed: with code `ConfigurationError`, a named block does not exist, the engine does not support the
            options, or there is no engine or image and the action must not fall back to the host.
        ActionAbandoned: the execution was cancelled while the image was pulled.
    """
    if context.settings.run_on == "host":
        yield None
        return
    with _connected(context, options) as client:
        if client is None or not _has_image(client, context, options):
            yield None
            return
        remove_orphaned_containers(client)
        info = client.info()
        engine = Engine(client, context.settings.image, info, _bounds(context, compute, info), options)
        _check_supported(engine)
        yield engine


def _check_supported(engine: Engine) -> None:
    option, reason = "", ""
    if engine.options.privileged and engine.is_rootless:
        option, reason = (
            "privileged",
            "the engine runs without root, so its containers have only the rights of its user",
        )
    elif engine.options.docker_socket and not socket_of(engine):
        option, reason = (
            "docker_socket",
            f"the engine is reached at {engine.client.api.base_url}, not through a socket",
        )
    if option:
        raise ActionFailed(
            f"the project requires {option}, which container engine {engine.info.get('Name')!r} does not support: "
            f"{reason}",
            code="ConfigurationError",
        )


def socket_of(engine: Engine) -> str | None:
    """The engine's socket on this machine."""
    address = str(engine.client.api.base_url)
    path = (
        engine.client.api._custom_adapter.socket_path if address.startswith("http+docker://localhost") else ""
    )
    return str(path) or None


def remove_orphaned_containers(client: DockerClient | None = None) -> int:
    """Remove the containers of this machine's actions whose worker process is dead, and return how many.

    Args:
        client: the engine; None means the default one (DOCKER_HOST, or the local socket).
    """
    import docker
    from docker.errors import DockerException

    try:
        client = client or docker.from_env()
        found = client.containers.list(
            all=True, filters={"label": f"{LABEL}.machine={_machine()}"}, ignore_removed=True
        )
    except DockerException:
        return 0
    orphans = [each for each in found if not _is_running(each.labels.get(f"{LABEL}.process", ""))]
    for container in orphans:
        remove(container)
    return len(orphans)


@contextmanager
def _connected(context: ActionContext, options: ContainerOptions) -> Iterator[DockerClient | None]:
    import docker
    from docker.errors import DockerException

    try:
        # `from_env` equals an empty DockerHost block, without the second that importing prefect_docker takes.
        client = _named_host(context).get_client() if context.settings.docker_host else docker.from_env()
        client.ping()
    except DockerException as error:
        _fall_back_to_host(context, options, "no container engine is reachable", error)
        yield None
        return
    try:
        yield client
    finally:
        client.close()


def engine_variables(context: ActionContext) -> dict[str, str]:
    """The environment variables with which the program `docker` reaches the engine that the settings name.

    Raises:
        ActionFailed: with code `ConfigurationError`, the named block does not exist.
    """
    address = _named_host(context).base_url if context.settings.docker_host else None
    if address:
        return {"DOCKER_HOST": address}
    found = {name: os.environ[name] for name in _ENGINE_VARIABLES if os.environ.get(name)}
    if "DOCKER_TLS_VERIFY" in found:
        # By default docker looks for them in its home, which is another one here.
        found.setdefault("DOCKER_CERT_PATH", str(Path.home() / ".docker"))
    return found


def _named_host(context: ActionContext) -> Any:  # Any: prefect_docker is imported only when it is needed
    from prefect_docker.host import DockerHost

    name = str(context.settings.docker_host)
    block = required(lambda: find_block(DockerHost, name))
    if block is None:
        raise ActionFailed(
            f"the pipeline's settings name the DockerHost block {name!r}, which does not exist; "
            "create it in Prefect's UI, or leave docker_host empty for the local engine",
            code="ConfigurationError",
        )
    return block


def _has_image(client: DockerClient, context: ActionContext, options: ContainerOptions) -> bool:
    from docker.errors import DockerException, ImageNotFound

    image = context.settings.image
    try:
        client.images.get(image)
    except ImageNotFound:
        context.logger.info("Pulling image %s", image)
        error = _pull(client, context, options)
        if error:
            _fall_back_to_host(
                context, options, f"image {image!r} is not on this engine and cannot be pulled", error
            )
        return error is None
    except DockerException as error:
        _fall_back_to_host(context, options, "the container engine failed", error)
        return False
    return True


def _pull(client: DockerClient, context: ActionContext, options: ContainerOptions) -> Exception | None:
    """Pull in a thread, so that a cancellation does not wait for a registry that does not answer."""
    errors: list[Exception] = []
    credentials = _registry_credentials(options)

    def pull() -> None:
        try:
            client.images.pull(context.settings.image, auth_config=credentials)
        except Exception as error:  # any error means that there is no image
            errors.append(error)

    thread = threading.Thread(target=pull, name="pull-image", daemon=True)
    thread.start()
    while thread.is_alive():
        context.check()
        thread.join(0.1)
    return errors[0] if errors else None


def _registry_credentials(options: ContainerOptions) -> dict[str, str] | None:
    """The credentials for the registry, used for this pull only and not written to Docker's configuration."""
    if not options.registry_credentials:
        return None
    from prefect_docker.credentials import DockerRegistryCredentials

    name = options.registry_credentials
    block = required(lambda: find_block(DockerRegistryCredentials, name))
    if block is None:
        raise ActionFailed(
            f"the project names the DockerRegistryCredentials block {name!r}, which does not exist; create it in "
            "Prefect's UI, or leave registry_credentials empty",
            code="ConfigurationError",
        )
    return {"username": block.username, "password": block.password.get_secret_value()}


def _fall_back_to_host(
    context: ActionContext, options: ContainerOptions, what: str, error: Exception
) -> None:
    reason = getattr(error, "explanation", None) or error
    if not options.fall_back:
        raise ActionFailed(
            f"action {context.action.name!r} must run in a container: {what}: {reason}; start the engine or correct "
            "the image, or let the action run on the host",
            code="ConfigurationError",
        ) from error
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
    # An engine refuses a limit above the number of its CPUs.
    return Compute(
        cpus if cpus and cpus < info["NCPU"] else None,
        memory_mib if memory_mib and memory_mib < machine_mib else None,
    )


def labels(context: ActionContext) -> dict[str, str]:
    """The labels that identify the worker process, the pipeline and the action of a container."""
    return {
        f"{LABEL}.machine": _machine(),
        f"{LABEL}.process": f"{os.getpid()} {_start_time(os.getpid())}",
        f"{LABEL}.pipeline": context.pipeline_name,
        f"{LABEL}.pipeline-execution": context.pipeline_execution_id,
        f"{LABEL}.action": f"{context.stage_name}/{context.action.name}",
        f"{LABEL}.action-execution": context.action_execution_id,
    }


def remove(container: Container) -> None:
    """Remove a container, even if it is running."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    # A container that cannot be removed now is removed later as an orphan.
    with suppress(DockerException, RequestException):
        container.remove(force=True, v=True)


def _machine() -> str:
    """An id of this machine since its last boot, and of the process id namespace on it."""
    names = [socket.gethostname()]
    if sys.platform == "linux":
        names += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            os.readlink("/proc/self/ns/pid"),
        ]
    return " ".join(names)


def _is_running(process: str) -> bool:
    identifier, _, start_time = process.partition(" ")
    return identifier.isdigit() and _start_time(int(identifier)) == start_time


def _start_time(process: int) -> str:
    """The start time of a process in kernel ticks; "-" on systems without it, "" if there is no such process."""
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
