"""`codepipeline jobs work`: a worker that runs a command for each job."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_codepipeline.cli.output import print_line
from prefect_codepipeline.cli.session import connect, pairs
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.jobs import Job, Success, Worker

# The last lines of a failed command are the reason.
_REASON_BYTES = 2000
_ASK_PROGRESS_SECONDS = 1.0


def work(
    action_type: str,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    query: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    parallel: int = 1,
    most: int | None = None,
) -> int:
    """Run a command for each job of an action type, until Ctrl-C. A second Ctrl-C also ends the commands.

    Parameters
    ----------
    action_type:
        The action type, such as Deploy/Custom/Acme/1.
    command:
        The command and its arguments, after `--`.
    query:
        KEY=VALUE: only jobs whose action has this value of its queryable property.
    parallel:
        How many commands run at the same time.
    most:
        End after so many jobs.
    """
    if not command:
        raise CodePipelineError("name the command to run for each job after `--`, such as: -- ./release.sh")
    if parallel < 1:
        raise CodePipelineError(f"--parallel {parallel}: must be at least 1")
    connect()
    from prefect_codepipeline.jobs import worker

    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("prefect_codepipeline.engine.jobs").setLevel(logging.INFO)
    handler = _Command(list(command))
    worker(
        action_type,
        handler,
        query=pairs(query, "--query"),
        parallel=parallel,
        most=most,
        on_start=lambda begun: _stop_on_signals(begun, action_type),
    )
    return 0


def _stop_on_signals(worker: Worker, action_type: str) -> None:
    """The first signal stops the worker after its jobs, the second one at once."""
    times = 0

    def end(number: int, frame: Any) -> None:
        nonlocal times
        times += 1
        (worker.stop if times == 1 else worker.cancel)()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    print_line(f"Waiting for jobs of {action_type}; Ctrl-C stops after those that have begun")
    sys.stdout.flush()


class _Command:
    """Does a job with a command: folders and files in, folders, files and an exit code out."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def __call__(self, job: Job) -> Success:
        from prefect_codepipeline.actions.commands.processes import Script, run_program
        from prefect_codepipeline.jobs import Success

        files = {name: job.directory.parent / name for name in ("variables", "progress", "continuation")}
        for file in files.values():
            file.touch()
        environment = _environment(job, files)
        tail = bytearray()

        def show(output: bytes) -> None:
            tail.extend(output)
            del tail[:-_REASON_BYTES]
            sys.stderr.buffer.write(output)
            sys.stderr.flush()

        def check() -> None:
            if job.cancellation.cancelled:
                raise ActionAbandoned("the worker was stopped")

        script = Script(job.directory, job.directory, environment)
        with _Progress(job, files["progress"]):
            code = run_program(self._command, script, show, check, always_gently=True)
        summary, external_id = _last_progress(files["progress"])
        if code:
            said = tail.decode(errors="replace").strip()
            raise ActionFailed(
                f"the command ended with exit code {code}\n{said}".strip(), external_execution_id=external_id
            )
        return Success(
            continuation_token=files["continuation"].read_text().strip() or None,
            summary=summary,
            external_execution_id=external_id,
            output_variables=pairs(files["variables"].read_text().splitlines(), "output variable"),
        )


def _environment(job: Job, files: Mapping[str, Path]) -> dict[str, str]:
    """The environment of this process without Prefect's secrets, and the job."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    folder = job.directory.parent
    return {
        **own,
        **{f"CONFIG_{_as_variable(key)}": value for key, value in job.configuration.items()},
        "JOB_CONFIGURATION": json.dumps(dict(job.configuration)),
        "JOB_ID": job.id,
        "JOB_PIPELINE": job.pipeline_name,
        "JOB_EXECUTION_ID": job.execution_id,
        "JOB_STAGE": job.stage_name,
        "JOB_ACTION": job.action_name,
        "JOB_REVISION": job.source_revision or "",
        "JOB_CONTINUATION_TOKEN": job.continuation_token or "",
        "JOB_INPUTS": str(folder / "inputs"),
        "JOB_OUTPUTS": str(folder / "outputs"),
        "JOB_VARIABLES": str(files["variables"]),
        "JOB_PROGRESS": str(files["progress"]),
        "JOB_CONTINUATION": str(files["continuation"]),
    }


def _as_variable(key: str) -> str:
    return "".join(each if each.isascii() and each.isalnum() else "_" for each in key).upper()


class _Progress:
    """Reports the last line of a file as the progress of a job: `40 copying`, or only a text."""

    def __init__(self, job: Job, file: Path) -> None:
        self._job = job
        self._file = file
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="codepipeline-job-progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        known = ""
        while not self._ended.wait(_ASK_PROGRESS_SECONDS):
            line = _last_line(self._file)
            if line and line != known:
                known = line
                percent, text = _split(line)
                self._job.report(text, percent, _external_id(self._file))


def _last_progress(file: Path) -> tuple[str, str | None]:
    """The text of the last line, and the id that a line `id ...` names."""
    return _split(_last_line(file))[1], _external_id(file)


def _lines(file: Path) -> list[str]:
    lines = (line.strip() for line in file.read_text(errors="replace").splitlines())
    return [line for line in lines if line]


def _last_line(file: Path) -> str:
    return next((line for line in reversed(_lines(file)) if not line.startswith("id ")), "")


def _external_id(file: Path) -> str | None:
    return next((line[3:].strip() for line in reversed(_lines(file)) if line.startswith("id ")), None)


def _split(line: str) -> tuple[int | None, str]:
    first, _, rest = line.partition(" ")
    number = first.removesuffix("%")
    return (int(number), rest) if number.isdecimal() and int(number) <= 100 else (None, line)
