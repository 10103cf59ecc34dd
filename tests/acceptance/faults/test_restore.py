"""The commands of docs/backup.md: a database that is restored to an earlier state, and what becomes of executions."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from chaos import pipeline
from cryptography.fernet import Fernet, InvalidToken
from pages import ROOT, blocks_of
from set_up import SetUp

from prefect_codepipeline.deployments.local import postgresql
from prefect_codepipeline.deployments.local.access import profiles_file
from prefect_codepipeline.deployments.local.parts import identity, stop

PROGRAMS = postgresql.find_programs()
pytestmark = [
    pytest.mark.live,
    pytest.mark.long,
    pytest.mark.timeout(540),
    pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not available on this platform"),
    pytest.mark.skipif(shutil.which("jq") is None, reason="the page uses jq"),
]
SECRET = "what-only-the-key-opens"
ENCRYPTED = (
    "SELECT d.data FROM block_document d JOIN block_type t ON t.id = d.block_type_id WHERE t.slug = 'secret'"
)


class Server:
    """A PostgreSQL server beside the set-up, as users have one, and a shell with its programs."""

    def __init__(self, folder: Path, set_up: SetUp) -> None:
        self.set_up = set_up
        self.folder = folder
        self._socket = quote(str(postgresql.data_folder(folder)), safe="")

    def url(self, database: str) -> str:
        return f"postgresql://prefect@/{database}?host={self._socket}"

    def use(self, database: str) -> None:
        """Have the set-up use this database from the next `up` on."""
        url = self.url(database).replace("postgresql:", "postgresql+asyncpg:")
        self.set_up.environment["PREFECT_CODEPIPELINE_DATABASE_URL"] = url

    def shell(self, script: str) -> str:
        assert PROGRAMS
        bins = [str(PROGRAMS.folder), str(Path(sys.executable).parent), os.environ["PATH"]]
        env = {
            **self.set_up.environment,
            "PATH": os.pathsep.join(bins),
            "DATABASE_URL": self.url("prefect"),
            "RESTORED_URL": self.url("restored"),
            "PREFECT_PROFILES_PATH": str(profiles_file(self.set_up.home)),
        }
        done = subprocess.run(
            ["sh", "-eu", "-c", script], env=env, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def create(self, database: str) -> None:
        self.shell(f"createdb --host {postgresql.data_folder(self.folder)} --username prefect {database}")


@pytest.fixture
def server(set_up: SetUp, tmp_path: Path) -> Iterator[Server]:
    folder = set_up.home.parent / "own"
    folder.mkdir()
    process = postgresql.start_database(folder, PROGRAMS)
    yield Server(folder, set_up)
    set_up.cli("down", check=False)
    stop(identity(process.pid), postgresql.STOP_SIGNAL)


def scripts() -> dict[str, str]:
    """The blocks of the page by the program that they begin with."""
    found = [text for language, text in blocks_of(ROOT / "docs" / "backup.md") if language == "sh"]
    return {re.split(r"\s", text, maxsplit=1)[0]: text for text in found}


def test_executions_go_on_or_are_stopped_and_nothing_is_deployed_twice(server: Server) -> None:
    server.create("prefect")
    server.create("restored")
    server.use("prefect")
    set_up = server.set_up
    set_up.cli("up")
    key = set_up.run_with_input(SECRET, "secret", "add", "token")
    assert key.returncode == 0, key.stderr
    ids = {name: begin(set_up, name) for name in ("done", "approved", "busy", "open")}
    approve_and_wait(set_up, "done")

    server.shell(scripts()["pg_dump"])

    approve_and_wait(set_up, "approved")
    (set_up.folder / "busy" / "go").touch()
    set_up.wait(lambda: set_up.status("busy")["status"] == "Succeeded")
    later = set_up.cli("start", "done", "--json")
    set_up.wait(lambda: len(set_up.executions("done")) == 2)
    set_up.cli("down")
    before = traces(set_up)
    server.shell(scripts()["pg_restore"])
    server.use("restored")
    set_up.cli("up")
    leave_open(server, ids["open"])
    assert traces(set_up) == before, "an action ran before the pools were resumed"
    server.shell("prefect work-pool resume codepipeline")

    for name in ("approved", "busy"):
        set_up.wait(lambda name=name: set_up.status(name)["status"] == "Stopped")
        assert "restored from a backup" in json.dumps(set_up.facts([ids[name]]))
    assert [each["pipelineExecutionId"] for each in set_up.executions("done")] == [ids["done"]]
    gone = set_up.run("status", "done", "--execution", json.loads(later)["pipelineExecutionId"])
    assert gone.returncode == 1
    assert "Traceback" not in gone.stderr
    approve_and_wait(set_up, "open")
    assert traces(set_up) == {**before, "open": [*before["open"], "S2/Ship"]}
    retried(set_up)
    check_secrets(server)


def retried(set_up: SetUp) -> None:
    """A retry is what may deploy again."""
    set_up.cli("retry", "approved", "S2")
    approve_and_wait(set_up, "approved")
    assert traces(set_up)["approved"].count("S2/Ship") == 2


def begin(set_up: SetUp, name: str) -> str:
    """Start an execution of a pipeline that deploys after an approval, or which is busy before; its id."""
    folder = set_up.folder / name
    folder.mkdir()
    first = [{"name": "Slow", "Until": str(folder / "go")}]
    stages = [first, [{"name": "Ship"}]]
    if name != "busy":
        (folder / "go").touch()
        stages[1] = [{"name": "Ok", "category": "Approval"}, {"name": "Ship", "run_order": 2}]
    set_up.cli("deploy", str(pipeline(name, folder, *stages)))
    started = set_up.cli("start", name, "--json")
    if name == "busy":
        set_up.wait(lambda: "S1/Slow" in traces(set_up).get("busy", []))
    else:
        set_up.wait(lambda: f"approve {name}" in set_up.cli("status", name))
    return str(json.loads(started)["pipelineExecutionId"])


def approve_and_wait(set_up: SetUp, name: str) -> None:
    set_up.wait(lambda: set_up.run("approve", name).returncode == 0)
    set_up.wait(lambda: set_up.status(name)["status"] == "Succeeded")


def leave_open(server: Server, execution_id: str) -> None:
    """The page's loop, without the execution that may go on."""
    stopping = scripts()["for"]
    server.shell(
        stopping.replace('"InProgress"', f'"InProgress" and .pipelineExecutionId != "{execution_id}"')
    )


def traces(set_up: SetUp) -> dict[str, list[str]]:
    """The actions of each pipeline that ran."""
    return {
        trace.parent.name: [line.split(" ", 1)[1] for line in trace.read_text().splitlines()]
        for trace in sorted(set_up.folder.glob("*/trace"))
    }


def check_secrets(server: Server) -> None:
    """The restored server reads the secret; the key is where the page says, and without it there is nothing to read."""
    read = "from prefect.blocks.system import Secret\nprint(Secret.load('token').get())"
    assert server.set_up.python(read).strip() == SECRET
    key = server.shell(scripts()["psql"].replace("DATABASE_URL", "RESTORED_URL"))
    rows: Any = server.shell(f'psql "$RESTORED_URL" --tuples-only --no-align --command "{ENCRYPTED}"')
    token = json.loads(rows) if rows.startswith('"') else rows
    assert SECRET not in token
    assert SECRET in Fernet(key.strip()).decrypt(token).decode()
    with pytest.raises(InvalidToken):
        Fernet(Fernet.generate_key()).decrypt(token)
