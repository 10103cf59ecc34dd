"""One bare mirror of each repository on the worker: fetch a revision and resolve it to a commit.

Mirrors are in the user's cache folder, or below `PREFECT_CODEPIPELINE_CACHE`; they may be deleted whenever no action
runs. A mirror is locked while it is used, repaired after a process died while using it, and recreated when it
is damaged.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from prefect_codepipeline.actions.artifacts.cache_folder import cache_root
from prefect_codepipeline.actions.git.failures import damaged, failure_of, known_failure, unavailable
from prefect_codepipeline.actions.git.process import Access, GitError, GitProcesses, git_processes
from prefect_codepipeline.actions.work import TimedWork
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.printable import printable

Result = TypeVar("Result")
_COMMIT_ID = re.compile(r"[0-9a-fA-F]{40}")
# What `git check-ref-format` refuses, and a leading dash.
_BAD_REFERENCE = re.compile(
    r"\A[-/]|[/.]\Z|\A\Z|\.lock(?:/|\Z)|(?:\A|/)\.|\.\.|//|@\{|\A@\Z|[\x00-\x20\x7f~^:?*\[\\]"
)
_LOCK_POLL_SECONDS = 0.1
_END_SECONDS = 5.0


@dataclass(frozen=True)
class Commit:
    """A commit as it was pinned; dates are UTC, or None if the commit's dates are not valid."""

    id: str
    message: str
    author: str
    authored: datetime | None
    committed: datetime | None
    author_email: str = ""

    @property
    def summary(self) -> str:
        """The first line of the commit message, for display."""
        return printable(self.message.strip().partition("\n")[0]).strip()


class Mirror:
    """A repository's mirror, locked by this process while the object is in use."""

    def __init__(self, repository: Path, access: Access, processes: GitProcesses) -> None:
        self.repository = repository
        self.access = access
        self._processes = processes

    def git(self, *arguments: str, environment: dict[str, str] | None = None) -> bytes:
        """Run git in the mirror. Raises as `GitProcesses.run`."""
        return self.run(f"--git-dir={self.repository}", *arguments, environment=environment)

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> bytes:
        """Run git outside the mirror, with the repository's credentials. Raises as `GitProcesses.run`."""
        return self._processes.run(*arguments, environment=environment)

    def create(self) -> None:
        """Create an empty mirror; what is there is deleted."""
        shutil.rmtree(self.repository, ignore_errors=True)
        self._processes.run("init", "--quiet", "--bare", "--template=", "--", str(self.repository))
        (self.repository / "description").write_text(f"Mirror of {self.access.url}\n")

    def is_sound(self) -> bool:
        """Check all objects; False when one is missing or broken."""
        try:
            self.git("fsck", "--no-dangling", "--no-progress")
        except GitError:
            return False
        return True


def cache_folder() -> Path:
    """The folder in which this worker keeps mirrors."""
    return cache_root() / "git"


def with_mirror(access: Access, context: TimedWork, work: Callable[[Mirror], Result]) -> Result:
    """Do `work` with the mirror of a repository; if the mirror is damaged, recreate it and do `work` once more.

    Raises:
        ActionFailed: with code `ConfigurationError`, `PermissionError`, `RevisionUnavailable`, `Timeout` or
            `JobFailed`, in one sentence.
        ActionAbandoned: the execution was cancelled; git has ended.
    """
    folder = cache_folder() / hashlib.sha256(access.url.encode()).hexdigest()[:32]
    try:
        with _open(folder, access, context) as mirror:
            try:
                return work(mirror)
            except GitError as error:
                _raise_unless_damaged(mirror, error)
                context.logger.warning("The mirror of %s was damaged and is recreated", access.url)
                mirror.create()
                return work(mirror)
    except GitError as error:
        raise failure_of(error, access.url, folder) from None
    except OSError as error:
        raise ActionFailed(
            f"the mirror of {access.url!r} could not be written in {str(folder)!r}: {error.strerror}; "
            "free disk space or allow writing there, or set PREFECT_CODEPIPELINE_CACHE to another folder"
        ) from error


@contextmanager
def unused_mirror(folder: Path) -> Iterator[bool]:
    """Lock the mirror in a folder of the cache while the block runs, if no action uses it: False if one does."""
    lock = os.open(folder / "lock", os.O_RDWR)
    try:
        is_unused = _try_lock(lock)
        if is_unused:
            _clean_up_after_crash(lock, folder / "repository.git")
        yield is_unused
    finally:
        os.close(lock)


def pin(mirror: Mirror, branch: str, override: str | None = None) -> str:
    """Fetch the head of `branch`, or the revision that `override` names; the commit's id.

    Args:
        mirror: of the repository.
        branch: its short name.
        override: a full commit id, a tag or a branch, tried in this order.

    Raises:
        ActionFailed: with code `ConfigurationError`, git does not allow such a name; `RevisionUnavailable`, it does
            not exist.
        GitError: git failed.
    """
    _check_reference("branch", branch)
    if override is None:
        return _fetch_branch(mirror, branch)
    _check_reference("source revision", override)
    # Requested even if the mirror has the commit: a caller without access to the repository must not read the mirror.
    references = remote_references(mirror)
    if _COMMIT_ID.fullmatch(override) and (found := fetch_commit(mirror, override.lower())):
        return found
    for reference in (f"refs/tags/{override}", f"refs/heads/{override}", override):
        if reference in references:
            return _fetch(mirror, reference)
    raise _no_such_revision(mirror, override, references)


def remote_references(mirror: Mirror) -> dict[str, str]:
    """The object id of each branch and tag of the remote repository, by full name."""
    output = mirror.git("ls-remote", "--quiet", "--refs", "--heads", "--tags", "--", mirror.access.url)
    lines = (line.split("\t", 1) for line in os.fsdecode(output).splitlines())
    return {name: object_id for object_id, name in lines}


def clone(mirror: Mirror, commit_id: str, destination: Path) -> None:
    """Clone the whole repository, with branches, tags and history, at a commit; `origin` is the repository's own URL.

    Objects that the mirror has are not fetched again. The clone does not depend on the mirror afterwards.
    """
    options = ("--quiet", "--no-checkout", "--no-recurse-submodules", "--template=", "--dissociate")
    reference = ("--reference", str(mirror.repository))
    mirror.run("clone", *options, *reference, "--", mirror.access.url, str(destination))
    mirror.run("-C", str(destination), "checkout", "--quiet", "--detach", commit_id, "--")


def read_commit(mirror: Mirror, commit_id: str) -> Commit:
    """Message, author and dates of a commit that the mirror has."""
    options = (
        "--format=%an%x00%ae%x00%at%x00%ct%x00%B",
        "--encoding=UTF-8",
        "--no-show-signature",
        "--no-mailmap",
    )
    output = mirror.git("log", "-1", *options, "--end-of-options", commit_id, "--")
    author, email, authored, committed, message = output.decode(errors="replace").split("\0", 4)
    return Commit(commit_id, message.rstrip("\n"), author, _date(authored), _date(committed), email)


def _fetch_branch(mirror: Mirror, branch: str) -> str:
    try:
        return _fetch(mirror, f"refs/heads/{branch}")
    except GitError as error:
        if "couldn't find remote ref" not in error.text.lower():
            raise
    raise _no_such_branch(mirror, branch)


def _fetch(mirror: Mirror, wanted: str) -> str:
    """Fetch one reference or commit; the id of the commit that it points to."""
    # Named by hash: the remote may replace branch `a` by `a/b`, but both cannot be files in one folder.
    kept = f"refs/kept/{hashlib.sha256(wanted.encode()).hexdigest()[:20]}"
    _transfer(mirror, f"+{wanted}:{kept}")
    try:
        return mirror.git("rev-parse", "--verify", f"{kept}^{{commit}}").decode().strip()
    except GitError as error:
        if damaged(error.text):
            raise
        raise unavailable(
            f"{wanted!r} of {mirror.access.url!r} is not a commit; name a branch, tag or commit"
        ) from None


def _transfer(mirror: Mirror, *refspecs: str, prune: bool = False) -> None:
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    mirror.git("fetch", *options, *(["--prune"] if prune else []), "--", mirror.access.url, *refspecs)


def fetch_commit(mirror: Mirror, commit_id: str) -> str | None:
    """Fetch a commit by its id, or None if the repository does not have it."""
    try:
        return _fetch(mirror, commit_id)
    except GitError as error:
        if "not our ref" in error.text:
            return None
        if "unadvertised object" not in error.text:
            raise
    # An old server serves only branches and tags; the commit may be in one of them.
    _transfer(mirror, "+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*", prune=True)
    try:
        return mirror.git("rev-parse", "--verify", f"{commit_id}^{{commit}}").decode().strip()
    except GitError:
        return None


def _check_reference(what: str, name: str) -> None:
    if _BAD_REFERENCE.search(name):
        raise ActionFailed(
            f"{what} {name[:200]!r} is not a valid git name; correct it in the source action or the "
            "source revision override",
            code="ConfigurationError",
        )


def _no_such_branch(mirror: Mirror, branch: str) -> ActionFailed:
    names = [
        name[len("refs/heads/") :] for name in remote_references(mirror) if name.startswith("refs/heads/")
    ]
    where = f"branch {branch!r} does not exist in {mirror.access.url!r}"
    if not names:
        return unavailable(f"{where}: the repository has no branches yet; push a commit to it")
    return unavailable(f"{where}; {_suggestion(branch, names)}")


def _no_such_revision(mirror: Mirror, revision: str, references: dict[str, str]) -> ActionFailed:
    where = f"{revision[:200]!r} is not a commit, tag or branch of {mirror.access.url!r}"
    if re.fullmatch(r"[0-9a-f]{4,39}", revision, re.IGNORECASE):
        return unavailable(f"{where}; name a commit by all 40 digits of its id")
    names = [name.split("/", 2)[2] for name in references]
    return unavailable(f"{where}; {_suggestion(revision, names) if names else 'the repository is empty'}")


def _suggestion(name: str, names: list[str]) -> str:
    if close := difflib.get_close_matches(name, names, n=2, cutoff=0.5):
        return f"did you mean {' or '.join(repr(each) for each in close)}?"
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"there are {', '.join(repr(each) for each in sorted(names)[:5])}{rest}"


def _date(seconds: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(seconds), timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def _raise_unless_damaged(mirror: Mirror, error: GitError) -> None:
    if damaged(error.text):
        return
    if known_failure(error, mirror.access.url, mirror.repository) or mirror.is_sound():
        raise error


@contextmanager
def _open(folder: Path, access: Access, context: TimedWork) -> Iterator[Mirror]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    repository = folder / "repository.git"
    with _locked(folder / "lock", access.url, context) as lock:
        _clean_up_after_crash(lock, repository)
        with git_processes(
            folder / "home", access, context.check, lambda group: _record_group(lock, group)
        ) as processes:
            mirror = Mirror(repository, access, processes)
            if not (repository / "HEAD").is_file():
                mirror.create()
            yield mirror


@contextmanager
def _locked(path: Path, url: str, context: TimedWork) -> Iterator[int]:
    """The open lock file, locked; the operating system releases the lock when this process ends, even by a crash."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    waited = False
    try:
        while not _try_lock(lock):
            if not waited:
                context.logger.info("Waiting for another action that fetches %s", url)
                waited = True
            context.check()
            context.cancellation.wait(_LOCK_POLL_SECONDS)
        yield lock
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _record_group(lock: int, group: int | None) -> None:
    """Record which process group works in the mirror, for the next process if this one crashes."""
    os.ftruncate(lock, 0)
    if group is not None:
        os.pwrite(lock, str(group).encode(), 0)


def _clean_up_after_crash(lock: int, repository: Path) -> None:
    """End a git that a killed process left running in the mirror, and remove its locks and unfinished packs."""
    noted = os.pread(lock, 20, 0)
    if not noted.isdigit():
        return
    _end_orphaned_git(int(noted), repository)
    for pattern in ("*.lock", "tmp_*", "incoming-*"):
        for left in list(repository.rglob(pattern)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    _record_group(lock, None)


def _end_orphaned_git(group: int, repository: Path) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while str(repository) in _command_line(group) and time.monotonic() < deadline:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        time.sleep(0.01)


def _command_line(process: int) -> str:
    """The command line of a process, empty if there is none: process ids are reused, paths of mirrors are not."""
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return os.fsdecode(Path(f"/proc/{process}/cmdline").read_bytes())
        return ""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return listed.stdout
