"""No form of a secret that a command prints by accident is left in the log."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import subprocess
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.actions.commands.log import CommandLog
from prefect_codepipeline.actions.commands.masking import Masker, parts_of_secret
from prefect_codepipeline.actions.commands.shell_session import ShellSession

SECRET = "p@ss w0rd/ä'+\"&\\"
LONG = "".join(f"{number:02x}!" for number in range(100))
SESSION = ShellSession(Path("session"), [], b"\x1emark ", Path("variables"))
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=4)


def sh(command: str, secret: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        env={"S": secret, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
    )
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ('echo "$S"', "***"),
        ('echo "user:$S@host"', "user:***@host"),
        ('printf %s "$S" | base64 -w0', "***"),
        ('echo "x$S" | base64 -w0', "e***g=="),
        ('printf %s "$S" | od -An -v -tx1 | tr -d " \\n"', "***"),
        ('set -x; : "$S"', "+ : '***'"),
        (
            'printf "{\\"a\\": %s}" "$(python3 -c \'import json,os; print(json.dumps(os.environ["S"]))\')"',
            '{"a": "***"}',
        ),
    ],
)
def test_what_a_command_prints_of_a_secret_is_masked(command, expected):
    assert Masker([SECRET]).mask(sh(command, SECRET)).strip() == expected


@pytest.mark.parametrize(
    "encode",
    [quote, lambda text: quote(text, safe=""), quote_plus, html.escape, lambda text: quote(text).lower()],
)
def test_a_secret_that_is_escaped_is_masked(encode):
    secret = SECRET.lower()

    assert Masker([secret]).mask(f"a={encode(secret)}&b") == "a=***&b"


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "Authorization: Basic "])
@pytest.mark.parametrize("after", ["", "@", "\n", "@host"])
def test_a_secret_within_base64_is_masked_at_each_alignment(before, after):
    encoded = base64.b64encode(f"{before}{SECRET}{after}".encode()).decode()

    masked = Masker([SECRET]).mask(f"< {encoded} >")

    assert "***" in masked
    left = re.sub(r"[^A-Za-z0-9+/]", "", masked)
    assert len(left) * 6 <= (len(before) + len(after)) * 8 + 4


@pytest.mark.parametrize("columns", [20, 64, 76])
@pytest.mark.parametrize(
    "before", ["", "token ", "a much longer text that comes before it, and so it is wrapped elsewhere"]
)
@pytest.mark.parametrize("program", ["base64 -w", "xxd -p -c"])
def test_wrapped_text_is_masked_in_each_of_its_lines(columns, before, program):
    if "xxd" in program and subprocess.run(["which", "xxd"], capture_output=True).returncode:
        pytest.skip("xxd is not installed")
    output = sh(f'printf %s "$S" | {program} {columns}', before + LONG)

    masked = Masker([LONG]).mask(output)

    left = re.sub(r"\*\*\*|\s", "", masked)
    assert len(left) <= len(before) * 2 + 12
    assert masked.count("\n") == output.count("\n")


def test_the_lines_of_a_secret_and_the_texts_in_json_are_masked_each():
    key = "-----BEGIN KEY-----\nMIIEpAIBAAKC\n-----END KEY-----\n"
    values = json.dumps({"user": "admin-7", "list": ["hunter2"], "short": "abc"})
    masker = Masker([*parts_of_secret(key), *parts_of_secret(values)])

    assert masker.mask("x MIIEpAIBAAKC\nhunter2 admin-7 abc") == "x ***\n*** *** abc"


@pytest.mark.parametrize("secret", ["", "a", "abc"])
def test_what_is_shorter_than_four_characters_is_left(secret):
    assert Masker([secret]).mask("a cab with abc") == "a cab with abc"


def test_words_that_look_like_base64_are_left():
    log = "done\nBuilding\nc29tZXRoaW5nIGVsc2U=\nsuccess 7f3a9c\n"

    assert Masker([SECRET, LONG]).mask(log) == log


@settings(deadline=None)
@given(secret=texts, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_base64_of_any_secret_anywhere_says_nothing_of_it(secret, before, after):
    data = before + secret.encode() + after
    for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
        left = re.sub(r"\*\*\*|=", "", Masker([secret]).mask(encoded.decode()))
        assert len(left) * 6 <= (len(before) + len(after)) * 8 + 6


@settings(deadline=None)
@given(secret=texts, before=texts, after=texts)
def test_any_secret_is_masked_as_it_is_and_escaped(secret, before, after):
    for form in (secret, quote(secret), quote_plus(secret), json.dumps(secret)[1:-1], html.escape(secret)):
        assert form not in Masker([secret]).mask(f"{before}{form}{after}").replace("***", "")


@settings(deadline=None)
@given(st.data())
def test_output_that_comes_in_pieces_is_masked_as_a_whole(data):
    secret = data.draw(st.text("abc-", min_size=4, max_size=12))
    encoded = base64.b64encode(f"x{secret}".encode()).decode()
    output = f"one {secret} two {encoded}\n{quote(secret)}\n".encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=8)))
    logger = logging.Logger("pieces")
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    log = CommandLog(logger, SESSION, [secret])

    for start, end in zip([0, *cuts], [*cuts, len(output)], strict=True):
        log.receive(output[start:end])
    log.close()

    assert "\n".join(records) == Masker([secret]).mask(output.decode()).rstrip("\n")
    assert secret not in "\n".join(records)
