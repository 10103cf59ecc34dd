"""Run git isolated from other configuration, with hidden secrets, in a process group that can be ended.

Neither the worker's git configuration nor a repository's hooks, filters or credential helpers are used: git gets its
own home directory. A token reaches git through an unlinked file that only git and its children have open. The token
is limited to its host, so that a redirect to another host does not send it there.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from urllib.parse import quote, urlsplit

# Without git on PATH the import would fail, and with it every provider; a missing git is reported when it is needed.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
from git import Git
from git.exc import GitCommandNotFound
from pydantic import SecretStr

from prefect_codepipeline.blocks.git_connection import (
    GitConnection,
    check_url,
    default_username,
    host_and_path,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.printable import without_controls

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 2.0
_PROTOCOLS = "https:http:ssh:git:file"
_KEPT_VARIABLES = {
    *("PATH", "TMPDIR", "USER", "LOGNAME", "LANG", "LD_LIBRARY_PATH", "SSH_AUTH_SOCK", "GIT_EXEC_PATH"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
}
_CONFIGURATION = """\
[core]
    hooksPath = /dev/null
    fsmonitor = false
    protectNTFS = true
    protectHFS = true
[safe]
    bareRepository = explicit
[credential]
    helper =
[fetch]
    recurseSubmodules = false
[gc]
    autoDetach = false
[maintenance]
    autoDetach = false
[http]
    lowSpeedLimit = 1
    lowSpeedTime = 300
"""


class GitError(Exception):
    """git exited with an error; `text` is its output without secrets and control characters."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True)
class Access:
    """A repository's URL and its credentials."""

    url: str
    username: str
    token: SecretStr | None = None
    ssh_key: SecretStr | None = None
    known_hosts: str | None = None

    def __post_init__(self) -> None:
        secret = self.token.get_secret_value() if self.token else ""
        if re.search(r"[\x00-\x1f\x7f]", secret + self.username):
            raise ValueError("the token or the user name contains a line break or another control character")
        check_url(self.url)

    @classmethod
    def to(cls, connection: GitConnection, url: str) -> Access:
        """The access that `connection` gives to a repository at `url`. Raises `ValueError` for a malformed token."""
        in_url = urlsplit(url).username if "://" in url else None
        return cls(
            url=url,
            username=connection.username or in_url or default_username(url),
            token=connection.token,
            ssh_key=connection.ssh_key,
            known_hosts=connection.known_hosts,
        )

    @property
    def origin(self) -> str | None:
        """Scheme and host of an http or https repository, the only place where the token is sent; None for others."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{host_and_path(self.url)[0]}" if parts.scheme in ("https", "http") else None

    def redact(self, text: str) -> str:
        """The text without the token in any encoding, and without terminal control sequences."""
        for secret in self._spellings():
            text = text.replace(secret, "****")
        return without_controls(re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[^\S\n ]", "", text), "")

    def _spellings(self) -> Iterator[str]:
        if self.token and (token := self.token.get_secret_value()):
            yield b64encode(f"{self.username}:{token}".encode()).decode()
            yield quote(token, safe="")
            yield token


class GitProcesses:
    """git, set up for one repository; no other process uses `home`."""

    def __init__(
        self, home: Path, access: Access, check: Callable[[], None], note: Callable[[int | None], None]
    ) -> None:
        self._home = home
        self._access = access
        self._check = check
        self._note = note

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> bytes:
        """Run git to its end; its standard output.

        Raises:
            GitError: it failed.
            ActionFailed: git is not installed, or the deadline has passed (the process group has ended then).
            ActionAbandoned: the execution was cancelled (the process group has ended).
        """
        self._check()
        with self._credentials() as (file, options):
            variables = self._environment() | (environment or {})
            git = [Git.GIT_PYTHON_GIT_EXECUTABLE or "git", *options, *arguments]
            others = sorted(os.environ.keys() - variables.keys() - _KEPT_VARIABLES)
            started = self._start([*_unset(others), *git], dict.fromkeys(others, "") | variables, file)
            process = _process_of(started)
            output, errors = self._wait(process)
        if process.returncode:
            text = self._access.redact(errors.decode(errors="replace")).strip()
            raise GitError(text or f"git exited with code {process.returncode} and no output")
        return output

    def _start(
        self, command: list[str], environment: dict[str, str], file: IO[bytes] | None
    ) -> Git.AutoInterrupt:
        """Start git. GitPython ends it as soon as the returned object is garbage-collected."""
        try:
            started = Git(self._home).execute(
                command,
                as_process=True,
                env=environment,
                start_new_session=True,
                pass_fds=(file.fileno(),) if file else (),
            )
        except GitCommandNotFound:
            raise _no_git() from None
        self._note(_process_of(started).pid)
        return started

    def _wait(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    output = process.communicate(timeout=_POLL_SECONDS)
                    break
                self._check()
        except BaseException:
            end_group(process)
            raise
        if process.returncode >= 0:  # a git ended by a signal may not have removed its locks
            self._note(None)
        if process.returncode == 127 and b"env:" in output[1]:
            raise _no_git()
        return output

    @contextmanager
    def _credentials(self) -> Iterator[tuple[IO[bytes] | None, list[str]]]:
        """A file that git inherits, and the options that make git read the token from it."""
        access = self._access
        if not access.token or not access.origin:
            yield None, []
            return
        with tempfile.TemporaryFile() as file:
            file.write(f"username={access.username}\npassword={access.token.get_secret_value()}\n".encode())
            file.seek(0)
            helper = f'!read_token() {{ test "$1" = get && cat /dev/fd/{file.fileno()}; }}; read_token'
            yield file, ["-c", f"credential.{access.origin}.helper={helper}"]

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self._home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_SSH_VARIANT": "ssh",
            "GIT_SSH_COMMAND": _ssh_command(self._home, self._access),
        }


@contextmanager
def git_processes(
    home: Path, access: Access, check: Callable[[], None], note: Callable[[int | None], None]
) -> Iterator[GitProcesses]:
    """git with `home` as its home directory; a private key is in it only while the block runs.

    Args:
        home: a directory that no other process uses meanwhile.
        access: the repository and its credentials.
        check: called several times a second while git runs; an exception from it ends git.
        note: called with the process group when git starts, and with None when git has exited.
    """
    home.mkdir(mode=0o700, exist_ok=True)
    try:
        _write_privately(home / ".gitconfig", _CONFIGURATION + _trusted_directory(access))
        if access.ssh_key:
            key = access.ssh_key.get_secret_value().replace("\r\n", "\n").strip("\n")
            _write_privately(home / "key", f"{key}\n")
        if access.known_hosts:
            _write_privately(home / "known_hosts", f"{access.known_hosts.strip()}\n")
        yield GitProcesses(home, access, check, note)
    finally:
        (home / "key").unlink(missing_ok=True)
        (home / "known_hosts").unlink(missing_ok=True)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: with SIGTERM first, so that git removes its locks."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _process_of(started: Git.AutoInterrupt) -> subprocess.Popen[bytes]:
    return cast("subprocess.Popen[bytes]", started.proc)


def _no_git() -> ActionFailed:
    return ActionFailed(
        "git is not installed on this worker, or not on its PATH; install it and retry",
        code="ConfigurationError",
    )


def _unset(names: list[str]) -> list[str]:
    # GitPython always passes the whole environment; here without the values, which a build could read until `env` has
    # unset them. Only names, because every user can see arguments.
    return ["env", *(part for name in names for part in ("-u", name))] if names else []


def _trusted_directory(access: Access) -> str:
    """A local repository may belong to another user: its path in the connection means that it is trusted."""
    host, path = host_and_path(access.url)
    if host or access.origin:
        return ""
    lines = [f"[safe]\n    directory = {_quoted(where)}\n" for where in (path, f"{path.rstrip('/')}/.git")]
    return "".join(lines)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _ssh_command(home: Path, access: Access) -> str:
    options = ["BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=4"]
    if access.known_hosts:
        options += ["StrictHostKeyChecking=yes", f'UserKnownHostsFile="{home / "known_hosts"}"']
    else:
        options += ["StrictHostKeyChecking=accept-new"]
    if access.ssh_key:
        options += ["IdentitiesOnly=yes", "IdentityAgent=none", f'IdentityFile="{home / "key"}"']
    return shlex.join(["ssh", *(part for option in options for part in ("-o", option))])


def _write_privately(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
