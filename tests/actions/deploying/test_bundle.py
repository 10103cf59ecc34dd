"""A bundle has an AppSpec that fits its files, and is packed in the same way each time."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from prefect_codepipeline.actions.deploying.bundle import Bundle, bundle_of
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.appspec.parts import FileMapping

APPSPEC = "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/app\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def bundle(folder: Path) -> Bundle:
    return bundle_of(InputTree("Built", folder))


def packed(of: Bundle) -> bytes:
    stream = io.BytesIO()
    of.write_tar(stream)
    return stream.getvalue()


def refusal(folder: Path) -> str:
    with pytest.raises(ActionFailed) as caught:
        bundle(folder)
    assert caught.value.code == "ConfigurationError"
    return str(caught.value)


@pytest.mark.parametrize(
    ("files", "root"),
    [
        pytest.param({"appspec.yml": APPSPEC}, ".", id="appspec.yml"),
        pytest.param({"appspec.yaml": APPSPEC}, ".", id="appspec.yaml"),
        pytest.param({"appspec.yml": APPSPEC, "appspec.yaml": "wrong"}, ".", id="appspec.yml comes first"),
        pytest.param({"shop-1.0/appspec.yml": APPSPEC, "shop-1.0/a": ""}, "shop-1.0", id="the only folder"),
        pytest.param({"appspec.yml": APPSPEC, "old/appspec.yml": "wrong"}, ".", id="the root comes first"),
    ],
)  # fmt: skip
def test_the_appspec_is_found_where_codedeploys_agent_finds_it(
    files: dict[str, str], root: str, tmp_path: Path
) -> None:
    found = bundle(write(tmp_path, files))

    assert found.root == tmp_path / root
    assert found.appspec.files == (FileMapping("", "/srv/app"),)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": ""}, "input artifact 'Built' has no appspec.yml or appspec.yaml at its root; put it there, or let the build "
                    "give an output artifact that has it at its root"),
        ({"a/b/appspec.yml": APPSPEC},
         "input artifact 'Built' has no appspec.yml or appspec.yaml at its root; it is in 'a/b/appspec.yml', where CodeDeploy "
         "does not look; put it there, or let the build give an output artifact that has it at its root"),
        ({"shop/appspec.yml": APPSPEC, "readme": ""},
         "input artifact 'Built' has no appspec.yml or appspec.yaml at its root; it is in 'shop/appspec.yml', where CodeDeploy "
         "does not look; put it there, or let the build give an output artifact that has it at its root"),
        ({"appspec.yml": "a: [\n"},
         "input artifact 'Built' cannot be deployed: appspec.yml, line 2, column 1: not YAML: did not find expected node content"),
        ({"appspec.yml": "x: " + "y" * 3_000_001},
         "input artifact 'Built' cannot be deployed: appspec.yml: larger than 3000000 bytes, the limit for a definition"),
        ({"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: dist, destination: /srv}\n  - {source: x, destination: y}\n"},
         "appspec.yml of input artifact 'Built' cannot be deployed, 1 problem: line 5, column 17: files[1].destination: 'y' is "
         "not an absolute path: CodeDeploy's agent would take it below the folder in which it was started"),
        ({"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: dist, destination: /srv}\n  - {source: '../x', destination: /y}\n"
                         "  - {source: /etc/passwd, destination: /y}\n"},
         "appspec.yml of input artifact 'Built' cannot be deployed, 1 problem: line 5, column 6: files[1].source: '../x' is outside "
         "of the bundle: only files of the bundle are deployed; CodeDeploy's agent would take what is there on the host"),
        ({"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: dist, destination: /srv}\n"
                         "  - {source: /etc/passwd, destination: /y}\n"},
         "appspec.yml of input artifact 'Built' cannot be deployed, 2 problems: line 4, column 6: files[0].source: the bundle has "
         "no 'dist': CodeDeploy would fail Install; line 5, column 6: files[1].source: the bundle has no 'etc/passwd': CodeDeploy "
         "would fail Install"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_bundle_is_said(files: dict[str, str], message: str, tmp_path: Path) -> None:
    assert refusal(write(tmp_path, files)) == message


def test_many_problems_are_counted_and_some_listed(tmp_path: Path) -> None:
    lines = "".join(f"  - {{source: missing-{number}, destination: /srv}}\n" for number in range(300))
    said = refusal(write(tmp_path, {"appspec.yml": f"version: 0.0\nos: linux\nfiles:\n{lines}"}))

    assert said.startswith("appspec.yml of input artifact 'Built' cannot be deployed, 300 problems: line 4,")
    assert said.endswith("missing-19': CodeDeploy would fail Install; and 280 more")


def test_warnings_do_not_keep_it_from_being_deployed(tmp_path: Path) -> None:
    hooks = "hooks:\n  ValidateService:\n    - location: test.sh\n"
    found = bundle(write(tmp_path, {"appspec.yml": APPSPEC + "hook: x\n" + hooks}))

    assert found.warnings == (
        "line 6, column 1: hook: unknown key 'hook' is ignored (did you mean 'hooks'?)",
        "line 9, column 7: hooks.ValidateService[0].location: the bundle has no file 'test.sh': ValidateService fails with "
        "ScriptMissing",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "shown"),
    [("/etc/passwd", "/etc/passwd"), ("../outside", "../outside"), ("in/../../x", "in/../../x")],
)
def test_a_link_out_of_the_bundle_is_refused(target: str, shown: str, tmp_path: Path) -> None:
    root = write(tmp_path / "bundle", {"appspec.yml": APPSPEC, "in/a": ""})
    (root / "link").symlink_to(target)

    assert refusal(root) == (
        f"input artifact 'Built': the link 'link' leads to {shown!r}, out of the bundle; put the file itself there"
    )


def test_an_appspec_that_is_a_link_out_of_the_bundle_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password: swordfish: x")
    root = tmp_path / "bundle"
    root.mkdir()
    (root / "appspec.yml").symlink_to("../secret")

    assert "swordfish" not in refusal(root)


def test_links_inside_of_the_bundle_stay_links_and_can_be_sources(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: current/a, destination: /srv}\n"
            "  - {source: current, destination: /srv}\n  - {source: gone, destination: /srv}\n",
            "v1/a/b": "x",
        },
    )
    (root / "current").symlink_to("v1")
    (root / "gone").symlink_to("v2/not-there")
    found = bundle(root)

    with tarfile.open(fileobj=io.BytesIO(packed(found))) as archive:
        assert (archive.getmember("current").linkname, archive.getmember("current").issym()) == ("v1", True)
        assert archive.getmember("gone").linkname == "v2/not-there"
        assert "current/a" not in archive.getnames()


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, {"appspec.yml": APPSPEC})
    os.mkfifo(root / "pipe")
    assert refusal(root) == "input artifact 'Built': 'pipe' is neither a file, a folder nor a link"


STRANGE = (
    "new\nline",
    "quote'\"`$(x)",
    " spaces ",
    "-rf",
    b"latin-\xe9".decode(errors="surrogateescape"),
    "é" * 100,
)


def test_strange_names_are_packed_as_they_are(tmp_path: Path) -> None:
    root = write(tmp_path, {"appspec.yml": APPSPEC})
    for name in STRANGE:
        (root / name).write_bytes(os.fsencode(name))
    archived = packed(bundle(root))

    with tarfile.open(fileobj=io.BytesIO(archived), encoding="utf-8", errors="surrogateescape") as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
    assert files.keys() == {"appspec.yml", *STRANGE}
    assert all(file and file.read() == os.fsencode(name) for name, file in files.items() if name in STRANGE)


def test_a_problem_with_a_strange_name_can_be_printed(tmp_path: Path) -> None:
    root = write(tmp_path, {"appspec.yml": APPSPEC})
    os.symlink("/etc", os.fsencode(root) + b"/\xff\x1b[31m")
    said = refusal(root)

    assert said.startswith("input artifact 'Built': the link '??[31m' leads to '/etc'")
    assert said.encode()


def test_the_same_files_give_the_same_revision(tmp_path: Path) -> None:
    files = {"appspec.yml": APPSPEC, "b": "b", "a/c": "c", "a.b/d": "d"}
    one = write(tmp_path / "one", files)
    two = write(tmp_path / "two", dict(reversed(files.items())))
    os.utime(two / "b", (1, 1))
    (one / "b").chmod(0o750)
    (two / "b").chmod(0o750)
    first, second = bundle(one), bundle(two)

    assert first.revision == second.revision == hashlib.sha256(packed(first)).hexdigest()
    assert packed(first) == packed(second)
    with tarfile.open(fileobj=io.BytesIO(packed(first))) as archive:
        members = {member.name: member for member in archive}
    assert list(members) == ["a", "a/c", "a.b", "a.b/d", "appspec.yml", "b"]
    assert {(each.mtime, each.uid, each.gid, each.uname, each.gname) for each in members.values()} == {
        (0, 0, 0, "", "")
    }
    assert members["b"].mode == 0o750


@pytest.mark.parametrize("change", ["content", "mode", "name"])
def test_another_content_mode_or_name_is_another_revision(change: str, tmp_path: Path) -> None:
    root = write(tmp_path, {"appspec.yml": APPSPEC, "a": "a"})
    before = bundle(root).revision
    if change == "content":
        (root / "a").write_text("b")
    elif change == "mode":
        (root / "a").chmod(0o700)
    else:
        (root / "a").rename(root / "b")

    assert bundle(root).revision != before


def test_a_big_file_is_not_held_in_memory(tmp_path: Path) -> None:
    root = write(tmp_path, {"appspec.yml": APPSPEC})
    with (root / "big").open("wb") as file:
        file.truncate(30 << 20)
    tracemalloc.start()
    try:
        bundle(root).write_tar(_Nowhere())
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        pass


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can read every file")
    root = write(tmp_path, {"appspec.yml": APPSPEC, "a": "a"})
    (root / "a").chmod(0)
    with pytest.raises(ActionFailed, match=r"^'a' of the bundle cannot be read: Permission denied$"):
        bundle(root)
