"""`codepipeline open`: the page of a pipeline or of an execution in Prefect's UI."""

from __future__ import annotations

import sys
import webbrowser

from prefect_codepipeline.cli.output import answer
from prefect_codepipeline.cli.parameters import AsJson, PipelineName
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import CodePipelineError


def open_page(name: PipelineName, *, execution: str | None = None, json: AsJson = False) -> int:
    """Open the page of a pipeline in Prefect's UI, and print its URL. Without a terminal it is only printed.

    Parameters
    ----------
    execution:
        Open the page of this execution; its id or its beginning.
    """
    connect()
    from prefect_codepipeline.engine.executions.lookup import find_execution
    from prefect_codepipeline.engine.operations.starting import find_deployment
    from prefect_codepipeline.prefect_api.ui import deployment_url, run_url

    if execution:
        url = run_url(find_execution(name, execution).id)
    else:
        url = deployment_url(find_deployment(name)["id"])
    if url is None:
        raise CodePipelineError("the URL of Prefect's UI is not known; set PREFECT_UI_URL")
    sign_in = _sign_in_url(url)
    lines = [f"if it asks for a password, sign in with: {sign_in}  (works for 10 minutes)"] if sign_in else []
    answer(json, {"url": url, "signInUrl": sign_in}, url, *lines)
    # Without the ticket of the other URL: other users of this machine can see the arguments of the browser.
    if sys.stdout.isatty() and not json:
        webbrowser.open(url)
    return 0


def _sign_in_url(url: str) -> str | None:
    """The URL that signs a browser in and opens the page, if it is one of the embedded server."""
    from prefect_codepipeline.deployments.local import embedded

    running = embedded.find()
    if running is None or not url.startswith(f"{running.ui_url}/"):
        return None
    return running.sign_in_url(url.removeprefix(running.ui_url))
