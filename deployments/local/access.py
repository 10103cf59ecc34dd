"""Who may use the embedded server: those who can read one file, which has mode 0600.

The file is a profile of Prefect with the server's URL and a secret. The parts of the set-up, `codepipeline` and `prefect`
read it themselves, so that the secret is in no command line and in no environment.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
import tomllib
from pathlib import Path
from typing import Literal

from prefect_codepipeline.deployments.local.state import unusable
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.private_files import private_opener

TICKET_SECONDS = 600
# Further names by which browsers reach the server and the gateway, such as those of a tunnel: `localhost:8080,prefect.example.com`
HOSTS_VARIABLE = "PREFECT_CODEPIPELINE_HOSTS"
SIGN_IN_PATH = "/sign-in"
IDENTITY_PATH = "/identity"
_NAME = "codepipeline"


def profiles_file(home: Path) -> Path:
    """The file, for `PREFECT_PROFILES_PATH`."""
    return home / "profiles.toml"


def auth_string(home: Path) -> str | None:
    """`user:password` of the server, None before it was first started.

    Raises:
        PrefectUnavailable: the file cannot be read.
    """
    file = profiles_file(home)
    try:
        found = tomllib.loads(file.read_text())["profiles"][_NAME]["PREFECT_API_AUTH_STRING"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PrefectUnavailable(
            f"{file}, the password of the embedded server, cannot be read ({error}); remove it, and run `codepipeline up`: "
            "it makes a new one"
        ) from error
    return str(found)


def write_profile(home: Path, api_url: str) -> str:
    """Write the file for a server at that URL. The secret is kept; the first time it is created. Returns `user:password`.

    Raises:
        PrefectUnavailable: the file cannot be read or written.
    """
    auth = auth_string(home) or f"{_NAME}:{secrets.token_urlsafe(32)}"
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
    lines = [f'active = "{_NAME}"', "", f"[profiles.{_NAME}]", f'PREFECT_API_URL = "{api_url}"']
    lines += [f'{name} = "{auth}"' for name in names]
    file = profiles_file(home)
    part = file.with_suffix(".part")
    try:
        part.unlink(missing_ok=True)  # a file that exists would keep its mode
        with open(part, "w", opener=private_opener) as written:
            written.write("\n".join([*lines, ""]))
        os.replace(part, file)
    except OSError as error:
        raise PrefectUnavailable(unusable(home, error)) from error
    return auth


def forget_secret(home: Path) -> None:
    """Have the next start of the server create another secret: another program may have been sent this one."""
    profiles_file(home).unlink(missing_ok=True)


def authorization(auth: str) -> str:
    """The value of the header `Authorization`."""
    return f"Basic {password_of_ui(auth)}"


def password_of_ui(auth: str) -> str:
    """What Prefect's UI keeps in the browser, under `prefect-password`."""
    return base64.b64encode(auth.encode()).decode()


def proof(auth: str, purpose: Literal["server", "gateway", "sign-in"], text: str) -> str:
    """What only a process that knows the secret can answer to a text."""
    return hmac.new(auth.encode(), f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def sign_in_ticket(auth: str) -> str:
    """A text that the server exchanges for the password during the next ten minutes."""
    until = str(int(time.time()) + TICKET_SECONDS)
    return f"{until}.{proof(auth, 'sign-in', until)}"


def is_ticket(auth: str, text: str) -> bool:
    """Whether `sign_in_ticket` created the text, and it has not expired."""
    until, _, given = text.partition(".")
    is_ours = hmac.compare_digest(given.encode(), proof(auth, "sign-in", until).encode())
    return is_ours and until.isdecimal() and int(until) > time.time()


def added_hosts() -> list[str]:
    """The values of `Host` that the user adds."""
    named = os.environ.get(HOSTS_VARIABLE, "").lower().split(",")
    return list(filter(None, map(str.strip, named)))


def allowed_hosts(port: int | str) -> list[str]:
    """The values of `Host` that the server answers: this machine's names with its port, and those that the user adds."""
    return [*(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")), *added_hosts()]


def allowed_origins(port: int | str) -> list[str]:
    """The pages that may use the server."""
    hosts = allowed_hosts(port)
    return [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
