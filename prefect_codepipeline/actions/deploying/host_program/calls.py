"""The calls that this program answers: one JSON line each on standard input, JSON lines on standard output."""

import errno
import fcntl
import json
import os
import pwd
import signal
import sys
import time
from typing import IO, Any, Callable, Dict, Optional

from prefect_codepipeline.actions.deploying.host_program import processes
from prefect_codepipeline.actions.deploying.host_program.holdings import has_revision, note_use, prune
from prefect_codepipeline.actions.deploying.host_program.journal import Standing, keep_room, note_end
from prefect_codepipeline.actions.deploying.host_program.output import end_of_log
from prefect_codepipeline.actions.deploying.host_program.places import (
    DeploymentPlace,
    Place,
    Refused,
    append_line,
    private,
    read_json,
    remove,
    write_json,
)

Answer = Dict[str, Any]
Call = Dict[str, Any]
_LOOK_SECONDS = 0.1


def main() -> None:
    """Answer the call on standard input."""
    os.umask(0o022)
    stream = sys.stdin.buffer
    try:
        call = json.loads(stream.readline().decode())
        place = Place(call["state_folder"], call["group_id"])
        answer = _VERBS[call["verb"]](place, call, stream)
    except Refused as failure:
        answer = {"error": failure.message, "code": failure.code}
    except OSError as error:
        if error.errno == errno.EPIPE:
            os._exit(1)  # the connection has ended: the answer is not read
        named = " %s" % error.filename if error.filename else ""
        answer = {
            "error": "The state folder%s cannot be used: %s" % (named, error.strerror),
            "code": "StateFolder",
        }
    _say(dict(answer, end=True))


def _say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _survey(place: Place, call: Call, _stream: IO[bytes]) -> Answer:
    deployment = place.deployment(call["deployment"])
    standing = Standing(deployment)
    _conclude_holder(place, deployment)
    return {
        "python": "%d.%d.%d" % sys.version_info[:3],
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "uid": os.geteuid(),
        "has_revision": has_revision(place, call["revision"]),
        "busy_with": place.busy_with(),
        "last_successful": read_json(place.last_successful),
        "journal": len(standing.entries) if standing.orders else None,
    }


def _receive(place: Place, call: Call, stream: IO[bytes]) -> Answer:
    # Not above: only what a call needs is imported, which other calls would pay for.
    from prefect_codepipeline.actions.deploying.host_program.revisions import receive

    receive(place, call["revision"], stream)
    return {}


def _start(place: Place, call: Call, _stream: IO[bytes]) -> Answer:
    order = dict(call["order"], boot_id=processes.boot_id())
    deployment = place.deployment(order["deployment"])
    _conclude_holder(place, deployment)
    with place.mutex():
        busy = place.busy_with()
        if busy is not None and busy != deployment.name:
            return {"busy_with": busy}
        if os.path.exists(deployment.ended):
            return {}
        program = _take_running(deployment)
        standing = Standing(deployment)
        if program is None:
            _check_same(standing, order)
            return {}
        unfinished = standing.open_event is not None and standing.orders[-1] != order
        was_begun = standing.broken or unfinished or bool(standing.begun & set(order["events"]))
        if not was_begun:
            _accept(place, deployment, order)
    # Outside of the mutex: a child would hold it as long as it lives.
    if was_begun:
        # If it has not ended, its program was ended, and nothing is begun twice.
        _conclude_dead(deployment)
    else:
        _detach(deployment, order, program)
    os.close(program)
    return {}


def _conclude_holder(place: Place, deployment: DeploymentPlace) -> None:
    """Another deployment that has the group may be dead, and its worker may never ask for it again."""
    busy = place.busy_with()
    if busy is not None and busy != deployment.name:
        _is_running(place, place.deployment(busy))


def _check_same(standing: Standing, order: Dict[str, Any]) -> None:
    if not set(order["events"]) <= set(standing.orders[-1]["events"] if standing.orders else ()):
        raise Refused("StillRunning", "Deployment %s runs other events on the host now" % order["deployment"])


def _accept(place: Place, deployment: DeploymentPlace, order: Dict[str, Any]) -> None:
    os.makedirs(deployment.folder, 0o755, exist_ok=True)
    keep_room(deployment)
    write_json(place.lock, {"deployment": deployment.name, "revision": order["revision"]})
    if order not in Standing(deployment).orders[-1:]:
        append_line(deployment.orders, order)
        note_use(place, deployment=deployment.name, revision=order["revision"])


def _take_running(deployment: DeploymentPlace) -> Optional[int]:
    """The handle that a program holds while it works for the deployment, or None if another does. Taken in the mutex only."""
    os.makedirs(deployment.folder, 0o755, exist_ok=True)
    handle = os.open(deployment.running, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _detach(deployment: DeploymentPlace, order: Dict[str, Any], program: int) -> None:
    """Leave a process behind that works off the order, and that needs no connection."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            os.pwrite(program, b"%10d" % os.getpid(), 0)
            _work(deployment, order)
    finally:
        os._exit(0)


def _work(deployment: DeploymentPlace, order: Dict[str, Any]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    errors = os.open(
        os.path.join(deployment.folder, "program.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
    )
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    try:
        from prefect_codepipeline.actions.deploying.host_program.lifecycle import work_off

        work_off(deployment, order)
        _end_if_over(deployment)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()


def _end_if_over(deployment: DeploymentPlace) -> None:
    standing = Standing(deployment)
    if standing.broken or (standing.outcome and standing.orders[-1].get("last")):
        with deployment.group.mutex():
            _end(deployment, standing.outcome or "Failed", standing.orders[-1]["revision"])


def _follow(place: Place, call: Call, _stream: IO[bytes]) -> Answer:
    deployment = place.deployment(call["deployment"])
    offset = call["offset"]
    deadline = time.monotonic() + call["seconds"]
    seen = -1
    while True:
        running = _is_running(place, deployment)
        size = _size(deployment.journal)
        if size != seen or not running:
            seen, standing = size, Standing(deployment)
        for entry in standing.entries[offset:]:
            _say({"entry": entry})
        offset = max(offset, len(standing.entries))
        running = running and standing.open_event is not None
        if not running or time.monotonic() >= deadline:
            return {"lines": offset, "running": running, "outcome": standing.outcome}
        time.sleep(_LOOK_SECONDS)


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _is_running(place: Place, deployment: DeploymentPlace) -> bool:
    """Whether a program works for the deployment; if one was ended before its order, that is noted."""
    if not os.path.isdir(deployment.folder):
        return False
    with place.mutex():
        program = _take_running(deployment)
        if program is None:
            return True
        if Standing(deployment).open_event is None:
            os.close(program)  # before `start` can see that it is taken
            program = None
    if program is not None:
        _conclude_dead(deployment)
        os.close(program)
    else:
        _end_if_over(deployment)
    return False


def _conclude_dead(deployment: DeploymentPlace) -> None:
    """Note the end of an order whose program was ended. The caller has the handle `running`."""
    standing = Standing(deployment)
    event = standing.open_event
    if event is not None:
        processes.end_remains(read_json(deployment.script))
        if standing.orders[-1]["boot_id"] != processes.boot_id():
            code, message = "FAILED_AFTER_RESTART", "The host was restarted during the deployment"
        else:
            code, message = "UnknownError", "The program that ran it was ended"
        log = end_of_log(deployment.log, event)
        note_end(deployment, event, "Failed", code=code, message=message, log=log)
    _end_if_over(deployment)


def _stop(place: Place, call: Call, _stream: IO[bytes]) -> Answer:
    deployment = place.deployment(call["deployment"])
    if not os.path.isdir(deployment.folder):
        return {"running": False}
    with open(deployment.stop, "w", opener=private):
        pass
    return {"running": _is_running(place, deployment)}


def _finish(place: Place, call: Call, _stream: IO[bytes]) -> Answer:
    deployment = place.deployment(call["deployment"])
    if _is_running(place, deployment):
        raise Refused("StillRunning", "Deployment %s still runs on the host: stop it first" % deployment.name)
    with place.mutex():
        orders = Standing(deployment).orders
        if orders:
            _end(deployment, call["outcome"], orders[-1]["revision"])
        else:
            _release(deployment)  # a crash before the order was noted, or a script that removed the folder
    return {}


def _end(deployment: DeploymentPlace, outcome: str, revision: str) -> None:
    """End the deployment on this host, in the mutex. What was done before a crash is done again, or not needed."""
    place = deployment.group
    remove(deployment.reserve)
    if not os.path.exists(deployment.ended):
        if outcome == "Succeeded":
            write_json(place.last_successful, {"deployment": deployment.name, "revision": revision})
        write_json(deployment.ended, {"outcome": outcome})
    _release(deployment)
    try:
        prune(place)
    except OSError:
        pass  # such as files that scripts made as root: the next deployment tries it again


def _release(deployment: DeploymentPlace) -> None:
    lock = deployment.group.lock
    if (read_json(lock) or {}).get("deployment") == deployment.name:
        remove(lock)


_VERBS: Dict[str, Callable[[Place, Call, IO[bytes]], Answer]] = {
    "survey": _survey,
    "receive": _receive,
    "start": _start,
    "follow": _follow,
    "stop": _stop,
    "finish": _finish,
}
