"""Install requirements.lock and this package, editable, into the environment whose Python runs this file.

uv needs a sixth of pip's time, but has no wheel for every platform and reads no pip configuration. What pip is configured
with is handed on to it; where uv has no word for a setting, or fails for whatever reason, pip does the work.
"""

import ast
import os
import subprocess
import sys

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
LOCKED = ["--require-hashes", "-r", "requirements.lock"]
# An editable build needs setuptools; from the environment itself, so that nothing unlocked is fetched.
PROJECT = ["--no-deps", "--no-build-isolation", "-e", "."]

# A setting of pip, the variable that uv reads for it, and what that variable has between two values.
UV_WORDS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}
# How pip works and what it says, but not where packages come from.
WITHOUT_EFFECT = {
    "break-system-packages", "cache-dir", "compile", "default-timeout", "disable-pip-version-check", "no-cache-dir",
    "no-color", "no-compile", "no-input", "no-warn-script-location", "progress-bar", "quiet", "require-virtualenv",
    "retries", "root-user-action", "timeout", "use-feature", "user", "verbose",
}  # fmt: skip


def uv_environment(settings: str) -> "dict[str, str] | None":
    """uv's variables for what `pip config list` printed; nothing where one of pip's settings has no word in uv."""
    variables = {"UV_SYSTEM_CERTS": "1", "UV_INDEX_STRATEGY": "unsafe-best-match"}  # as pip chooses
    for line in settings.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section not in ("global", "install", ":env:") or key in WITHOUT_EFFECT:
            continue
        if key not in UV_WORDS:
            return None
        variable, between = UV_WORDS[key]
        variables[variable] = between.join(str(ast.literal_eval(value)).split())
    # What the user set for uv itself, or for every program, was meant for it.
    return {name: value for name, value in variables.items() if name not in os.environ}


def install_by_uv() -> bool:
    """Whether uv could be had and has installed everything."""
    settings = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False)
    variables = uv_environment(settings.stdout)
    if settings.returncode != 0 or variables is None:
        return False
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    steps = (
        [*PIP, "install", "--only-binary=:all:", "--retries=1", "--require-hashes", "-r", ".ci/uv.txt"],
        [*uv, *LOCKED],
        [*uv, *PROJECT],
    )
    environment = {**os.environ, **variables}
    return all(
        subprocess.run(step, env=environment, stderr=subprocess.DEVNULL).returncode == 0 for step in steps
    )


def main() -> int:
    """Install; the exit code of what failed."""
    if install_by_uv():
        return 0
    for wanted in (LOCKED, PROJECT):
        code = subprocess.run([*PIP, "install", *wanted], check=False).returncode
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
