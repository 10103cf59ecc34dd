"""Translate git's error messages into failures of a source action that a person can act on."""

from __future__ import annotations

import re
from pathlib import Path

from prefect_codepipeline.actions.git.process import GitError
from prefect_codepipeline.errors import ActionFailed

# What git writes about the local mirror; messages of the server come in lines that start with `remote:`.
_DAMAGE = re.compile(
    r"not a git repository|bad object|is corrupt|object file|loose object|packfile|inflate:|unresolved delta"
    r"|did not send all necessary objects|unable to read (?:tree|sha1|[0-9a-f]{40})|could not read [0-9a-f]{40}"
    r"|bad config|invalid index-pack|missing (?:blob|tree|commit)|unable to parse|cannot lock ref|bad ref",
    re.IGNORECASE,
)
_NO_SPACE = "the disk of this worker is full while fetching {url} into {folder}; free some space and retry"
_REFUSED = (
    "{url} refused access; give its connection a token or key that may read the repository "
    "(`codepipeline connection add --token-stdin` or `--ssh-key FILE`)"
)
_MISSING = (
    "there is no repository at {url}, or the connection's token has no access to it; "
    "correct the source action or the connection's URL template"
)
_UNREACHABLE = "{host} could not be reached for {url}; check the address and the network, then retry"
# The first that matches is used, so the more specific ones come first.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"no space left on device|disk quota exceeded", "JobFailed", _NO_SPACE),
    (
        r"host key verification failed",
        "PermissionError",
        "the host key of {url} does not match the connection's known_hosts; set known_hosts to the output of "
        "ssh-keyscan for that host, after checking it",
    ),
    (
        r"authentication failed|could not read (?:username|password)|terminal prompts disabled|permission denied \("
        r"|access denied(?! or repository)|returned error: 40[13]|not authorized|invalid credentials"
        r"|load key .*(?:invalid|error)",
        "PermissionError",
        _REFUSED,
    ),
    (
        r"repository '.*' not found|repository not found|does not appear to be a git repository"
        r"|returned error: 404|access denied or repository not exported|could not be found",
        "ConfigurationError",
        _MISSING,
    ),
    (
        r"transport '.*' not allowed|unable to find remote helper",
        "ConfigurationError",
        "git's transport for {url} is not allowed; use https, ssh, git or a local path",
    ),
    (
        r"cannot run ssh|ssh: (?:not found|command not found)",
        "ConfigurationError",
        "ssh is not installed on this worker, so {url} cannot be fetched; install it or use https",
    ),
    (
        r"certificate",
        "ConfigurationError",
        "this worker does not trust the certificate of {url}; set GIT_SSL_CAINFO of the worker to the file of its "
        "authority",
    ),
    (
        r"could not resolve|connection refused|timed out|failed to connect|unable to connect|couldn't connect"
        r"|network is unreachable|no route to host|connection reset|connection closed|too slow|rpc failed"
        r"|empty reply|returned error: (?:429|5\d\d)|early eof|hung up unexpectedly|unable to access",
        "JobFailed",
        _UNREACHABLE,
    ),
)


def damaged(text: str) -> bool:
    """Whether git's error is about the state of the local mirror."""
    own = (line for line in text.splitlines() if not line.startswith("remote:"))
    return any(_DAMAGE.search(line) for line in own)


def known_failure(error: GitError, url: str, folder: Path) -> ActionFailed | None:
    """The failure for an error about the remote repository, the connection to it or the disk; None for any other."""
    for pattern, code, sentence in _KNOWN:
        if re.search(pattern, error.text, re.IGNORECASE):
            text = sentence.format(url=repr(url), host=_host(url), folder=repr(str(folder)))
            return ActionFailed(f"{text} (git: {_main_line(error.text)})", code=code)
    return None


def failure_of(error: GitError, url: str, folder: Path) -> ActionFailed:
    """The failure of the action that git's error means, in one sentence."""
    reason = _main_line(error.text) or "it gave no reason"
    return known_failure(error, url, folder) or ActionFailed(
        f"git could not read {url!r}: {reason}; retry later"
    )


def unavailable(message: str) -> ActionFailed:
    """The failure for a revision that is not in the repository."""
    return ActionFailed(message, code="RevisionUnavailable")


def _main_line(text: str) -> str:
    """The line of git's output that says most about the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if re.match(r"(fatal|error|remote|ssh|ERROR):", line)]
    return (marked or lines or [""])[0][:400]


def _host(url: str) -> str:
    match = re.match(r"(?:\w+://)?(?:[^@/]*@)?([^/:]+)", url)
    return repr(match[1]) if match and not url.startswith("/") else "the repository"
