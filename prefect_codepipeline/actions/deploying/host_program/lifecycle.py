"""Work off the lifecycle events of an order, one after the other; each is in the journal before the next begins."""

import os
import pwd
from typing import Any, Dict, List, Tuple

from prefect_codepipeline.actions.deploying.host_program import journal
from prefect_codepipeline.actions.deploying.host_program.install import install
from prefect_codepipeline.actions.deploying.host_program.output import FIRST_LINE, Output, harmless
from prefect_codepipeline.actions.deploying.host_program.places import (
    DeploymentPlace,
    Refused,
    read_json,
    read_lines,
)
from prefect_codepipeline.actions.deploying.host_program.revisions import make_archive
from prefect_codepipeline.actions.deploying.host_program.scripts import ScriptRun, Stopped

# These run the scripts of the last successful deployment: the application that is stopped is that one.
OF_LAST = ("ApplicationStop", "BeforeBlockTraffic", "AfterBlockTraffic")
# What a script gets of the environment of this program.
_INHERITED = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "PATH")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def work_off(place: DeploymentPlace, order: Dict[str, Any]) -> None:
    """Run the events of the order; ends at the first that fails or is stopped."""
    for event in order["events"]:
        if os.path.exists(place.stop):
            journal.note_end(place, event, "Stopped", message="The deployment was stopped before this event")
            return
        journal.note(place, event, "InProgress")
        if not _run_event(place, order, event):
            return


def _run_event(place: DeploymentPlace, order: Dict[str, Any], event: str) -> bool:
    """Whether the deployment continues after it."""
    output = Output(place.log)
    try:
        warnings = _carry_out(place, order, event, output)
    except Stopped:
        journal.note_end(
            place, event, "Stopped", message="The deployment was stopped in this event", log=output.end()
        )
        return False
    except Exception as error:  # every end is noted: the worker reads nothing else
        may_fail = event in OF_LAST and bool(order.get("ignore_application_stop_failures"))
        ignored = may_fail and isinstance(error, Refused)
        _note_failure(place, event, _failure(error), output, ignored)
        return ignored
    journal.note_end(
        place, event, "Succeeded", log=output.end(), warnings=[harmless(each) for each in warnings]
    )
    return True


def _failure(error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, OSError):
        named = " %s" % error.filename if error.filename else ""
        reason = "the state folder%s cannot be used: %s" % (named, error.strerror)
    else:
        reason = "of an unexpected error (a bug in the program on the host): %r" % error
    return Refused("UnknownError", "The deployment failed because %s" % reason)


def _note_failure(
    place: DeploymentPlace, event: str, failure: Refused, output: Output, ignored: bool
) -> None:
    journal.note_end(
        place,
        event,
        "Failed",
        code=failure.code,
        message=harmless(failure.message),
        script=failure.script,
        log=output.end(),
        ignored=ignored,
    )


def _carry_out(place: DeploymentPlace, order: Dict[str, Any], event: str, output: Output) -> List[str]:
    if event == "DownloadBundle":
        make_archive(place, order["revision"])
        return []
    if event == "Install":
        return install(place, order)
    scripts, archive = _scripts_of(place, order, event)
    warnings: List[str] = []
    if scripts:
        output.say(FIRST_LINE + event)
    for script in scripts:
        run = ScriptRun(
            script,
            archive,
            _environment(order, event),
            output,
            place.script,
            lambda: os.path.exists(place.stop),
            order.get("outputs_left_open", "warn"),
        )
        warnings += run.run()
    return warnings


def _scripts_of(
    place: DeploymentPlace, order: Dict[str, Any], event: str
) -> Tuple[List[Dict[str, Any]], str]:
    if event not in OF_LAST:
        return order["appspec"]["hooks"].get(event, []), place.archive
    last = read_json(place.group.last_successful)
    if last is None:
        return [], ""
    of_last = place.group.deployment(last["deployment"])
    orders = read_lines(of_last.orders, "appspec")
    if not orders or not os.path.isdir(of_last.archive):
        raise Refused(
            "UnknownError",
            "The files of deployment %s, the last successful one, whose scripts %s runs, are missing in %s. To deploy "
            "without them, set ignore_application_stop_failures in the deployment group"
            % (last["deployment"], event, of_last.folder),
        )
    return orders[-1]["appspec"]["hooks"].get(event, []), of_last.archive


def _environment(order: Dict[str, Any], event: str) -> Dict[str, str]:
    user = pwd.getpwuid(os.geteuid())
    environment = {"PATH": _PATH, "HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    environment.update({name: os.environ[name] for name in _INHERITED if name in os.environ})
    environment.update(order.get("environment", {}))
    environment.update(
        APPLICATION_NAME=order["application"],
        DEPLOYMENT_ID=order["deployment"],
        DEPLOYMENT_GROUP_NAME=order["group"],
        DEPLOYMENT_GROUP_ID=order["group_id"],
        LIFECYCLE_EVENT=event,
    )
    return environment
