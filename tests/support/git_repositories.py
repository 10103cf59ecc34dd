"""Real git repositories, a git host over HTTP, and the context of a source action."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # loaded before the environment of tests is set, which Prefect reads when it is imported
    from prefect_codepipeline.actions.registry import ActionContext

GIT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada Byron",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_AUTHOR_DATE": "2019-10-29T04:32:21+01:00",
    "GIT_COMMITTER_NAME": "Ada Byron",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_COMMITTER_DATE": "2019-10-30T00:00:00Z",
}


@dataclass(frozen=True)
class GitRepository:
    """A repository with a work tree, as somebody has it who pushes."""

    path: Path

    def git(self, *arguments: str, input: str | bytes = b"") -> str:
        command = ["git", "-C", str(self.path), "-c", "protocol.file.allow=always", *arguments]
        content = input.encode() if isinstance(input, str) else input
        return (
            subprocess.run(command, env=GIT, check=True, capture_output=True, input=content)
            .stdout.decode()
            .strip()
        )

    def commit(self, message: str = "Change", **files: str) -> str:
        """Commit files, and what is in the index already; the id."""
        for name, content in files.items():
            where = self.path / name
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_text(content)
            self.git("add", "--", name)
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@dataclass
class GitHost:
    """A git host over HTTP: git's own http-backend; what it was asked and how much it sent.

    The next `to_hang` requests get no answer until `released`.
    """

    root: Path
    url: str = ""
    token: str | None = None
    protocol_2: bool = True
    to_hang: int = 0
    hanging: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    redirect_to: str | None = None
    authorizations: list[str] = field(default_factory=list)
    sent_bytes: int = 0


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[..., GitRepository]:
    def make(name: str = "app") -> GitRepository:
        path = tmp_path / "repositories" / name
        path.mkdir(parents=True)
        repository = GitRepository(path)
        repository.git("init", "--quiet", "--initial-branch=main")
        return repository

    return make


@pytest.fixture
def repository(make_repository: Callable[..., GitRepository]) -> GitRepository:
    """`app`, with one commit on `main`."""
    made = make_repository()
    made.commit("First commit\n\nwith a body", **{"README.md": "hello\n"})
    return made


@pytest.fixture
def git_host(tmp_path: Path) -> Iterator[GitHost]:
    root = tmp_path / "repositories"
    root.mkdir(exist_ok=True)
    host = GitHost(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(host))
    server.daemon_threads = True
    host.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield host
    host.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def git_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the mirrors of this test lie."""
    monkeypatch.setenv("PREFECT_CODEPIPELINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "git"


@pytest.fixture
def make_source_context(tmp_path: Path, git_cache: Path) -> Callable[..., ActionContext]:
    def make(
        provider: str = "CodeStarSourceConnection",
        owner: str = "AWS",
        seconds: float = 60,
        **fields: Any,
    ) -> ActionContext:
        from prefect_codepipeline.actions.registry import ActionContext
        from prefect_codepipeline.model.definition.declaration import ActionDeclaration

        action = {
            "name": "Source",
            "actionTypeId": {"category": "Source", "owner": owner, "provider": provider, "version": "1"},
            "outputArtifacts": [{"name": "SourceOutput"}],
        }
        scratch = tmp_path / f"scratch-{time.monotonic_ns()}"
        scratch.mkdir()
        return ActionContext(
            pipeline_name="release",
            pipeline_execution_id="e1",
            stage_name="Source",
            action=ActionDeclaration.model_validate(action),
            action_execution_id="a1",
            scratch=scratch,
            deadline=time.monotonic() + seconds,
            logger=logging.getLogger("git-source"),
            **fields,
        )

    return make


def _handler(host: GitHost) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if host.to_hang:
                host.to_hang -= 1
                host.hanging.set()
                host.released.wait()
                return
            if host.redirect_to:
                self.send_response(301)
                self.send_header("Location", host.redirect_to + self.path)
                self.end_headers()
                return
            authorization = self.headers.get("Authorization", "")
            if authorization:
                host.authorizations.append(authorization)
            if host.token and not authorization.endswith(_basic(host.token)):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._answer(_git_backend(host, self.command, self.path, self.headers, self._body()))

        do_POST = do_GET  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, output: bytes) -> None:
            head, _, body = output.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            host.sent_bytes += len(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler


def _basic(token: str) -> str:
    return base64.b64encode(f"x-access-token:{token}".encode()).decode()


def _git_backend(host: GitHost, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    path, _, query = path.partition("?")
    environment = {
        **GIT,
        "GIT_PROJECT_ROOT": str(host.root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("Content-Encoding", ""),
    }
    if host.protocol_2:
        environment["GIT_PROTOCOL"] = headers.get("Git-Protocol", "")
    return subprocess.run(
        ["git", "http-backend"], input=body, env=environment, check=True, capture_output=True
    ).stdout
