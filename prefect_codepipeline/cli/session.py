"""What the commands share: the connection to a Prefect server, the console, and parsing of arguments."""

from __future__ import annotations

import getpass
import json
import logging
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable
from prefect_codepipeline.model.printable import printable

if TYPE_CHECKING:
    from prefect_codepipeline.model.definition.action_types import ActionType
    from prefect_codepipeline.model.definition.declaration import ActionTypeId

# Definitions can be checked without a server.
_LOOK_SECONDS = 5.0


# A pipe has no width: text cut to a terminal's width would be lost for the reading program.
class _Console(Console):
    """A console for texts of strangers: what is not visible is left out, so that no text can control the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text, kept="\n\t")
            yield segment._replace(text=text)


console = _Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 1000)


def print_whole(view: RenderableType) -> None:
    """Print a tree or a table whose texts are wrapped at the width of the terminal, never cut off."""
    console.print(view, soft_wrap=False)


def connect() -> str:
    """Point this process at a Prefect server: the configured one, else the embedded one. Returns the API URL.

    Raises:
        PrefectUnavailable: neither exists; the message says how to start one.
    """
    from prefect_codepipeline.deployments.local.api_url import configured_api_url

    if url := configured_api_url():
        use(url)
        return url
    from prefect_codepipeline.deployments.local import embedded

    if found := embedded.find():
        use(found.api_url, found.profiles)
        return found.api_url
    raise PrefectUnavailable(
        "no Prefect server is available: start the embedded one with `codepipeline up`, "
        "or set PREFECT_API_URL to your own"
    )


def find_own_type(kind: ActionTypeId) -> ActionType | None:
    """The action type that job workers serve, as the server knows it; None without a server."""
    from prefect_codepipeline.actions.catalog import built_in_action_types
    from prefect_codepipeline.engine.jobs.action_types import find_row
    from prefect_codepipeline.prefect_api.client import within, without_starting_a_server

    if kind in built_in_action_types():
        return None
    try:
        connect()
        with without_starting_a_server(), within(_LOOK_SECONDS):
            return find_row(kind)
    except PrefectUnavailable:
        return None


def use(api_url: str, profiles: Path | None = None) -> None:
    """Point this process at a Prefect API, and keep Prefect's own log lines off the terminal.

    `profiles` is the file with the secret of an embedded server.
    """
    from prefect_codepipeline.deployments.local.api_url import point_at

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    # At the end of the process, EventsWorker logs how many events it still sends. This does not help users.
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    point_at(api_url, profiles)


def pairs(arguments: Sequence[str], option: str) -> dict[str, str]:
    """`["K=V", ...]` as a mapping. Raises `CodePipelineError` for an argument that is not a pair, or a repeated key."""
    found: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise CodePipelineError(f"{option} takes NAME=VALUE, got {argument!r}")
        if key in found:
            raise CodePipelineError(f"{option} {key} is given twice")
        found[key] = value
    return found


def job_variables(arguments: Sequence[str]) -> dict[str, Any]:
    """`["K=V", ...]` as Prefect's job variables: a value that is JSON is read as JSON."""
    from prefect_codepipeline.model.definition.action_settings import check_json

    found: dict[str, Any] = {}
    for key, text in pairs(arguments, "--job-variable").items():
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    try:
        check_json(found)
    except ValueError as error:
        raise CodePipelineError(f"--job-variable: {error}") from None
    return found


def who() -> str:
    """The user of this terminal, as `name@host`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def read_secret(prompt: str, from_stdin: bool, *, all_lines: bool = False) -> str:
    """A secret from the standard input, or typed without an echo. Raises `CodePipelineError` if it is empty.

    From the standard input it is the next line or, with `all_lines`, everything: a secret may be a file.
    """
    if from_stdin or not sys.stdin.isatty():
        value = sys.stdin.read() if all_lines else sys.stdin.readline()
    else:
        value = getpass.getpass(f"{prompt}: ")
    if not value.strip():
        raise CodePipelineError(f"{prompt}: the value is empty")
    return value.strip()
