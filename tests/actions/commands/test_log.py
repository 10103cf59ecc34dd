"""Raw output becomes log records that people can read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from prefect_codepipeline.actions.commands import log as command_log
from prefect_codepipeline.actions.commands.log import CommandLog
from prefect_codepipeline.actions.commands.shell_session import ShellSession

SESSION = ShellSession(Path("session"), ["make hunter2", "second"], b"\x1emark ", Path("variables"))


@pytest.fixture
def make_log(caplog):
    caplog.set_level(logging.INFO)
    return lambda *secrets: CommandLog(logging.getLogger("output"), SESSION, secrets)


def logged(caplog):
    return "\n".join(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param(b"one\ntwo\n", "one\ntwo", id="lines"),
        pytest.param(b"one\n\n\ntwo", "one\n\n\ntwo", id="empty lines, and a last one without an end"),
        pytest.param(b"one\r\ntwo\r\n", "one\ntwo", id="Windows' line ends"),
        pytest.param(b" 10%\r 50%\r100%\ndone\n", "100%\ndone", id="a progress bar"),
        pytest.param(b" 10%\r 50%\r", " 50%", id="a progress bar that was left"),
        pytest.param(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b(Bplain\n", "red plain", id="colours"),
        pytest.param(b"caf\xc3\xa9 \xff\xfe \x00\x07|\n", "café �� ��|", id="what is not text"),
        pytest.param(
            "a\u202eb\u2066c \x9b31m\x7f|\U0001f468\u200d\U0001f469 \ue0b0\n".encode(),
            "a�b�c �31m�|\U0001f468\u200d\U0001f469 \ue0b0",
            id="marks of direction and controls of one byte, but no emoji and icons",
        ),
        pytest.param(b"100% of %s and {}\n", "100% of %s and {}", id="no format"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_output_is_readable_however_it_is_cut(make_log, caplog, output, expected, size):
    log = make_log()

    for start in range(0, len(output), size):
        log.receive(output[start : start + size])
    log.close()

    assert logged(caplog) == expected


def test_commands_are_shown_and_their_last_lines_kept_apart(make_log, caplog):
    log = make_log("hunter2")

    log.receive(
        b"\x1emark 1\x1efirst, hunter2\nno line end\x1emark 2\x1e" + b"".join(b"%d\n" % n for n in range(30))
    )
    log.receive(b"last")
    log.close()

    assert log.command == 2
    assert log.tail == [*map(str, range(11, 30)), "last"]
    assert logged(caplog).startswith("$ make ***\nfirst, ***\nno line end\n$ second\n0\n1\n")


def test_lines_that_come_together_make_one_record(make_log, caplog, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(command_log.time, "monotonic", lambda: now[0])
    log = make_log()

    log.receive(b"one\n")
    log.receive(b"two\n")
    assert not caplog.records
    now[0] += 0.3
    log.receive(b"")
    log.receive(b"three\n")
    log.close()

    assert [record.getMessage() for record in caplog.records] == ["one\ntwo", "three"]


def test_a_record_is_never_too_large_and_nothing_of_a_long_line_is_lost(make_log, caplog):
    log = make_log()

    for _ in range(20):
        log.receive(b"x" * 50_000)
    log.receive(b"y\n" * 100_000)
    log.close()

    assert logged(caplog).replace("\n", "") == "x" * 1_000_000 + "y" * 100_000
    assert max(len(record.getMessage()) for record in caplog.records) <= 65_536
    assert len(caplog.records) < 50


def test_output_that_ends_like_the_beginning_of_a_mark_is_output(make_log, caplog):
    log = make_log()

    log.receive(b"one\n\x1emar")
    log.close()

    assert logged(caplog) == "one\n\N{REPLACEMENT CHARACTER}mar"


@pytest.mark.parametrize("offset", [1, 5, 27])
def test_a_secret_is_masked_where_a_long_line_is_cut(make_log, caplog, offset):
    secret = "correct-horse-battery-staple"
    before = "x" * (command_log.LINE_CHARACTERS + 100)
    log = make_log(secret, "another")

    log.receive((before + secret[:offset]).encode())
    log.receive((secret[offset:] + "y" * 100_000).encode())
    log.close()

    assert logged(caplog).replace("\n", "") == before + "***" + "y" * 100_000


def test_the_longest_secret_is_masked_first(make_log):
    assert make_log("abcd", "abcdef", "").mask("abcdef abcd") == "*** ***"
