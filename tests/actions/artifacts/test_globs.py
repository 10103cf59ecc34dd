"""The glob language of `outputArtifacts[].files`."""

from __future__ import annotations

import os

import pytest

from prefect_codepipeline.actions.artifacts.globs import select_files
from prefect_codepipeline.errors import ActionFailed

TREE = [
    ".env",
    ".github/ci.yml",
    "README.md",
    "a-b.txt",
    "a]b.txt",
    "build/app.js",
    "build/lib/x.js",
    "build/lib/deep/y.css",
    "src/build/z.js",
    "we,ird {name}.txt",
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for name in TREE:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "build/empty").mkdir()
    return root


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        pytest.param(["**/*"], TREE, id="everything"),
        pytest.param(["**/"], TREE, id="everything, as AWS's sample spells it"),
        pytest.param(["**"], TREE, id="everything, two stars"),
        pytest.param(["."], TREE, id="the directory itself"),
        pytest.param(["./"], TREE, id="the directory itself, with a slash"),
        pytest.param(["README.md"], ["README.md"], id="one file"),
        pytest.param(["./build//app.js"], ["build/app.js"], id="dots and slashes that say nothing"),
        pytest.param(["*"], [name for name in TREE if "/" not in name], id="files of the root alone"),
        pytest.param(["build/*"], ["build/app.js"], id="files of a directory alone"),
        pytest.param(["build"], [name for name in TREE if name.startswith("build/")], id="a directory"),
        pytest.param(["build/"], [name for name in TREE if name.startswith("build/")], id="with a slash"),
        pytest.param(["build/**/"], [name for name in TREE if name.startswith("build/")], id="and below"),
        pytest.param(["build/**/*"], [name for name in TREE if name.startswith("build/")], id="all below"),
        pytest.param(["build/**/*.js"], ["build/app.js", "build/lib/x.js"], id="zero directories too"),
        pytest.param(["**/build"], [name for name in TREE if "build/" in name], id="a name anywhere"),
        pytest.param(["*/build/z.js"], ["src/build/z.js"], id="one component, no more"),
        pytest.param(["s?c/**"], ["src/build/z.js"], id="one character"),
        pytest.param(["build/{app,nothing}.js"], ["build/app.js"], id="alternatives"),
        pytest.param(["build/{app.js,lib/*.js}"], ["build/app.js", "build/lib/x.js"], id="with slashes"),
        pytest.param(["[A-Z]*"], ["README.md"], id="a range"),
        pytest.param(["a[-x]b.txt"], ["a-b.txt"], id="a literal hyphen"),
        pytest.param(["we,ird \\{name\\}.txt"], ["we,ird {name}.txt"], id="escapes, commas outside braces"),
        pytest.param([".*"], [".env"], id="names that begin with a dot"),
        pytest.param(["nothing", "README.md"], ["README.md"], id="one of two is enough"),
    ],
)
def test_patterns_select_files(tree, patterns, expected):
    assert select_files(tree, patterns) == sorted(expected)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("build[!a]app.js", id="a negated set matches no slash"),
        pytest.param("build?app.js", id="nor does a question mark"),
        pytest.param("readme.md", id="case matters"),
        pytest.param("build/empty", id="an empty directory is no file"),
    ],
)
def test_patterns_that_match_nothing_fail_and_are_named(tree, pattern):
    with pytest.raises(ActionFailed, match="no matching artifact paths found: ") as failed:
        select_files(tree, [pattern, "*.war"])

    assert repr(pattern) in str(failed.value)
    assert "'*.war'" in str(failed.value)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("../secret", "stay inside it"),
        ("build/../../secret", "stay inside it"),
        ("/etc/passwd", "relative to the working directory"),
        ("[abc", "a bracket is not closed"),
        ("{a,b", "a brace is not closed"),
        ("{a,{b,c}}", "braces cannot be nested"),
        ("[z-a]", "bad character range"),
        ("name\\", "nothing to escape"),
    ],
)
def test_what_is_no_pattern_of_the_tree_is_refused(tree, pattern, message):
    with pytest.raises(ActionFailed, match=message) as refused:
        select_files(tree, [pattern])

    assert refused.value.code == "ConfigurationError"


def test_links_are_kept_and_never_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").touch()
    os.symlink("real", tmp_path / "link")
    os.symlink("/etc", tmp_path / "outside")

    assert select_files(tmp_path, ["**/*"]) == ["link", "outside", "real/file"]
    assert select_files(tmp_path, ["link"]) == ["link"]
    with pytest.raises(ActionFailed, match="match nothing"):
        select_files(tmp_path, ["link/file"])
