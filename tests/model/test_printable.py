"""Texts of strangers are shown without characters that mislead a reader, wherever people read them."""

from __future__ import annotations

import unicodedata

import pytest
from rich.text import Text

from prefect_codepipeline.actions.git.mirror import Commit
from prefect_codepipeline.actions.git.process import Access
from prefect_codepipeline.cli.output import print_line
from prefect_codepipeline.cli.session import console
from prefect_codepipeline.engine.approvals.decision import as_comment
from prefect_codepipeline.gateway.approvals.page import _pages
from prefect_codepipeline.model.buildspec.reports import clean
from prefect_codepipeline.model.printable import printable
from prefect_codepipeline.model.triggers.git_event import GitEvent
from prefect_codepipeline.model.views import commit_status, page, picture, slack_text

# The other planes have no such characters, and to look for some delays the collection of tests by a quarter of a second.
_PLANES = (*range(0x30000), *range(0xE0000, 0xF0000))
HIDDEN = [chr(number) for number in _PLANES if unicodedata.category(chr(number)) in ("Cc", "Cf", "Cs")]
TEXT = "".join(f"x{character}" for character in HIDDEN if character not in "\n\t")


def leaked(text: str) -> set[str]:
    return {hex(ord(each)) for each in set(text) & set(HIDDEN) - {"\n", "\t", "\N{WORD JOINER}"}}


def test_nothing_that_is_hidden_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(TEXT, (TEXT, "red"))

    assert leaked(capsys.readouterr().out) == set()
    console.print(Text(TEXT, "red"))
    shown = capsys.readouterr().out
    assert "xxxx" in shown
    assert leaked(shown) == set()
    assert leaked(page.plain(TEXT)) == set()
    assert leaked(slack_text.defuse(TEXT, len(TEXT))) == set()
    assert leaked(commit_status._shorten(TEXT)) == set()
    assert leaked(as_comment(TEXT)) == set()
    assert leaked(picture.cut(TEXT, len(TEXT))) == set()
    assert leaked(_pages.from_string("{{ text }}").render(text=TEXT)) == set()


def test_what_is_visible_stays() -> None:
    text = "Größe 東京 שלום 👍 é"
    assert printable(text) == text
    assert printable("a\u00a0b\nc") == "a b c"
    assert printable("a\nb", kept="\n") == "a\nb"
    assert printable("main\u202egpj", instead="?") == "main?gpj"


def test_messages_of_git_and_texts_of_reports_have_no_controls() -> None:
    visible = set(HIDDEN) - {"\u200d"}
    misleading = "\x1b\x9b\x7f\x85\u061c\u200e\u202e\u2028\u2066\ufeff\U000e0041"
    access = Access("https://example.com/x.git", "git")
    commit = Commit("a" * 40, f"{misleading}Fix\n\nmore", "Ada", None, None)
    event = GitEvent("plain", f"acme/{misleading}x", "a" * 40, branch=f"{misleading}b")

    for text in (
        access.redact(f"fatal: {misleading}x"),
        clean(f"{misleading}x", 100),
        commit.summary,
        str(event),
    ):
        assert set(text) & visible == set(), text
