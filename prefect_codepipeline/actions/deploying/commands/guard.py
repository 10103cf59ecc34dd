"""Run one program for a worker, on any host: nothing of it outlives the worker, and its output has a limit.

This file is sent to the host as the argument of `python -c`, and so is Python 3.6 without other modules. Standard input has
one line of JSON: `command`, `environment` (added to this process's), `seconds`, `grace` and `bytes`. The end of the input
means that the worker is gone or wants the end. Each line of output is a line of the program behind `|`; the last one is a
JSON object with `exit_status`, `signal`, `timed_out` or `error`, and `cut`, how many bytes of output were left out.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

_TICK_SECONDS = 0.1
_CHUNK_BYTES = 65536
# What a program that has ended printed is there by then; its children may hold its output open forever.
_LAST_SECONDS = 0.2
_KEPT_OF_THE_END = 4096


class Output:
    """Passes lines on until there are too many bytes, and then keeps only the end."""

    def __init__(self, most: int) -> None:
        self.left = most
        self.line = b""
        self.end = b""
        self.cut = 0

    def add(self, data: bytes) -> None:
        """Pass on what still may be."""
        passed, rest = data[: self.left], data[self.left :]
        self.left -= len(passed)
        lines = (self.line + passed).split(b"\n")
        self.line = lines.pop()
        self._write(lines)
        if rest:
            self.cut += max(0, len(self.end) + len(rest) - _KEPT_OF_THE_END)
            self.end = (self.end + rest)[-_KEPT_OF_THE_END:]

    def close(self) -> None:
        """Pass on the end."""
        if self.cut:
            self._write([self.line, b"[" + str(self.cut).encode() + b" bytes are left out here]"])
            self.line = b""
        lines = (self.line + self.end).split(b"\n")
        if not lines[-1]:
            lines.pop()
        self._write(lines)

    def _write(self, lines: "list[bytes]") -> None:
        for line in lines:
            sys.stdout.buffer.write(b"|" + line + b"\n")
        sys.stdout.buffer.flush()


def run(call: "dict[str, Any]") -> "dict[str, Any]":
    """Run the program to its end, or to that of its time or of standard input; how it ended."""
    try:
        child = subprocess.Popen(
            call["command"],
            env=dict(os.environ, **call["environment"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return {"error": getattr(error, "strerror", None) or str(error), "cut": 0}
    output, why = Output(call["bytes"]), ""
    try:
        why = _follow(child, output, time.monotonic() + call["seconds"])
    finally:
        _end(child, _LAST_SECONDS if why == "end" else call["grace"])
    output.close()
    status = child.wait()
    return {
        "exit_status": status if status >= 0 else None,
        "signal": signal.Signals(-status).name if status < 0 else None,
        "timed_out": why == "time",
        "cut": output.cut,
    }


def _follow(child: "subprocess.Popen[bytes]", output: Output, ends: float) -> str:
    """Pass its output on; `end` when the program has ended, `time` at the end of its time, `input` if the worker is gone."""
    assert child.stdout, "it is a pipe"
    out = child.stdout.fileno()
    reading = [out]
    last = 0.0
    while True:
        now = time.monotonic()
        if child.poll() is not None:
            last = last or now + _LAST_SECONDS
            if not reading or now > last:
                return "end"
        elif now > ends:
            return "time"
        ready = select.select([*reading, 0], [], [], 0.02 if last else _TICK_SECONDS)[0]
        if out in ready:
            data = os.read(out, _CHUNK_BYTES)
            output.add(data)
            if not data:
                reading = []
        if 0 in ready and not os.read(0, _CHUNK_BYTES):
            return "input"


def _end(child: "subprocess.Popen[bytes]", grace: float) -> None:
    """End what is left of the process group: TERM, and KILL after the grace."""
    until = time.monotonic() + grace
    number = int(signal.SIGTERM)
    while True:
        child.poll()  # or the program itself, dead, would count as left
        try:
            os.killpg(child.pid, number)
        except OSError:
            return
        if number == signal.SIGKILL:
            return
        number = signal.SIGKILL if time.monotonic() > until else 0
        time.sleep(0.02)


def _leave(number: int, _frame: Any) -> None:
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> None:
    """Read the call, run it, and write how it ended."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _leave)
    call = json.loads(sys.stdin.buffer.readline().decode())
    ended = run(call)
    sys.stdout.buffer.write(json.dumps(ended).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
