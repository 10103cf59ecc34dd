"""A release of a small HTTP service as a CodeDeploy bundle, and clients that ask it all the time.

On each host the service is a real process, in the folder `web` of the user's home; its address is in the file `web-address` there.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# Some requests take so long that a host has open ones when it is to leave the traffic.
SERVICE = """
import http.server, pathlib, sys, time

folder = pathlib.Path(__file__).parent
version, health = (folder / "version").read_text().split()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1.5)
        self.send_response(200 if self.path == "/health" or health == "good" else 500)
        self.end_headers()
        self.wfile.write(version.encode())

    def log_message(self, *_):
        pass


host, port = sys.argv[1].split(":")
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""
# A process that has ended stays as a zombie where nothing asks for it.
STOP = """#!/bin/sh
pid=$(cat "$HOME/web/pid")
kill "$pid"
while :; do
    case $(cut -d ' ' -f 3 "/proc/$pid/stat" 2>/dev/null) in "" | Z) exit 0 ;; esac
    sleep 0.05
done
"""
INSTALL = """#!/bin/sh
mkdir -p "$HOME/web" && cp "$(dirname "$0")/../service.py" "$(dirname "$0")/../version" "$HOME/web/"
"""
START = """#!/bin/sh
python3 "$HOME/web/service.py" "$(cat "$HOME/web-address")" </dev/null >"$HOME/web/log" 2>&1 &
echo $! >"$HOME/web/pid"
"""
VALIDATE = """#!/bin/sh
grep -q broken "$HOME/web/version" && { echo "this release does not work"; exit 1; }
python3 - "http://$(cat "$HOME/web-address")/health" "$(cut -d ' ' -f 1 "$HOME/web/version")" <<'PYTHON'
import sys, time, urllib.request
for _ in range(100):
    try:
        answer = urllib.request.urlopen(sys.argv[1]).read().decode()
        sys.exit(0 if answer == sys.argv[2] else f"version {answer} answers")
    except OSError:
        time.sleep(0.1)
sys.exit("the service does not answer")
PYTHON
"""
HOOKS = {
    "ApplicationStop": "stop",
    "AfterInstall": "install",
    "ApplicationStart": "start",
    "ValidateService": "validate",
}


def write_release(folder: Path, version: str, health: str = "good") -> Path:
    """The bundle of a version. `health` is `good`, `broken` (its validation fails) or `bad` (it answers with errors)."""
    (folder / "scripts").mkdir(parents=True)
    for name, text in (("stop", STOP), ("install", INSTALL), ("start", START), ("validate", VALIDATE)):
        (folder / "scripts" / f"{name}.sh").write_text(text)
    (folder / "service.py").write_text(SERVICE)
    (folder / "version").write_text(f"{version} {health}\n")
    hooks = "".join(
        f"  {event}:\n    - location: scripts/{name}.sh\n      timeout: 30\n" for event, name in HOOKS.items()
    )
    (folder / "appspec.yml").write_text(f"version: 0.0\nos: linux\nhooks:\n{hooks}")
    return folder


@dataclass
class Clients:
    """What clients were answered: the versions in order, and each failure."""

    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def asking(url: str, clients: int = 4) -> Iterator[Clients]:
    """Ask a service all the time until the end of the block: half of the clients for what takes a while."""
    seen, ends = Clients(), threading.Event()

    def ask(path: str) -> None:
        while not ends.is_set():
            try:
                with urllib.request.urlopen(f"{url}{path}", timeout=20) as response:
                    seen.versions.append(response.read().decode())
            except OSError as error:
                seen.failures.append(f"{path} at {time.monotonic():.1f}: {error}")
            ends.wait(0.02)

    threads = [threading.Thread(target=ask, args=("slow" if n % 2 else "",)) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ends.set()
        for thread in threads:
            thread.join(30)
