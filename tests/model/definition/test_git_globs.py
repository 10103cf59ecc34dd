"""The globs of trigger filters: AWS's own examples, Java's rules, and that nothing makes them slow."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.model.definition.globs import GlobError, compile_glob


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        # What AWS's guide says of its own examples.
        ("main", ["main"], ["Main", "main2", "x/main"]),
        ("*", ["main", "a.b", ""], ["a/b"]),
        ("**", ["main", "a/b", "a/b/c.py", ""], []),
        ("main*", ["main", "main-2"], ["main/2", "amain"]),
        ("feature-branch*", ["feature-branch", "feature-branch1"], ["feature-branch/1"]),
        ("release/**", ["release/1", "release/1/2"], ["release", "prerelease/1"]),
        ("dir/*", ["dir/a"], ["dir/a/b", "dir"]),
        ("dir/**", ["dir/a", "dir/a/b"], ["dir", "x/dir/a"]),
        ("*.js", ["app.js"], ["a/app.js", "app.jsx"]),
        ("**.js", ["app.js", "a/app.js"], ["app.jsx"]),
        ("**/*.js", ["app.js", "a/app.js", "a/b/app.js"], ["a/app.jsx"]),
        ("common/**/*.js", ["common/app.js", "common/a/app.js", "common/a/b/app.js"], ["app.js", "commonapp.js"]),
        ("**/README.md", ["README.md", "a/README.md", "a/b/README.md"], ["xREADME.md", "a/xREADME.md"]),
        # Java's `glob:`.
        ("a**/b", ["ax/b", "a/b", "ax/y/b"], ["ab", "axb"]),
        ("?", ["a"], ["", "ab", "/"]),
        ("v?.?", ["v1.2"], ["v1.10", "v1/2"]),
        ("[abc]", ["a", "c"], ["d", "ab"]),
        ("v[0-9]", ["v0", "v9"], ["va", "v10"]),
        ("[a-cx-z]", ["b", "y"], ["d"]),
        ("[!a]", ["b"], ["a", "/", ""]),
        ("[!a-c]", ["d"], ["b", "/"]),
        ("[-a]", ["-", "a"], ["b"]),
        ("[a-]", ["-", "a"], ["b"]),
        ("[!-a]", ["b"], ["-", "a"]),
        (r"[*?\]", ["*", "?", "\\"], ["a"]),
        ("[+--]", ["+", ",", "-"], ["."]),
        ("a[.-0]b", ["a.b", "a0b"], ["a/b"]),
        ("[^a]", ["^", "a"], ["b"]),
        ("{a,b}", ["a", "b"], ["c", "ab", "{a,b}"]),
        ("{main,release/*}", ["main", "release/1"], ["release/1/2", "release"]),
        ("*.{py,toml}", ["a.py", "a.toml"], ["a.pyx", "b/a.py"]),
        ("{**/,}x", ["x", "a/x"], ["ax"]),
        ("x{,-y}", ["x", "x-y"], ["x-"]),
        ("{a}{b,c}", ["ab", "ac"], ["a"]),
        ("a,b", ["a,b"], ["a"]),
        ("a}", ["a}"], ["a"]),
        ("a]", ["a]"], ["a"]),
        (r"\*", ["*"], ["a", r"\*"]),
        (r"{a\,b,c}", ["a,b", "c"], ["a"]),
        (r"\{a\}", ["{a}"], ["a"]),
        ("ü*", ["ü", "üx"], ["u"]),
        ("a\nb", ["a\nb"], ["a"]),
        ("*", ["a\nb"], []),
        (".*", [".github"], ["a", ".github/x"]),
        ("a+(b)|c$", ["a+(b)|c$"], ["aab"]),
    ],
)  # fmt: skip
def test_a_pattern_stands_for_whole_names(pattern: str, matching: list[str], others: list[str]) -> None:
    glob = compile_glob(pattern)

    assert [name for name in matching if not glob.matches(name)] == []
    assert [name for name in others if glob.matches(name)] == []


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a[", "not closed"),
        ("[a", "not closed"),
        ("[]", "brackets are empty"),
        ("[!]", "brackets are empty"),
        ("[a/b]", "slash"),
        ("[z-a]", "reverse order"),
        ("[a-c-e]", "no first character"),
        ("{a", "not closed"),
        ("{a,{b}}", "cannot be nested"),
        ("a\\", "nothing follows the backslash"),
    ],
)
def test_what_is_no_glob_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(GlobError, match=message):
        compile_glob(pattern)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*a" * 120 + "b", "a" * 5000),
        ("**a?" * 60 + "b", "ab" * 2500),
        ("{a,b,ab,*}" * 25 + "c", "ab" * 2500),
        ("**/" * 80 + "x", "a/" * 2500),
        ("?" * 255, "a" * 5000),
    ],
)
def test_no_pattern_is_slow(pattern: str, name: str) -> None:
    start = time.process_time()

    assert not compile_glob(pattern).matches(name)
    assert time.process_time() - start < 3  # where a match is tried again and again, it takes years


_PIECES = st.sampled_from(["a", "b", "/", "*", "**", "**/", "?", "[ab]", "[!a]", "{a,b}", "{,*/}", "-", "."])


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=8).map("".join), st.text("ab/-.", max_size=12))
def test_it_says_what_a_regular_expression_says(pattern: str, name: str) -> None:
    assert compile_glob(pattern).matches(name) == bool(re.fullmatch(_regex(pattern), name))


@settings(max_examples=300, deadline=None)
@given(st.text("ab/*?[]!-{},\\^", max_size=20), st.text("ab/", max_size=8))
def test_any_text_is_a_glob_or_refused(pattern: str, name: str) -> None:
    with suppress(GlobError):
        compile_glob(pattern).matches(name)


def _regex(pattern: str) -> str:
    """The same by another way, for short patterns whose braces hold nothing special but `*/`."""
    tokens = {
        "**/": "(?:(?:(?<=/)|(?<![^/]))|.*/)",
        "**": ".*",
        "*": "[^/]*",
        "?": "[^/]",
        "[ab]": "[ab]",
        "[!a]": "[^a/]",
        "{a,b}": "(?:a|b)",
        "{,*/}": "(?:|[^/]*/)",
    }
    found = re.findall(r"\*\*/|\*\*|\*|\?|\[ab\]|\[!a\]|\{a,b\}|\{,\*/\}|.", pattern)
    return "".join(tokens.get(token, re.escape(token)) for token in found)
