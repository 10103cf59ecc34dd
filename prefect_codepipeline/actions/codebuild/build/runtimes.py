"""`runtime-versions` of a buildspec: select an installed version, or use the version manager of the image or host.

https://docs.aws.amazon.com/codebuild/latest/userguide/runtime-versions.html
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from prefect_codepipeline.model.buildspec.parts import Buildspec

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_VERSION_OF = {
    "python": "python3 --version || python --version",
    "nodejs": "node --version",
    "golang": "go version",
    "java": "java -version",
}
# Version managers that switch by an environment variable; AWS's own images have them.
_SWITCHED = {
    "python": ("pyenv", "PYENV_VERSION"),
    "ruby": ("rbenv", "RBENV_VERSION"),
    "golang": ("goenv", "GOENV_VERSION"),
    "php": ("phpenv", "PHPENV_VERSION"),
}
_NAMES_OF_MISE = {"nodejs": "node", "golang": "go"}


def runtimes_of(spec: Buildspec) -> Mapping[str, str]:
    """The versions that a buildspec requests, by runtime."""
    return next((phase.runtime_versions for phase in spec.phases if phase.name == "install"), {})


def select_runtimes(runtimes: Mapping[str, str]) -> str:
    """The shell code that selects the requested versions for the commands.

    It prints a warning for each version that is not available, and never fails.
    """
    if not runtimes:
        return ""
    calls = [
        f"__codepipeline_select {shlex.quote(name)} {_quote_version(version)} "
        f"{shlex.quote(_VERSION_OF.get(name, f'{name} --version'))} "
        f"{_NAMES_OF_MISE.get(name, shlex.quote(name))} {' '.join(_SWITCHED.get(name, ('-', '-')))}"
        for name, version in runtimes.items()
    ]
    return "\n".join([_FUNCTIONS, *calls])


def _quote_version(version: str) -> str:
    variable = _VARIABLE.fullmatch(version)
    return f'"${{{variable[1] or variable[2]}-}}"' if variable else shlex.quote(version)


# `found` is the first number in the tool's version output; Java 8 prints 1.8.
_FUNCTIONS = r"""
__codepipeline_found() {
found=$(eval "$look" 2>&1 </dev/null | sed -n 's/^[^0-9]*\([0-9][0-9.]*\).*/\1/p' | sed -n 1p)
case "$found" in 1.8.0*) found=8;; esac
}
__codepipeline_fits() {
command -v "$tool" >/dev/null 2>&1 || { found=; return 1; }
__codepipeline_found
case "$found." in "$wanted".*) return 0;; esac
[ -z "$wanted" ]
}
__codepipeline_switch() {
case "$runtime" in
java)
eval "home=\${JAVA_${wanted}_HOME:-}"
for each in "$home" /usr/lib/jvm/*-"$wanted"-* /usr/lib/jvm/*-"$wanted"; do
if [ -n "$wanted" ] && [ -n "$each" ] && [ -x "$each/bin/java" ]; then export JAVA_HOME="$each" PATH="$each/bin:$PATH"; return; fi
done;;
nodejs)
eval "exact=\${NODE_${wanted}_VERSION:-}"
if [ -n "$exact" ] && command -v n >/dev/null 2>&1; then n "$exact" >/dev/null; hash -r; return; fi
if [ -s "${NVM_DIR:-$HOME/.nvm}/nvm.sh" ]; then
. "${NVM_DIR:-$HOME/.nvm}/nvm.sh"
nvm use "${wanted:-node}" >/dev/null 2>&1 || nvm install "${wanted:-node}"
return
fi;;
esac
if [ "$manager" != - ] && command -v "$manager" >/dev/null 2>&1; then
exact=$("$manager" versions --bare 2>/dev/null | sed 's/^[* ]*//' | grep "^${wanted:-[0-9]}" | tail -n 1)
if [ -n "$exact" ]; then export "$variable=$exact"; return; fi
fi
if command -v mise >/dev/null 2>&1; then
mise install --yes "$mise@${wanted:-latest}" >/dev/null && eval "$(mise env -s bash "$mise@${wanted:-latest}")"
fi
}
__codepipeline_select() {
runtime=$1 wanted=$2 look=$3 mise=$4 manager=$5 variable=$6 tool=${3%% *}
asked=$wanted
wanted=${wanted#corretto}; wanted=${wanted#openjdk}; wanted=${wanted%.x}; wanted=${wanted%.x}
if [ "$wanted" = latest ]; then wanted=; fi
if [ "$tool" = python3 ] && ! command -v python3 >/dev/null 2>&1; then tool=python; fi
if ! __codepipeline_fits; then __codepipeline_switch; fi
if ! __codepipeline_fits; then
echo "[warning] runtime-versions: $runtime $asked is not installed${found:+ (found $found)} and no version manager provides it; the build continues without it"
fi
unset runtime asked wanted look mise manager variable tool found exact home each
}
"""
