"""The output of commands on its way into the log: whole lines, readable, without secrets, in few records.

Prefect stores a row for each record, so the lines of a quarter of a second make one record.
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

RECORD_CHARACTERS = 65_536
RECORD_SECONDS = 0.25
LINE_CHARACTERS = 32_768
TAIL_LINES = 20

# Colours, cursor movements, window titles and the other escape sequences of terminals.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
# PostgreSQL refuses NUL in text; no other control character says anything in a log.
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in range(32) if chr(code) not in "\t\n\r"}


class CommandLog:
    """Takes the raw output of a session piece by piece and logs it at INFO.

    Of a line that is written over again and again (a progress bar) the last state is kept. A line of more than
    32 Ki characters is cut. Bytes that are no UTF-8 become U+FFFD.

    Args:
        logger: where the lines go.
        session: what runs; its marks are taken out and its commands shown as `$ command`.
        secrets: texts that become `***` wherever they appear, encoded too (`Masker`); less than four characters stay.
    """

    def __init__(
        self,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        session: ShellSession,
        secrets: Iterable[str] = (),
    ) -> None:
        self.command = 0
        """The number of the command that runs, from 1; one more than there are when all have ended."""
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
        """The last lines of the command that runs, at most 20."""
        return list(self._tail)

    def mask(self, text: str) -> str:
        """The text without secrets."""
        return self._masker.mask(text)

    def receive(self, output: bytes) -> None:
        """Take the next piece; an empty one lets what is due be logged."""
        first, *rest = self._cut(output)
        self._write(first)
        for number, text in zip(rest[::2], rest[1::2], strict=True):
            self.begin(int(number))
            self._write(text)
        if self._lines and time.monotonic() - self._since >= RECORD_SECONDS:
            self._flush()

    def close(self) -> None:
        """Log whatever has not been logged."""
        self._write(self._held)
        self._end_line()
        self._flush()

    def _cut(self, output: bytes) -> list[bytes]:
        pieces, self._held = split_at_marks(self.session, self._held + output)
        return pieces

    def begin(self, number: int) -> None:
        """A command begins; one more than there are when all have ended."""
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
        # The end of the piece may be the beginning of a secret or of an escape sequence.
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
        return self.mask(text.translate(_CONTROLS))

    def add(self, line: str) -> None:
        """Log a line at its place among the output; it is not masked any more."""
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
    """What a terminal shows of a line with carriage returns; a last one is kept, a newline may follow it."""
    ended = line.endswith("\r")
    return line.rstrip("\r").rpartition("\r")[2] + ("\r" if ended else "")
