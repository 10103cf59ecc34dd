"""Run a shell script in a container that ends with the script, or with the process that started it."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_codepipeline.actions.commands.container_copy import copy_in, copy_out
from prefect_codepipeline.actions.commands.container_stream import readable, send
from prefect_codepipeline.actions.commands.containers import Engine, labels, remove, socket_of
from prefect_codepipeline.actions.commands.processes import OnOutput, Script, follow_output, shell_command
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

if TYPE_CHECKING:  # importing docker takes 0.2 s, which a pipeline on the host need not spend
    from docker.models.containers import Container

# Without these, root in the container still does what builds do as root: install packages, change owners and users.
DROPPED_CAPABILITIES = ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP"]

# Standard input is the lifeline: a line on it requests the end, and the engine closes it when its client dies.
# When this shell ends, the container ends, and the kernel kills all other processes in it.
# Output and errors share one pipe, as on the host: engines do not keep the order between two pipes.
_WRAPPER = """trap : TERM
exec 8<&0 </dev/null
{ if read -r _ <&8; then kill -TERM -1; sleep 2; fi; kill -KILL -1; } >/dev/null 2>&1 &
shell=$(command -v bash || command -v sh)
shift; "$shell" "$@" 8<&- 2>&1
exit "$?"
"""
_GRACE_SECONDS = 4.0
# The errors of engines for a directory that they cannot see.
_UNSEEN = ("bind source path does not exist", "mounts denied", "is not shared from the host")


def run_in_container(engine: Engine, script: Script, on_output: OnOutput, context: ActionContext) -> int:
    """Run a shell script in a new container and return its exit code, like `run_on_host`.

    The input trees and the scratch directory are mounted at their paths on the host, and the script runs as the
    worker's own user, so that its files belong to the worker. An engine that cannot see this machine's files gets
    copies, which are copied back when the script has ended. The container is removed before this function returns or
    raises. If this process is killed, the container stops at once, and `remove_orphaned_containers` removes it later.

    Raises:
        ActionFailed: with code `Timeout`, the deadline passed; `JobFailed`, the container ran out of memory;
            `ConfigurationError`, the engine cannot run the image; `InternalError`, the connection to the engine broke.
        ActionAbandoned: the execution was cancelled.
    """
    from docker.errors import APIError

    with _translated_errors(engine):
        try:
            return _run_with_mounts(engine, script, on_output, context)
        except APIError as error:
            if not any(text in str(error) for text in _UNSEEN):
                raise
        context.logger.info("The container engine cannot see this machine's files, so they are copied")
        return _run_with_copies(engine, script, on_output, context)


def _run_with_mounts(engine: Engine, script: Script, on_output: OnOutput, context: ActionContext) -> int:
    created_container = False
    try:
        with _script_container(engine, script, context, directories_of(engine, context)) as container:
            created_container = True
            return _run(engine, container, on_output, context)
    finally:
        if created_container:
            _restore_ownership(engine, context)


def _run_with_copies(engine: Engine, script: Script, on_output: OnOutput, context: ActionContext) -> int:
    directories = directories_of(engine, context)
    owner = (0, 0) if engine.options.as_root else (os.getuid(), os.getgid())
    with _script_container(engine, script, context, {}) as container:
        _copy_in(container, directories, owner)
        code = _run(engine, container, on_output, context)
        copy_out(container, directories, partial(context.logger.warning, "%s"))
        return code


def _copy_in(container: Container, directories: Mapping[str, Path], owner: tuple[int, int]) -> None:
    try:
        copy_in(container, directories, owner)
    except OSError as error:
        raise ActionFailed(
            f"{error.filename or 'a file'} cannot be copied to the container: {error.strerror or error}"
        ) from error


def directories_of(engine: Engine, context: ActionContext) -> dict[str, Path]:
    """The directories of this machine that the container needs, by their paths in the container."""
    own = {context.scratch, *(artifact.directory for artifact in context.input_artifacts)}
    return {**{str(path): path for path in own}, **engine.mounts}


def _run(engine: Engine, container: Container, on_output: OnOutput, context: ActionContext) -> int:
    lifeline = attached(engine, container)
    try:
        container.start()
        with readable(lifeline) as output:
            _follow(lifeline, output, on_output, context)
        code = int(container.wait()["StatusCode"])
    finally:
        lifeline.close()
    if code:
        _check_memory(container, engine)
    return code


@contextmanager
def _script_container(
    engine: Engine, script: Script, context: ActionContext, directories: Mapping[str, Path]
) -> Iterator[Container]:
    """Create the container of a script, without starting it."""
    command = ["sh", "-c", _WRAPPER, "sh", *shell_command("sh", script)]
    with created(engine, command, script.environment, script.directory, context, directories) as container:
        context.logger.info("Running in container %s of image %s", container.short_id, engine.image)
        yield container


@contextmanager
def created(
    engine: Engine,
    command: Sequence[str],
    environment: Mapping[str, str],
    working_directory: Path,
    context: ActionContext,
    directories: Mapping[str, Path],
    *,
    tty: bool = False,
) -> Iterator[Container]:
    """Create a container without starting it, and remove it at the end of the block.

    `directories` are mounted; the keys are the paths in the container.
    """
    from docker.types import LogConfig, Mount

    mounts = dict(directories)
    if engine.options.docker_socket:
        mounts["/var/run/docker.sock"] = Path(socket_of(engine) or "")
    bounds, as_root = engine.compute, engine.options.as_root
    memory = f"{bounds.memory_mib}m" if bounds.memory_mib else None
    container = engine.client.containers.create(
        engine.image,
        entrypoint=command[:1],
        command=command[1:],
        environment=dict(environment),
        working_dir=str(working_directory),
        user=_user(engine),
        # Unlike a volume of the form a:b, a mount is refused if the engine cannot see the directory.
        mounts=[Mount(place, str(path), type="bind") for place, path in sorted(mounts.items())],
        labels=labels(context),
        nano_cpus=int(bounds.cpus * 1e9) if bounds.cpus else None,
        mem_limit=memory,
        memswap_limit=memory,
        network_mode=None if context.settings.network else "none",
        # A script that runs as root may also switch users with sudo, which no-new-privileges prevents.
        security_opt=["label=disable"] if as_root else ["no-new-privileges", "label=disable"],
        cap_drop=[] if engine.options.privileged else DROPPED_CAPABILITIES,
        privileged=engine.options.privileged,
        log_config=LogConfig(type="none"),
        init=True,
        stdin_open=True,
        tty=tty,
    )
    try:
        yield container
    finally:
        remove(container)


def _user(engine: Engine) -> str:
    return "0:0" if engine.is_rootless or engine.options.as_root else f"{os.getuid()}:{os.getgid()}"


def _restore_ownership(engine: Engine, context: ActionContext) -> None:
    """Make the worker the owner of the files that root wrote in the container, so that it can store and remove them."""
    if not engine.options.as_root or engine.is_rootless or os.getuid() == 0:
        return
    from docker.errors import DockerException
    from docker.types import Mount
    from requests.exceptions import RequestException

    own = [
        context.scratch,
        *(artifact.directory for artifact in context.input_artifacts),
        *engine.mounts.values(),
    ]
    try:
        container = engine.client.containers.create(
            engine.image,
            entrypoint=["chown", "-hR", f"{os.getuid()}:{os.getgid()}", *map(str, own)],
            user="0:0",
            mounts=[Mount(str(path), str(path), type="bind") for path in own],
            labels=labels(context),
            network_mode="none",
        )
        try:
            container.start()
            container.wait()
        finally:
            remove(container)
    except (DockerException, RequestException) as error:  # must not hide the result of the build
        context.logger.warning(
            "The owner of the files that root wrote in the container could not be changed: %s", error
        )


def attached(engine: Engine, container: Container) -> Any:  # Any: a socket or what looks like one
    """The stream to and from a container."""
    # Attach before the start, or the first and the last output may be lost.
    return engine.client.api.attach_socket(container.id, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})


def _follow(lifeline: Any, output: int, on_output: OnOutput, context: ActionContext) -> None:
    on_frames = frames(on_output)
    try:
        follow_output(output, on_frames, context.check, lambda: False)
    except ActionFailed:
        send(lifeline, b"end\n")
        patience = time.monotonic() + _GRACE_SECONDS
        follow_output(output, on_frames, lambda: None, lambda: time.monotonic() > patience)
        raise


def frames(on_output: OnOutput) -> OnOutput:
    """Decode the frames of the engine's stream: a byte for the stream, three zero bytes, the length, the output."""
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
            f"its limit of {engine.compute.memory_mib} MiB"
            if engine.compute.memory_mib
            else "the available memory"
        )
        raise ActionFailed(
            f"the container ran out of memory: its processes used more than {limit}; raise memory_mib in the "
            "pipeline's settings, or ComputeType"
        )


@contextmanager
def _translated_errors(engine: Engine) -> Iterator[None]:
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        reason = str(error.explanation or error)
        raise ActionFailed(_cannot_run(engine, reason), code="ConfigurationError") from error
    except (DockerException, RequestException) as error:
        raise ActionFailed(
            f"the connection to container engine {engine.info.get('Name')!r} failed while the action ran: {error}",
            code="InternalError",
        ) from error


def _cannot_run(engine: Engine, reason: str) -> str:
    return f"container engine {engine.info.get('Name')!r} cannot run image {engine.image!r}: {reason}"
