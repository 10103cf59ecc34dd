"""`codepipeline up` and `down`: the embedded Prefect server, worker and reconcile loop."""

from __future__ import annotations

from rich.text import Text

from prefect_codepipeline.cli.session import console


def up(*, limit: int | None = None, gateway: bool | None = None) -> int:
    """Start the embedded set-up, or repair it: a Prefect server on SQLite, a worker and the reconcile loop.

    Parameters
    ----------
    limit:
        How many executions the worker runs at once; kept from one `up` to the next. At first two for each processor.
    gateway:
        Serve approvals from Slack and from links too, as `codepipeline gateway` does; kept from one `up` to the next.
    """
    from prefect_codepipeline.deployments import embedded

    if url := embedded.configured_api_url():
        console.print(Text(f"a Prefect server is configured already and is used instead: {url}"))
        return 0
    console.print(Text("starting …", "dim"))
    running = embedded.up(limit, gateway)
    console.print(Text(f"Prefect's UI:  {running.ui_url}"))
    console.print(Text(f"API:           {running.api_url}"))
    if running.gateway_url:
        console.print(Text(f"Gateway:       {running.gateway_url}"))
    console.print(Text("For your own `prefect` command:"))
    console.print(Text(f"  export PREFECT_API_URL={running.api_url}"))
    return 0


def down() -> int:
    """Stop the embedded set-up. Executions that wait for an approval wait on, and go on after the next `up`."""
    from prefect_codepipeline.deployments import embedded

    was_running = embedded.find() is not None
    embedded.down()
    console.print(Text("stopped" if was_running else "nothing was running"))
    return 0
