"""The provider that waits in CONTRIBUTING.md runs: it starts work on a server once, waits for it, and ends or stops it."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from prefect_codepipeline.actions.registry import ActionContext, Earlier
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.declaration import ActionDeclaration

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
IMPORTS = """from __future__ import annotations
import httpx
from datetime import datetime, timedelta, timezone
from prefect_codepipeline.actions.registry import *
from prefect_codepipeline.errors import ActionFailed
"""


class LoadTests(ThreadingHTTPServer):
    """A server that runs load tests; `tests` has the state of each."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tests: dict[str, dict[str, Any]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: LoadTests

    def do_POST(self) -> None:
        token = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["token"]
        self.server.tests.setdefault(token, {"state": "running", "requests": 7})
        self._answer({"id": token})

    def do_GET(self) -> None:
        self._answer(self.server.tests[self.path.rpartition("/")[2]])

    def do_DELETE(self) -> None:
        self.server.tests[self.path.rpartition("/")[2]]["state"] = "deleted"
        self._answer({})

    def _answer(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[LoadTests]:
    with LoadTests() as served:
        Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


@pytest.fixture(scope="module")
def example() -> types.ModuleType:
    """The example as a module."""
    (source,) = (
        block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "Waiting(" in block
    )
    assert len(source.strip().splitlines()) < 40
    module = types.ModuleType("load_test")
    sys.modules["load_test"] = module
    exec(compile(IMPORTS + source, "CONTRIBUTING.md", "exec"), module.__dict__)
    return module


def context(folder: Path, kept: list[tuple[str, str]]) -> ActionContext:
    kind = {"category": "Test", "owner": "Custom", "provider": "LoadTest", "version": "1"}
    earlier = Earlier(datetime.now(timezone.utc), *kept[0]) if kept else None
    return ActionContext(
        pipeline_name="shop",
        pipeline_execution_id="1",
        stage_name="Test",
        action=ActionDeclaration.model_validate({"name": "Load", "actionTypeId": kind}),
        action_execution_id="job",
        scratch=folder,
        deadline=0,
        earlier=earlier,
        keep=lambda external_id, url: kept.append((external_id, url)),
    )


def test_the_example_waits_for_its_work_and_ends_with_it(
    server: LoadTests, example: types.ModuleType, tmp_path: Path
) -> None:
    configuration = example.LoadTestConfiguration.model_validate({"Server": server.address})
    kept: list[tuple[str, str]] = []

    waits = example.run_load_test(configuration, context(tmp_path, kept))
    again = example.run_load_test(configuration, context(tmp_path, kept))
    server.tests["job"]["state"] = "passed"
    result = example.run_load_test(configuration, context(tmp_path, kept))

    assert waits.summary == again.summary == "7 requests so far"
    assert timedelta(seconds=50) < waits.until - datetime.now(timezone.utc) < timedelta(seconds=61)
    assert kept == [("job", f"{server.address}/tests/job")]
    assert result.summary == "7 requests"


def test_the_example_fails_with_its_work_and_stops_it(
    server: LoadTests, example: types.ModuleType, tmp_path: Path
) -> None:
    configuration = example.LoadTestConfiguration.model_validate({"Server": server.address})
    kept: list[tuple[str, str]] = []
    example.run_load_test(configuration, context(tmp_path, kept))

    server.tests["job"].update(state="failed", reason="too slow")
    with pytest.raises(ActionFailed, match="too slow"):
        example.run_load_test(configuration, context(tmp_path, kept))
    example.cancel(configuration, context(tmp_path, kept))

    assert server.tests["job"]["state"] == "deleted"
