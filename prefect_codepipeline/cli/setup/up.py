"""`codepipeline up` and `down`: the embedded database, Prefect server, worker and reconcile loop."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators
from rich.text import Text

from prefect_codepipeline.cli.output import answer
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import console

if TYPE_CHECKING:
    from prefect_codepipeline.deployments.local.embedded import Embedded

Port = Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=65_535))]
_DATABASES = {
    "postgresql": "PostgreSQL, in {home}/postgresql",
    "sqlite": "SQLite, in {home}/prefect; PostgreSQL is faster when several executions run at once",
    "url": "set by PREFECT_CODEPIPELINE_DATABASE_URL",
}


def up(
    *,
    limit: int | None = None,
    gateway: bool | None = None,
    sqlite: Annotated[bool, Parameter(negative="")] = False,
    port: Port = None,
    gateway_port: Port = None,
    json: AsJson = False,
) -> int:
    """Start the embedded set-up, or repair it: a database, a Prefect server, a worker and the reconcile loop.

    Parameters
    ----------
    limit:
        How many executions the worker runs at once; kept for later `up` commands. Initially two per processor.
    gateway:
        Also start the gateway, see `codepipeline gateway`; kept for later `up` commands.
    sqlite:
        Keep the data of a new set-up in SQLite instead of PostgreSQL.
    port:
        The port of the Prefect server; kept for later `up` commands. Initially a free port.
    gateway_port:
        The port of the gateway; kept for later `up` commands. Initially 4290, or a free port if 4290 is taken.
    """
    from prefect_codepipeline.deployments.local import embedded
    from prefect_codepipeline.deployments.local.api_url import configured_api_url

    if url := configured_api_url():
        said = f"nothing started: the configured Prefect server is used instead: {url}"
        answer(json, {"isEmbedded": False, "apiUrl": url}, said)
        return 0
    console.stderr = json  # so that the output is JSON only
    console.print(Text("starting …", "dim"))
    running = embedded.up(limit, gateway, sqlite, port, gateway_port)
    answer(json, _as_json(running), *_lines(running))
    return 0


def _lines(running: Embedded) -> Iterator[str]:
    yield f"Prefect's UI:  {running.ui_url}"
    yield f"  sign in:     {running.sign_in_url()}  (works for 10 minutes)"
    yield f"API:           {running.api_url}"
    if running.gateway_url:
        yield f"Gateway:       {running.gateway_url}"
    yield f"Database:      {_DATABASES[running.database].format(home=running.home)}"
    yield "For your own `prefect` command:"
    yield f"  export PREFECT_PROFILES_PATH={shlex.quote(str(running.profiles))}"


def _as_json(running: Embedded) -> dict[str, Any]:
    return {
        "isEmbedded": True,
        "apiUrl": running.api_url,
        "uiUrl": running.ui_url,
        "signInUrl": running.sign_in_url(),
        "gatewayUrl": running.gateway_url,
        "database": running.database,
        "home": str(running.home),
        "profilesPath": str(running.profiles),
    }


def down(*, json: AsJson = False) -> int:
    """Stop the embedded set-up. Executions that wait for an approval keep waiting, and continue after the next `up`."""
    from prefect_codepipeline.deployments.local import embedded

    was_running = embedded.find() is not None
    embedded.down()
    answer(json, {"wasRunning": was_running}, "stopped" if was_running else "nothing was running")
    return 0
