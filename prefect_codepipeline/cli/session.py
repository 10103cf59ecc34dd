"""What every verb needs: a server to talk to, a console to print on, and arguments taken apart."""

from __future__ import annotations

import getpass
import logging
import os
import socket
import sys
from collections.abc import Sequence

from rich.console import Console

from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable

# A pipe has no width: what is cut to a terminal would be lost to a program.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 1000)


def connect() -> str:
    """Point this process at a Prefect server: the configured one, else the embedded one. Its API's URL.

    Raises:
        PrefectUnavailable: there is neither; says how to get one.
    """
    from prefect_codepipeline.deployments.local import embedded
    from prefect_codepipeline.deployments.local.api_url import configured_api_url

    if url := configured_api_url():
        use(url)
        return url
    if found := embedded.find():
        use(found.api_url)
        return found.api_url
    raise PrefectUnavailable(
        "there is no Prefect server to talk to: start the embedded one with `codepipeline up`, "
        "or set PREFECT_API_URL to your own"
    )


def use(api_url: str) -> None:
    """Point this process at a Prefect API, and keep Prefect's own log lines off the terminal."""
    from prefect_codepipeline.deployments.local.api_url import point_at

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    # It counts at the end of the process what it still sends, which says nothing to people.
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    point_at(api_url)


def pairs(arguments: Sequence[str], option: str) -> dict[str, str]:
    """`["K=V", ...]` as a mapping. Raises `CodePipelineError` for what is no pair, or is given twice."""
    found: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise CodePipelineError(f"{option} takes NAME=VALUE, got {argument!r}")
        if key in found:
            raise CodePipelineError(f"{option} {key} is given twice")
        found[key] = value
    return found


def who() -> str:
    """The person at this terminal, as `name@host`."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def read_secret(prompt: str, from_stdin: bool) -> str:
    """A secret from the standard input or typed without an echo. Raises `CodePipelineError` when it is empty."""
    value = sys.stdin.readline() if from_stdin or not sys.stdin.isatty() else getpass.getpass(f"{prompt}: ")
    if not value.strip():
        raise CodePipelineError(f"{prompt}: nothing was given")
    return value.strip()
