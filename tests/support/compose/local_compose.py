"""The set-up of deploy/compose.yaml as processes of this machine: its commands and environment, each service at an address
of its own in 127.0.0.0/8.

PostgreSQL comes from the wheel of the embedded set-up, Redis and HAProxy from the system, and moto is in the place of S3.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import compose_file
from waiting import until

from prefect_codepipeline.deployments.local import postgresql

ROOT = compose_file.ROOT
BIN = Path(sys.executable).parent
START_SECONDS = 150.0
_SECRETS = "/run/secrets/"


def missing_programs() -> list[str]:
    """What this machine lacks; empty if everything can be started."""
    needed = {"redis-server": shutil.which("redis-server"), "haproxy": shutil.which("haproxy")}
    needed["postgres"] = postgresql.find_programs() and "there"
    needed["Linux"] = sys.platform == "linux" and "there"
    return [name for name, found in needed.items() if not found]


class LocalCompose:
    """Starts services with what they depend on; `kill` and `start` again as one likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        network = f"127.{random.randint(10, 250)}.{random.randint(0, 250)}"
        names = list(compose_file.read()["services"])
        self.addresses = {name: f"{network}.{number}" for number, name in enumerate(names, 2)}
        self.prefect_url = f"http://{self.addresses['proxy']}:4200"
        self.gateway_url = f"http://{self.addresses['proxy']}:4290"
        given = {
            "PREFECT_URL": self.prefect_url,
            "GATEWAY_URL": self.gateway_url,
            "SUBNET": f"{network}.0/24",
        }
        self.services = compose_file.read(given)["services"]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._finished: set[str] = set()
        self._make_secrets()

    def environment_of(self, name: str) -> dict[str, str]:
        """What a service has as environment, with the addresses of this machine."""
        own = {key: self._here(str(value), name) for key, value in self.services[name]["environment"].items()}
        home = self.folder / name
        (home / "work").mkdir(parents=True, exist_ok=True)
        return {
            "PATH": f"{BIN}:{ROOT / 'deploy'}:{os.environ['PATH']}",
            "HOME": str(home),
            "PREFECT_HOME": str(home / ".prefect"),
            "PREFECT_CODEPIPELINE_CACHE": str(home / "cache"),
            "PYTHONUNBUFFERED": "1",
            "no_proxy": "*",
            **own,
        }

    def start(self, name: str) -> None:
        """Start a service once what it depends on is as far as it should be."""
        for other, need in self.services[name].get("depends_on", {}).items():
            if other not in self.processes and other not in self._finished:
                self.start(other)
            if need["condition"] == "service_completed_successfully":
                self._wait_for_its_end(other)
            elif need["condition"] == "service_healthy":
                self.wait_until_healthy(other)
        if name not in self.processes:
            self.processes[name] = self._spawn(name)

    def start_all(self) -> None:
        """Start everything, and wait until each part answers."""
        for name in self.services:
            if name not in self._finished:
                self.start(name)
        for name in self.processes:
            self.wait_until_healthy(name)

    def wait_until_healthy(self, name: str) -> None:
        until(lambda: self.is_healthy(name), START_SECONDS, lambda: self.log(name))

    def kill(self, name: str) -> None:
        """Kill -9 a service with all its processes, as the end of a container does."""
        process = self.processes.pop(name)
        for pid in [process.pid, *_descendants(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def stop_all(self) -> None:
        """End what still runs, the database last."""
        for name in reversed(list(self.processes)):
            with contextlib.suppress(ProcessLookupError):
                group = self.processes[name].pid
                os.killpg(group, signal.SIGQUIT if name == "postgres" else signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.processes[name].wait(5)
            if name in self.processes:
                self.kill(name)

    def is_healthy(self, name: str) -> bool:
        """Whether the service runs and its health check passes."""
        if name in self._finished:
            return True
        if self.processes[name].poll() is not None:
            raise AssertionError(f"{name} has ended: {self.log(name)}")
        service = self.services[name]
        if "environment" in service and "POSTGRES_USER" not in service["environment"]:
            if service.get("healthcheck", {}).get("disable"):
                return True
            check = [sys.executable, str(ROOT / "deploy/healthcheck.py")]
            done = subprocess.run(check, env=self.environment_of(name), capture_output=True, check=False)
            return done.returncode == 0
        port = {"postgres": 5432, "redis": 6379, "proxy": 4200, "s3": 8333}[name]
        return _listens(self.addresses[name], port)

    def log(self, name: str) -> str:
        """The end of what a service has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def _wait_for_its_end(self, name: str) -> None:
        if name in self._finished:
            return
        attempts = 0
        while (code := self.processes[name].wait(START_SECONDS)) != 0:
            attempts += 1
            restarts = self.services[name]["restart"] == "on-failure" and attempts < 30
            assert restarts, f"{name} ended with {code}: {self.log(name)}"
            time.sleep(0.5)
            self.processes[name] = self._spawn(name)
        del self.processes[name]
        self._finished.add(name)

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        if name == "postgres":
            return self._spawn_postgres(log)
        command = [self._here(word, name) for word in self.services[name].get("command", [])]
        environment, cwd = {"PATH": os.environ["PATH"], "no_proxy": "*"}, self.folder / name
        if name == "redis":
            command += ["--bind", self.addresses[name], "--dir", str(cwd)]
        elif name == "s3":
            command = [str(BIN / "moto_server"), "-H", self.addresses[name], "-p", "8333"]
        elif name == "proxy":
            config = self.folder / "haproxy.cfg"
            config.write_text(self._here((ROOT / "deploy/haproxy.cfg").read_text(), name))
            command[-1] = str(config)
        else:
            environment, cwd = self.environment_of(name), self.folder / name / "work"
            command = [str(ROOT / "deploy/entrypoint"), *command]
        cwd.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )  # fmt: skip

    def _spawn_postgres(self, log: Any) -> subprocess.Popen[bytes]:
        """As PostgreSQL's image does: a user with the password of the file, a database, and what the command says."""
        programs = postgresql.find_programs()
        assert programs
        user, data = postgresql._user_of_database(programs), self.folder / "postgres"
        is_new = not data.exists()
        password = (self.folder / "secrets/postgres_password").read_text()
        if is_new:
            data.mkdir(mode=0o700)
            creator = (
                user if user.ids is None else postgresql._User(user.programs, 65534)
            )  # initdb wants an account
            creator.take(data)
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(password)
                file.flush()
                if creator.ids is not None:
                    os.chown(file.name, creator.ids, creator.ids)
                command = [
                    str(user.programs / "initdb"),
                    "-D",
                    creator.path(data),
                    "-U",
                    "prefect",
                    "--no-sync",
                ]
                command += ["-A", "scram-sha-256", f"--pwfile={file.name}", "--encoding=UTF8", "--locale=C"]
                subprocess.run(command, cwd=data, stdout=log, stderr=log, check=True, **creator.options)
            user.take(data)
        words = self.services["postgres"]["command"]
        command = [str(user.programs / words[0]), *words[1:], "-D", user.path(data), "-k", user.path(data)]
        command += ["-h", self.addresses["postgres"]]
        (data / "postmaster.pid").unlink(missing_ok=True)  # of one that was killed
        process = subprocess.Popen(
            command, cwd=data, stdout=log, stderr=log, start_new_session=True, **user.options
        )
        if is_new:
            until(lambda: _listens(self.addresses["postgres"], 5432))
            asyncio.run(_create_database(self.addresses["postgres"], password))
        return process

    def _make_secrets(self) -> None:
        folder = self.folder / "secrets"
        subprocess.run([ROOT / "deploy/make-secrets", folder], check=True)
        url = folder / "redis_url"
        text = self._here(url.read_text(), "redis")
        url.chmod(0o600)
        url.write_text(text)

    def _here(self, text: str, name: str) -> str:
        """A text of the file with the addresses and folders of this machine."""
        text = text.replace(_SECRETS, f"{self.folder}/secrets/").replace("0.0.0.0", self.addresses[name])
        for other, address in self.addresses.items():
            text = re.sub(rf"(?<=[/@ ]){other}(?=:\d)", address, text)
        return self.addresses["postgres"] if text == "postgres" else text


def _descendants(pid: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


async def _create_database(host: str, password: str) -> None:
    for _ in range(100):
        try:
            connection = await asyncpg.connect(
                host=host, user="prefect", password=password, database="postgres"
            )
            break
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.1)
    await connection.execute("CREATE DATABASE prefect")
    await connection.close()
