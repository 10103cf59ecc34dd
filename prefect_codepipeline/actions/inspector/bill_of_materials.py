"""Make the bill of materials (SBOM) of a folder or an image with a program of the worker.

The program sees nothing of the worker's environment but the locale, proxies and certificates.

https://docs.aws.amazon.com/inspector/latest/user/sbom-generator.html
"""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.commands.environment import environment_of, inherited_variables
from prefect_codepipeline.actions.commands.failures import explain_full_disk, last_lines, why
from prefect_codepipeline.actions.commands.log import CommandLog
from prefect_codepipeline.actions.commands.processes import Script, run_on_host
from prefect_codepipeline.actions.commands.shell_session import ShellSession, write_session
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

PROGRAM = "inspector-sbomgen"


@dataclass(frozen=True)
class Image:
    """An image in a registry, and who may pull it."""

    name: str
    user: str = ""
    password: str = ""


def make_bill(scanned: Path | Image, what: str, context: ActionContext) -> dict[str, Any]:
    """The bill of materials in CycloneDX, of a folder or an image; `what` is its name for messages.

    Raises:
        ActionFailed: with code `ConfigurationError`, the program is missing, or what it wrote is no bill of materials; with
            `JobFailed`, it failed.
    """
    folder = Path(tempfile.mkdtemp(dir=context.scratch))
    file = folder / "bill.json"
    wanted = context.settings.aws.sbom_command
    # The command of the settings prints what it finds, beside its messages on standard error.
    command = f"(\n{wanted}\n) >{shlex.quote(str(file))}" if wanted else _own_command(scanned, file)
    with explain_full_disk(context):
        _run(write_session(folder / "session", [command], []), scanned, what, context)
    return _read(file, "sbom_command of the settings" if wanted else PROGRAM)


def _own_command(scanned: Path | Image, file: Path) -> str:
    program = shutil.which(PROGRAM)
    if program is None:
        raise ActionFailed(
            f"{PROGRAM} is not on the worker's PATH; install it, or set 'sbom_command' of 'aws' in the pipeline's "
            "settings to a command that prints CycloneDX",
            code="ConfigurationError",
        )
    what = (
        ["container", "--image", scanned.name] if isinstance(scanned, Image) else ["directory", "--path", "."]
    )
    return shlex.join([program, *what, "--outfile", str(file), "--disable-progress-bar"])


def _run(session: ShellSession, scanned: Path | Image, what: str, context: ActionContext) -> None:
    environment = environment_of(
        {**inherited_variables(context, in_container=False), **_variables(scanned)},
        [scanned.password] if isinstance(scanned, Image) and scanned.password else [],
    )
    log = CommandLog(context.logger, session, environment.secrets)
    directory = context.scratch if isinstance(scanned, Image) else scanned
    try:
        code = run_on_host(Script(session.script, directory, environment.variables), log.receive, context)
    finally:
        log.close()
    if code:
        failure = f"the bill of materials of {what} could not be made: exit code {code}"
        raise ActionFailed(f"{failure}{why(code, log.tail, None)}{last_lines(log.tail)}")


def _variables(scanned: Path | Image) -> dict[str, str]:
    if not isinstance(scanned, Image):
        return {}
    known = {
        "IMAGE": scanned.name,
        "INSPECTOR_SBOMGEN_USERNAME": scanned.user,
        "INSPECTOR_SBOMGEN_PASSWORD": scanned.password,
    }
    return {name: value for name, value in known.items() if value}


def _read(file: Path, program: str) -> dict[str, Any]:
    try:
        bill = json.loads(file.read_bytes())
    except OSError:
        raise wrong_configuration(f"{program} wrote no bill of materials") from None
    except ValueError as error:
        raise wrong_configuration(
            f"{program} wrote something that is not JSON: {error}; CycloneDX 1.5 in JSON is needed"
        ) from None
    if not isinstance(bill, dict) or bill.get("bomFormat") != "CycloneDX":
        raise wrong_configuration(
            f"{program} wrote a file that is not CycloneDX; CycloneDX 1.5 in JSON is needed"
        )
    return bill
