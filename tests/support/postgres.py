"""A PostgreSQL of a test's own: a folder, a port, a process."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prefect_codepipeline.deployments.embedded import _free_port


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, where there is one."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb")
    return packaged[-1] if packaged else Path(found).parent if found else None


@contextlib.contextmanager
def postgres(found: Path) -> Iterator[str]:
    """Prefect's URL of a fresh database."""
    # PostgreSQL runs as nobody's root, and its folder must be its own.
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
    options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    folder = Path(tempfile.mkdtemp(prefix="codepipeline-postgres-"))
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    port = _free_port()

    def run(program: str, *arguments: str) -> None:
        command = [str(found / program), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=60, **options)  # type: ignore[call-overload]

    server = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    try:
        run("initdb", "-D", str(folder / "data"), "-U", "prefect", "--auth=trust", "--no-sync")
        run("pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "log"), "-o", server, "-w", "start")
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)
