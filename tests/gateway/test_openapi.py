"""The gateway's own description: it names every route, and holds what it promises to whatever Schemathesis thinks of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from serving import taking_webhooks
from starlette.routing import Route

from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.openapi import document

SECRET = "planted-secret-of-openapi"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "unsupported_method"
)


def test_every_route_is_described() -> None:
    routes = [route for route in create_app().routes if isinstance(route, Route) and route.include_in_schema]
    found = {
        (route.path, method.lower())
        for route in routes
        for method in (route.methods or ())
        if method != "HEAD"
    }

    assert found == {(path, method) for path, methods in document()["paths"].items() for method in methods}


@pytest.mark.live
@pytest.mark.long
def test_whatever_is_sent_is_answered_as_described(prefect_server: str, tmp_path: Path) -> None:
    with taking_webhooks(SECRET) as (url, name):
        found = httpx.get(f"{url}/openapi.json").json()
        # So that requests come further than to the door.
        found["paths"]["/webhooks/{name}"]["post"]["parameters"][0]["schema"] = {"enum": [name, "nobody-s"]}
        targets = [f"CodePipeline_20150709.{name}" for name in ("GetPipeline", "ListPipelines", "Fly")]
        found["paths"]["/"]["post"]["parameters"][0]["schema"] = {"enum": targets}
        (tmp_path / "openapi.json").write_text(json.dumps(found))
        command = [
            str(Path(sys.executable).parent / "schemathesis"), "run", str(tmp_path / "openapi.json"), "--url", url,
            "--checks", CHECKS, "--max-examples", "15", "--seed", "1", "--phases", "examples,coverage,fuzzing",
            "--header", f"X-Codepipeline-Token: {SECRET}", "--generation-database", "none", "--no-color",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
