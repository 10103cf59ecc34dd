"""The tree of a commit: what a clone would have, and nothing that a repository could do to us."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.actions.git.source import GitSource, commit_variables, read_source
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.errors import ActionFailed

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.fixture
def export(repository, make_source_context):
    """Read the head of `main`; the folder with its files."""

    def run(**fields: Any) -> Path:
        source = GitSource(GitConnection(url_template=str(repository.path)), "app", "main")
        result = read_source(source, make_source_context(**fields), commit_variables)
        tree = result.output_artifacts["SourceOutput"]
        assert tree.format == "CODE_ZIP"
        assert tree.files is None
        return tree.directory

    return run


def test_modes_and_symlinks_are_kept(repository, export):
    (repository.path / "run.sh").write_text("#!/bin/sh\n")
    (repository.path / "run.sh").chmod(0o755)
    (repository.path / "link").symlink_to("README.md")
    (repository.path / "broken").symlink_to("nowhere")
    repository.git("add", "-A")
    repository.commit()
    tree = export()

    assert os.access(tree / "run.sh", os.X_OK)
    assert not (tree / "README.md").stat().st_mode & 0o111
    assert os.readlink(tree / "link") == "README.md"
    assert os.readlink(tree / "broken") == "nowhere"


def test_git_s_own_data_is_left_out(export):
    assert [path.name for path in export().rglob("*")] == ["README.md"]


def test_export_attributes_change_nothing(repository, export):
    attributes = "secret.txt export-ignore\nversion.txt export-subst\n"
    repository.commit(
        **{".gitattributes": attributes, "secret.txt": "kept\n", "version.txt": "$Format:%H$\n"}
    )
    tree = export()

    assert (tree / "secret.txt").read_text() == "kept\n"
    assert (tree / "version.txt").read_text() == "$Format:%H$\n"


def test_names_of_any_alphabet_and_shape(repository, export):
    names = ["äöü/日本語.txt", "with space", "-dash", "new\nline", "back\\slash", "quote'\"", ":(glob)*"]
    for name in names:
        (repository.path / name).parent.mkdir(exist_ok=True)
        (repository.path / name).write_text(name)
    raw = os.fsencode(repository.path) + b"/latin-\xe4"
    Path(os.fsdecode(raw)).write_text("latin")
    repository.git("add", "-A")
    repository.commit()
    tree = export()

    assert all((tree / name).read_text() == name for name in names)
    assert os.path.exists(os.fsencode(tree) + b"/latin-\xe4")


def test_submodules_are_empty_folders_and_the_log_says_so(repository, make_repository, export, caplog):
    library = make_repository("library")
    library.commit(**{"library.txt": "l\n"})
    repository.git("submodule", "--quiet", "add", str(library.path), "vendor/library")
    repository.commit()
    tree = export()

    assert (tree / "vendor/library").is_dir()
    assert not list((tree / "vendor/library").iterdir())
    assert (tree / ".gitmodules").is_file()
    assert "Submodules are empty folders in the artifact, as in AWS: vendor/library" in caplog.text


def test_a_submodule_that_runs_a_program_does_not(repository, make_repository, export, tmp_path):
    witness = tmp_path / "witness"
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    url = f"ext::sh -c 'touch% {witness}'"
    repository.commit(
        **{".gitmodules": f'[submodule "x"]\n  path = sub\n  url = {url}\n  update = !touch {witness}\n'}
    )

    assert (export() / "sub").is_dir()
    assert not witness.exists()


def test_lfs_pointers_stay_pointers_and_the_log_says_so(repository, export, caplog):
    repository.commit(
        **{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "data/large.bin": LFS_POINTER}
    )
    tree = export()

    assert (tree / "data/large.bin").read_text() == LFS_POINTER
    assert (
        "Git LFS files are only pointers in the artifact, their content is not fetched: data/large.bin"
        in caplog.text
    )


def test_an_ordinary_commit_brings_no_warning(export, caplog):
    caplog.set_level(logging.INFO)
    export()

    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_line_endings_are_those_of_a_clone(repository, export):
    repository.commit(**{".gitattributes": "*.bat text eol=crlf\n", "run.bat": "a\nb\n"})

    assert (export() / "run.bat").read_bytes() == b"a\r\nb\r\n"


def test_a_commit_without_files_is_an_empty_tree(repository, export):
    repository.git("rm", "--quiet", "README.md")
    repository.commit()

    assert list(export().iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".GIT/config",
        "sub/.git/hooks/post-checkout",
        "../escape",
        "git~1/config",
        "a/../../escape",
    ],
)
def test_a_tree_that_would_leave_its_folder_is_refused(path, repository, export, tmp_path):
    _commit_path(repository, path)

    with pytest.raises(ActionFailed) as failure:
        export()
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.rglob("escape"))


def test_a_link_to_elsewhere_is_not_followed(repository, export, tmp_path):
    # As in CVE-2021-21300: a folder `a` and a link `a` in one tree, so that `a/file` would land behind the link.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = _hash(repository, "blob", str(elsewhere).encode())
    folder = _hash(repository, "tree", _entry("100644", "file", _hash(repository, "blob", b"x")))
    _commit_tree(repository, _entry("120000", "a", link) + _entry("40000", "a", folder))

    export()
    assert not list(elsewhere.iterdir())


def _commit_path(repository: Any, path: str) -> None:
    """A commit with one file at a path that git itself would not add."""
    *folders, name = path.split("/")
    entry = _entry("100644", name, _hash(repository, "blob", b"evil\n"))
    for folder in reversed(folders):
        entry = _entry("40000", folder, _hash(repository, "tree", entry))
    _commit_tree(repository, entry)


def _commit_tree(repository: Any, tree: bytes) -> None:
    commit = repository.git("commit-tree", "-m", "Evil", _hash(repository, "tree", tree))
    repository.git("update-ref", "refs/heads/main", commit)


def _entry(mode: str, name: str, object_id: str) -> bytes:
    return f"{mode} {name}\0".encode() + bytes.fromhex(object_id)


def _hash(repository: Any, kind: str, content: bytes) -> str:
    command = ["git", "-C", str(repository.path), "hash-object", "-w", "--literally", "-t", kind, "--stdin"]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout.decode().strip()
