"""Install requirements.lock and this package, editable, into the environment whose Python runs this file.

uv needs a sixth of pip's time, but it does not have a wheel for every platform and does not read pip's configuration. So pip's
settings are passed to uv as variables. If uv has no variable for a setting, or fails for any reason, pip installs everything.
"""

import ast
import os
import subprocess
import sys

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
LOCKED = ["--require-hashes", "-r", "requirements.lock"]
# An editable build needs setuptools. It comes from the environment itself, so that only locked packages are downloaded.
PROJECT = ["--no-deps", "--no-build-isolation", "-e", "."]

# A setting of pip, the variable that uv reads for it, and the separator between two values of that variable.
UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}
# Settings about how pip works and what it prints, but not about where packages come from.
WITHOUT_EFFECT = {
    "break-system-packages", "cache-dir", "compile", "default-timeout", "disable-pip-version-check", "no-cache-dir",
    "no-color", "no-compile", "no-input", "no-warn-script-location", "progress-bar", "quiet", "require-virtualenv",
    "retries", "root-user-action", "timeout", "use-feature", "user", "verbose",
}  # fmt: skip


def uv_environment(settings: str) -> "dict[str, str] | None":
    """uv's variables for the output of `pip config list`, or None if uv has no variable for one of the settings."""
    variables = {"UV_SYSTEM_CERTS": "1", "UV_INDEX_STRATEGY": "unsafe-best-match"}  # as pip does
    for line in settings.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section not in ("global", "install", ":env:") or key in WITHOUT_EFFECT:
            continue
        if key not in UV_VARIABLES:
            return None
        variable, separator = UV_VARIABLES[key]
        variables[variable] = separator.join(str(ast.literal_eval(value)).split())
    # Variables that the user has set, for uv or for every program, win.
    return {name: value for name, value in variables.items() if name not in os.environ}


def install_by_uv() -> bool:
    """Install with uv; return whether that worked completely."""
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
    """Install with uv, else with pip; return the exit code of the command that failed, or 0."""
    if install_by_uv():
        return 0
    for requirements in (LOCKED, PROJECT):
        code = subprocess.run([*PIP, "install", *requirements], check=False).returncode
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
