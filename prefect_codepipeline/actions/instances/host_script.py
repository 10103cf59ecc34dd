"""The shell script that deploys on an instance, the command that fetches it, and what both print.

It runs as root in any POSIX shell, and needs the AWS CLI, and `unzip` or Python 3. What an instance has got is recorded there:
`begun DIGEST` or `done DIGEST`, where the digest covers the artifact and the steps.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from prefect_codepipeline.actions.instances.deploy_spec import Copy, Step, Steps

FOLDER = "/var/lib/codepipeline/deployments"
# The last line of a deployment that failed starts so.
REASON = "codepipeline: "
_LOG_BYTES = 2000
_PROLOGUE = r"""
set -u
export PATH="${PATH:-}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
work=$1
fail() { echo "codepipeline: $1"; exit 1; }
if command -v flock >/dev/null 2>&1; then exec 9>"$mark.lock"; flock 9; fi
if [ "$(cat "$mark" 2>/dev/null)" = "done $digest" ]; then echo "codepipeline: it has this artifact already"; exit 0; fi
echo "begun $digest" >"$mark" || fail "$mark cannot be written"
aws s3 cp --only-show-errors --region "$region" "$artifact" "$work/artifact.zip" ||
  fail "$artifact could not be downloaded; allow the role of the instance s3:GetObject on it"
mkdir "$work/tree" && cd "$work/tree" || fail "$work cannot be written"
if command -v unzip >/dev/null 2>&1; then unzip -q "$work/artifact.zip"
elif command -v python3 >/dev/null 2>&1; then python3 -m zipfile -e "$work/artifact.zip" .
else fail "the instance has neither unzip nor python3"; fi || fail "the artifact could not be unpacked"
run() {  # event, folder, script, seconds, user
  cd "$2" || fail "$1: there is no folder $2"
  [ -f "./$3" ] || fail "$1: script $3 is missing"
  chmod +x "./$3"
  echo "$1: $3"
  if [ -n "$5" ]; then
    chmod -R go+rX "$work"
    timeout "$4" su "$5" -c "$(quoted "./$3")" 9>&-
  else timeout "$4" "./$3" 9>&-; fi
  code=$?
  [ "$code" != 124 ] || fail "$1: script $3 took more than $4 seconds"
  [ "$code" = 0 ] || fail "$1: script $3 failed with exit code $code"
}
quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
copy() {  # source, destination
  mkdir -p "$2" || fail "$2 cannot be made"
  if [ -d "$work/tree/$1" ]; then cp -af "$work/tree/$1/." "$2/"; else cp -af "$work/tree/$1" "$2/"; fi ||
    fail "$1 could not be copied to $2"
}
"""


@dataclass(frozen=True)
class HostScript:
    """The script, and the digest of all that it does."""

    text: str
    digest: str


def mark_of(*names: str) -> str:
    """The file on an instance that records what the action of these names has deployed."""
    return f"{FOLDER}/{hashlib.sha256('/'.join(names).encode()).hexdigest()[:16]}"


def write_script(steps: Steps, artifact: str, region: str, mark: str) -> HostScript:
    """The script that deploys an artifact.

    Args:
        steps: what is done.
        artifact: the URL of its ZIP file in S3, which is named after its content.
        region: of the bucket.
        mark: the file that records what was deployed.
    """
    work = [*map(_run, steps.before), *map(_copy, steps.copies), *map(_run, steps.after)]
    body = "\n".join([_PROLOGUE, *work, 'echo "done $digest" >"$mark"', "echo deployed", ""])
    given = _assignments((("artifact", artifact), ("region", region), ("mark", mark)))
    digest = hashlib.sha256(f"{given}{body}".encode()).hexdigest()
    return HostScript(f"#!/bin/sh\n{given}{_assignments([('digest', digest)])}{body}", digest)


def deploy_command(script: str, region: str, mark: str) -> str:
    """The command that fetches a script from S3 and runs it; it prints the end of its output."""
    return f"""{_assignments((("script", script), ("region", region), ("mark", mark)))}
mkdir -p -m 0755 "${{mark%/*}}" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
if ! command -v aws >/dev/null 2>&1; then
  echo "{REASON}the instance has no AWS CLI; install it"; exit 1
fi
if ! aws s3 cp --only-show-errors --region "$region" "$script" "$work/deploy.sh"; then
  echo "{REASON}$script could not be downloaded; allow the role of the instance s3:GetObject on it"; exit 1
fi
sh "$work/deploy.sh" "$work" >"$mark.log" 2>&1
code=$?
tail -c {_LOG_BYTES} "$mark.log"
exit "$code"
"""


def look_command(mark: str) -> str:
    """The command that prints what an instance has got."""
    return f"cat {shlex.quote(mark)} 2>/dev/null || echo nothing"


def _assignments(values: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values)


def _run(step: Step) -> str:
    directory = shlex.quote(step.directory) if step.directory else '"$work/tree"'
    location, event = shlex.quote(step.location.lstrip("/")), shlex.quote(step.event)
    return f"run {event} {directory} {location} {step.timeout_seconds} {shlex.quote(step.user or '')}"


def _copy(copy: Copy) -> str:
    return f"copy {shlex.quote(copy.source.strip('/') or '.')} {shlex.quote(copy.destination)}"
