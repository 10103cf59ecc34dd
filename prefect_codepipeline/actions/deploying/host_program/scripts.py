"""Run the scripts of a lifecycle event as the agent of AWS does, with its messages.

https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html
"""

import errno
import os
import pwd
import select
import shlex
import signal
import stat
import time
from typing import Any, Callable, Dict, List, Optional

from prefect_codepipeline.actions.deploying.host_program import processes
from prefect_codepipeline.actions.deploying.host_program.output import Output
from prefect_codepipeline.actions.deploying.host_program.places import Refused, write_json

# So long a process may hold the output of a script that has ended well.
_HELD_SECONDS = 5.0
# So long the output of a script that failed or was ended is read, if a process holds it.
_LAST_WORDS_SECONDS = 0.5
_CHUNK = 65536


class Stopped(Exception):
    """The deployment was stopped while a script ran."""


class ScriptRun:
    """One script of an event.

    Args:
        script: as in the AppSpec.
        archive: the folder of the revision whose script it is.
        environment: all that the script gets.
        output: takes what it prints.
        note: the file that names its process.
        is_stopped: whether the deployment is to be stopped.
        outputs_left_open: `warn` or `fail`, see `_wait_for_outputs`.
    """

    def __init__(
        self,
        script: Dict[str, Any],
        archive: str,
        environment: Dict[str, str],
        output: Output,
        note: str,
        is_stopped: Callable[[], bool],
        outputs_left_open: str,
    ) -> None:
        self.location: str = script["location"]
        self.seconds: int = script["timeout_in_seconds"]
        self.runas: Optional[str] = script.get("runas")
        self.sudo: bool = bool(script.get("sudo"))
        self.path = os.path.join(archive, self.location)
        directory = script.get("directory")
        # The agent of AWS runs scripts in `/`; those of an EC2 action say where, relative to the revision.
        self.directory: str = "/" if directory is None else os.path.join(archive, directory)
        self.environment = environment
        self.output = output
        self.note = note
        self.is_stopped = is_stopped
        self.outputs_left_open = outputs_left_open
        self.warnings: List[str] = []
        self.streams: Dict[int, str] = {}
        self.process = 0
        self.exit_code: Optional[int] = None
        self.signal = 0

    def run(self) -> List[str]:
        """Run it to its end; the warnings.

        Raises:
            Refused: it failed, in the words of the agent.
            Stopped: the deployment was stopped.
        """
        self._make_executable()
        command = self._command()
        self.output.say("Script - %s" % self.location)
        deadline = time.monotonic() + self.seconds
        try:
            self._start(command)
            self._wait_for_end(deadline)
            self._wait_for_outputs(deadline)
        finally:
            for stream, name in self.streams.items():
                os.close(stream)
                self.output.close(name)
        if self.exit_code:
            by_signal = " (ended by signal %d)" % self.signal if self.signal else ""
            raise self._refused(
                "ScriptFailed", "%s failed with exit code %d%s" % (self._prefix, self.exit_code, by_signal)
            )
        return self.warnings

    @property
    def _prefix(self) -> str:
        as_user = " run as user %s" % self.runas if self.runas else ""
        return "Script at specified location: %s%s" % (self.location, as_user)

    def _refused(self, code: str, message: str) -> Refused:
        return Refused(code, message, script=self.location)

    def _make_executable(self) -> None:
        if not os.path.isfile(self.path):
            raise self._refused(
                "ScriptMissing", "Script does not exist at specified location: %s" % self.path
            )
        if os.access(self.path, os.X_OK):
            return
        try:
            os.chmod(self.path, stat.S_IMODE(os.stat(self.path).st_mode) | 0o111)
        except OSError:
            raise self._refused(
                "ScriptNotExecutable",
                "Unable to set script at specified location: %s as executable" % self.location,
            )

    def _command(self) -> List[str]:
        if not self.runas:
            return ["sudo", self.path] if self.sudo else [self.path]
        as_user = ["su", self.runas, "-c", shlex.quote(self.path)]
        if self.sudo:
            return ["sudo"] + as_user
        if os.geteuid() == 0:
            self._check_reach()
            return as_user
        own = pwd.getpwuid(os.geteuid()).pw_name
        if own == self.runas:
            return [self.path]
        raise self._refused(
            "ScriptFailed",
            "%s failed: the deployment runs as user %s, and only root can become another user. Deploy as root, or "
            "set `sudo: true` beside `runas` in the AppSpec" % (self._prefix, own),
        )

    def _check_reach(self) -> None:
        """The usual cause of `Permission denied` is the home of root, in which the state folder is by default."""
        try:
            user = pwd.getpwnam(self.runas or "")
        except KeyError:
            return  # su says so
        groups = set(os.getgrouplist(user.pw_name, user.pw_gid))
        folder = os.path.dirname(self.path)
        while user.pw_uid != 0 and folder != "/":
            found = os.stat(folder)
            owner, group = found.st_uid == user.pw_uid, found.st_gid in groups
            bit = stat.S_IXUSR if owner else stat.S_IXGRP if group else stat.S_IXOTH
            if not found.st_mode & bit:
                raise self._refused(
                    "ScriptFailed",
                    "%s failed: the user cannot enter the folder %s. Set state_folder of the deployment group, or of "
                    "the DeployHosts block of an EC2 action, to one that all users can enter, such as /var/lib/codedeploy"
                    % (self._prefix, folder),
                )
            folder = os.path.dirname(folder)

    def _start(self, command: List[str]) -> None:
        """Start it, but only once its process is noted, so that it is found if this program is killed."""
        wait, go = os.pipe()
        result, report = os.pipe()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        self.streams = {out: "stdout", err: "stderr"}
        self.process = os.fork()
        if self.process == 0:
            os.close(go)
            self._become(command, wait, report, out_end, err_end)
        for handle in (wait, report, out_end, err_end):
            os.close(handle)
        try:
            self._write_note()
            os.write(go, b".")
        finally:
            os.close(go)
            failed = os.read(result, 16)
            os.close(result)
        if failed:
            os.waitpid(self.process, 0)
            raise self._not_started(int(failed))

    def _write_note(self) -> None:
        started = processes.started_at(self.process)
        # Not synced: after a restart of the machine there is no such process.
        note = {"pid": self.process, "started": started, "boot_id": processes.boot_id()}
        write_json(self.note, note, sync=False)

    def _become(self, command: List[str], wait: int, report: int, out: int, err: int) -> None:
        try:
            os.setsid()
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            if os.read(wait, 1):
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out, 1)
                os.dup2(err, 2)
                os.chdir(self.directory)
                self._execute(command)
        except OSError as error:
            os.write(report, b"%d" % (error.errno or errno.EINVAL))
        finally:
            os._exit(127)

    def _execute(self, command: List[str]) -> None:
        try:
            os.execvpe(command[0], command, self.environment)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without `#!`, which every shell runs so.
            os.execve("/bin/sh", ["/bin/sh", self.path], self.environment)

    def _not_started(self, number: int) -> Refused:
        with open(self.path, "rb") as file:
            first = file.readline(200)
        hint = ""
        if number == errno.ENOENT and first.startswith(b"#!"):
            named = first[2:].strip().decode("utf-8", "replace")
            hint = ". Its first line names %s, which is not on the host" % named
            if first.endswith(b"\r\n"):
                hint = ". Its lines end as in Windows; store the script with the line ends of Unix"
        return self._refused(
            "ScriptFailed",
            "%s failed with error Errno::%s with message %s - %s%s"
            % (self._prefix, errno.errorcode.get(number, number), os.strerror(number), self.path, hint),
        )

    def _wait_for_end(self, deadline: float) -> None:
        while self.exit_code is None:
            self._pump(0.1)
            self._reap()
            if self.exit_code is not None:
                return
            if self.is_stopped():
                self._end()
                raise Stopped()
            if time.monotonic() >= deadline:
                self._end()
                raise self._refused(
                    "ScriptTimedOut",
                    "Script at specified location: %s failed to complete in %d seconds"
                    % (self.location, self.seconds),
                )

    def _end(self) -> None:
        processes.end_all(self.process, self._pump)
        until = time.monotonic() + _LAST_WORDS_SECONDS
        while self.streams and time.monotonic() < until:
            self._pump()

    def _wait_for_outputs(self, deadline: float) -> None:
        """A process that the script has left may hold its output: read it to its end, but not for ever.

        The agent of AWS waits until the timeout, and fails; so does `fail`. With `warn` it is five seconds.
        """
        fails = self.outputs_left_open == "fail" and not self.exit_code
        held = _LAST_WORDS_SECONDS if self.exit_code else _HELD_SECONDS
        until = deadline if fails else time.monotonic() + held
        while self.streams and time.monotonic() < until:
            self._pump(0.1)
            if self.is_stopped():
                raise Stopped()
        if not self.streams or self.exit_code:
            return
        name = min(self.streams.values(), key=("stdout", "stderr").index).upper()
        if fails:
            raise self._refused(
                "OUTPUTS_LEFT_OPEN",
                "Script at specified location: %s failed to close %s" % (self.location, name),
            )
        self.warnings.append(
            "Script at specified location: %s left a process that holds %s open. Nothing reads it any more: redirect "
            "the output of processes that outlive the script, as in `server >/var/log/server.log 2>&1 &`"
            % (self.location, name)
        )

    def _reap(self) -> None:
        process, status = os.waitpid(self.process, os.WNOHANG)
        if process:
            self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            self.exit_code = 128 + self.signal if self.signal else os.WEXITSTATUS(status)

    def _pump(self, seconds: float = 0.05) -> None:
        """Take what the script prints, for at most so long."""
        if not self.streams:
            time.sleep(min(seconds, 0.02))
            return
        ready, _, _ = select.select(list(self.streams), [], [], seconds)
        for stream in ready:
            data = os.read(stream, _CHUNK)
            if data:
                self.output.feed(self.streams[stream], data)
            else:
                os.close(stream)
                self.output.close(self.streams.pop(stream))
