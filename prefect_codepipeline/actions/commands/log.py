"""Log the output of commands: in whole lines, without escape sequences and secrets, and in few records.

Prefect stores a database row for each record, so the lines of a quarter of a second are logged as one record.
"""

from __future__ import annotations

import codecs
import logging
import re
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from prefect_codepipeline.actions.commands.masking import Masker
from prefect_codepipeline.actions.commands.shell_session import ShellSession, split_at_marks
from prefect_codepipeline.model.printable import without_controls

RECORD_CHARACTERS = 65_536
RECORD_SECONDS = 0.25
LINE_CHARACTERS = 32_768
TAIL_LINES = 20

# Colours, cursor movements, window titles and the other escape sequences of terminals.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


class CommandLog:
    """Receives the raw output of a session piece by piece and logs it at INFO.

    If a line is overwritten repeatedly (a progress bar), only its last state is logged. A line of more than
    32 Ki characters is split. Bytes that are not UTF-8 become U+FFFD.

    Args:
        logger: receives the lines.
        session: the session that runs; its marks are removed, and each command is logged as `$ command`.
        secrets: texts that become `***`, also in encoded form (`Masker`); texts of less than four characters are
            not masked.
    """

    def __init__(
        self,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        session: ShellSession,
        secrets: Iterable[str] = (),
    ) -> None:
        self.command = 0
        """The number of the running command, from 1; the number of commands plus 1 when all have ended."""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._logger = logger
        self.session = session
        self._masker = Masker(secrets)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""
        self._line = ""
        self._lines: list[str] = []
        self._characters = 0
        self._since = 0.0

    @property
    def tail(self) -> list[str]:
        """The last lines of the running command, at most 20."""
        return list(self._tail)

    def mask(self, text: str) -> str:
        """The text without secrets."""
        return self._masker.mask(text)

    def receive(self, output: bytes) -> None:
        """Receive the next piece; an empty piece only logs the lines that are due."""
        first, *rest = self._cut(output)
        self._write(first)
        for number, text in zip(rest[::2], rest[1::2], strict=True):
            self.begin(int(number))
            self._write(text)
        if self._lines and time.monotonic() - self._since >= RECORD_SECONDS:
            self._flush()

    def close(self) -> None:
        """Log the rest of the output."""
        self._write(self._held)
        self._end_line()
        self._flush()

    def _cut(self, output: bytes) -> list[bytes]:
        pieces, self._held = split_at_marks(self.session, self._held + output)
        return pieces

    def begin(self, number: int) -> None:
        """Start a command; the number of commands plus 1 means that all have ended."""
        self._end_line()
        self._tail.clear()
        self.command = number
        if number <= len(self.session.commands):
            self.add(f"$ {self.mask(self.session.commands[number - 1])}")
            self._tail.clear()

    def _write(self, output: bytes) -> None:
        self._line += self._decoder.decode(output)
        whole, newline, rest = self._line.rpartition("\n")
        self._line = rest
        if newline:
            for line in self._clean(whole).split("\n"):
                self.add(line)
        if "\r" in rest:
            self._line = _last_state(rest)
        if len(self._line) > LINE_CHARACTERS:
            self._cut_line()

    def _cut_line(self) -> None:
        # The end of the text may be the start of a secret or of an escape sequence.
        text = self._clean(self._line)
        kept = max(self._masker.longest, 64)
        if len(text) > kept:
            self.add(text[:-kept])
            self._line = text[-kept:]

    def _end_line(self) -> None:
        self._line += self._decoder.decode(b"", final=True)
        if self._line:
            self.add(self._clean(self._line))
        self._line = ""

    def _clean(self, text: str) -> str:
        if "\x1b" in text:
            text = _ESCAPES.sub("", text)
        if "\r" in text:
            text = "\n".join(_last_state(line).rstrip("\r") for line in text.split("\n"))
        # PostgreSQL refuses NUL in text; the others would control the terminal that shows the log.
        return self.mask(without_controls(text))

    def add(self, line: str) -> None:
        """Log a line in its place among the output. The line must be masked already."""
        for start in range(0, max(len(line), 1), LINE_CHARACTERS):
            piece = line[start : start + LINE_CHARACTERS]
            if self._characters + len(piece) + 1 > RECORD_CHARACTERS:
                self._flush()
            if not self._lines:
                self._since = time.monotonic()
            self._lines.append(piece)
            self._characters += len(piece) + 1
            self._tail.append(piece)

    def _flush(self) -> None:
        if self._lines:
            self._logger.info("%s", "\n".join(self._lines))
        self._lines, self._characters = [], 0


def _last_state(line: str) -> str:
    """What a terminal displays of a line with carriage returns; a final one is kept, as a newline may follow it."""
    ended = line.endswith("\r")
    return line.rstrip("\r").rpartition("\r")[2] + ("\r" if ended else "")
