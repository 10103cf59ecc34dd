"""`codepipeline run`: run a pipeline in the foreground, with the configured Prefect server or a private one."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from prefect_codepipeline.cli.output import print_json
from prefect_codepipeline.cli.parameters import AsJson, SourceRevisions, Variables
from prefect_codepipeline.cli.session import console, find_own_type, pairs, use, who

if TYPE_CHECKING:
    from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
    from prefect_codepipeline.deployments.checking.runnable import Runnable
    from prefect_codepipeline.engine.executions.lookup import KnownExecution


def run(
    file: Path,
    *,
    variable: Variables = [],  # noqa: B006
    source_revision: SourceRevisions = [],  # noqa: B006
    approve: bool = False,
    json: AsJson = False,
) -> int:
    """Run a pipeline on this machine, in the foreground. Exits with 0 only if it succeeds.

    Parameters
    ----------
    file:
        The definition in JSON or YAML; it is not deployed.
    approve:
        Approve everything without asking.
    """
    from prefect_codepipeline.actions.commands.hidden_environment import hide_environment
    from prefect_codepipeline.deployments.checking.files import read_runnable
    from prefect_codepipeline.deployments.files.settings import read_settings_beside

    hide_environment()
    console.stderr = json  # so that the output is JSON only
    variables = pairs(variable, "--variable")
    revisions = pairs(source_revision, "--source-revision")
    runnable = read_runnable(file, find_own_type)
    settings = read_settings_beside(file, runnable.declaration)
    server, is_private = _server()
    with server as found:
        use(*found)
        if found[1] is None:
            _open_sockets()
        _prepare(file, runnable, settings, is_private)
        from prefect_codepipeline.cli.executions.as_json import execution_as_json
        from prefect_codepipeline.cli.executions.watch import exit_code
        from prefect_codepipeline.deployments.local.foreground import create_run
        from prefect_codepipeline.prefect_api.ui import run_url

        flow_run = create_run(runnable, variables, revisions, who(), settings)
        console.print(Text(f"{runnable.declaration.name}: execution {flow_run.id}"))
        console.print(Text(f"in Prefect's UI: {run_url(str(flow_run.id))}"))
        ended = _run_and_display(flow_run, runnable.declaration.name, approve, for_people=not json)
        if json:
            print_json(execution_as_json(ended))
        return exit_code(ended)


def _prepare(file: Path, runnable: Runnable, settings: PipelineSettings | None, is_private: bool) -> None:
    """Check the deployment groups; a server that is only for this run gets the blocks that `deploy` would create."""
    from prefect_codepipeline.deployments.checking.deployment_groups import check_groups
    from prefect_codepipeline.deployments.files.resources import Beside, read_beside
    from prefect_codepipeline.deployments.resource_blocks import make_blocks
    from prefect_codepipeline.deployments.resource_types import make_types
    from prefect_codepipeline.engine.executions.definitions import settings_of

    beside = read_beside(file) if is_private else Beside()
    for sentence in (*make_types(beside.resources), *make_blocks(beside.resources)):
        console.print(Text(sentence))
    known = settings or settings_of(runnable.declaration.name)
    for problem in check_groups(runnable.declaration, known, beside, str(file)):
        console.print(Text(f"{file}: warning: {problem}", "yellow"))


def _server() -> tuple[AbstractContextManager[tuple[str, Path | None]], bool]:
    """The API and the profiles of a server, and whether it is only for this run: then it has no blocks yet."""
    from prefect_codepipeline.deployments.local import embedded
    from prefect_codepipeline.deployments.local.api_url import configured_api_url

    if url := configured_api_url():
        return nullcontext((url, None)), False
    if found := embedded.find():
        return nullcontext((found.api_url, found.profiles)), False
    console.print(Text("starting a private Prefect server for this run …", "dim"))
    return embedded.private(), True


def _open_sockets() -> None:
    """Let the events of this run have the credentials of requests; a server of the user's own may be behind a proxy."""
    from prefect_codepipeline.deployments.worker.sockets import do_without_if_refused, send_credentials

    send_credentials()
    if sentence := asyncio.run(do_without_if_refused()):
        console.print(Text(f"warning: {sentence}", "yellow"))


def _run_and_display(flow_run: Any, name: str, approve: bool, for_people: bool) -> KnownExecution:
    """Run the flow in the main thread, which receives signals; display and approve from another thread."""
    from prefect_codepipeline.cli.executions.watch import watch
    from prefect_codepipeline.deployments.local.foreground import run_here
    from prefect_codepipeline.engine.executions.lookup import read_execution

    has_ended = threading.Event()
    display = threading.Thread(
        target=lambda: watch(
            str(flow_run.id),
            name,
            approve=approve,
            ask=for_people,
            display=for_people,
            is_over=has_ended.is_set,
        ),
        daemon=True,
    )
    display.start()
    try:
        run_here(flow_run)
    finally:
        has_ended.set()
        display.join(timeout=5)
    return read_execution(str(flow_run.id))
