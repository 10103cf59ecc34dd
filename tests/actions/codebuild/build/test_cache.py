"""What one build leaves for the next."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import threading
from pathlib import Path

import pytest

from prefect_codepipeline.actions.codebuild.build.cache import (
    KEPT_ENTRIES,
    BuildCache,
    cache_place,
    home_folders,
)
from prefect_codepipeline.model.buildspec.parts import Cache


class Machine:
    """Builds of one project, each with new directories."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.place = cache_place("My App/../x", str(tmp_path / "caches"))
        self.said: list[str] = []

    def build(self, name: str, cache: Cache) -> BuildCache:
        root, home = self.path / name / "source", self.path / name / "home"
        for made in (root, home):
            made.mkdir(parents=True, exist_ok=True)
        return BuildCache(
            cache,
            self.place,
            root,
            home,
            lambda text: text.replace("$ARCH", "arm"),
            self.said.append,
            self.said.append,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def write(build: BuildCache, **files: str) -> None:
    for name, content in files.items():
        folder = build.home if name.startswith("home__") else build.root
        place = folder / name.removeprefix("home__").replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)


def test_paths_of_the_source_and_of_the_home_come_back(machine):
    cache = Cache(paths=("node_modules/**/*", "/root/.m2/**/*", "~/.cache/pip", "$HOME/.npm/**/*"))
    first = machine.build("first", cache)
    first.restore()
    homes = {"home__.m2__x": "2", "home__.cache__pip__y": "3", "home__.npm__z": "4"}
    write(first, node_modules__a__b="1", other="5", **homes)
    (first.root / "node_modules/link").symlink_to("a/b")
    first.save()
    second = machine.build("second", cache)
    second.restore()

    assert machine.said[0] == "Cache: no entry to restore yet"
    assert machine.said[-1] == "Cache: 5 files restored from 'without a key'"
    assert (second.root / "node_modules/a/b").read_text() == "1"
    assert os.readlink(second.root / "node_modules/link") == "a/b"
    assert [(second.home / name).read_text() for name in (".m2/x", ".cache/pip/y", ".npm/z")] == [
        "2",
        "3",
        "4",
    ]
    assert not (second.root / "other").exists()
    assert home_folders(cache) == [".m2", ".cache", ".npm"]


def test_a_key_is_kept_once_and_fallback_keys_are_beginnings(machine):
    cache = Cache(
        paths=("deps/*",),
        key="npm-$ARCH-$(codebuild-hash-files package*.json)",
        fallback_keys=("none-", "npm-$ARCH-"),
    )
    first = machine.build("first", cache)
    write(first, **{"package.json": "{}", "deps__a": "1"})
    first.save()
    write(first, deps__a="2")
    first.save()  # the key is there
    same = machine.build("same", cache)
    write(same, **{"package.json": "{}"})
    same.restore()
    other = machine.build("other", cache)
    write(other, **{"package.json": "changed"})
    other.restore()

    assert (same.root / "deps/a").read_text() == "1"
    assert (other.root / "deps/a").read_text() == "1"
    assert all("'npm-arm-" in line for line in machine.said)
    assert len(list(machine.place.directory.glob("*.tar"))) == 1


def test_without_a_key_the_last_build_counts(machine):
    cache = Cache(paths=("deps/*",))
    for content in ("1", "2"):
        build = machine.build(content, cache)
        write(build, deps__a=content)
        build.save()
    last = machine.build("last", cache)
    last.restore()

    assert (last.root / "deps/a").read_text() == "2"


@pytest.mark.parametrize(
    ("action", "saved", "restored"), [("save", True, False), ("restore", False, True), (None, True, True)]
)
def test_the_action_says_what_is_done(machine, action, saved, restored):
    write(seed := machine.build("seed", Cache(paths=("a",), key="k")), a="1")
    if restored:
        seed.save()
    build = machine.build("build", Cache(paths=("a",), key="k" if restored else "new", action=action))
    build.restore()
    assert (build.root / "a").exists() == restored
    write(build, a="2")
    build.save()

    assert any(machine.place.directory.glob("*.tar")) == (saved or restored)


def test_only_the_newest_entries_stay(machine):
    for number in range(KEPT_ENTRIES + 5):
        build = machine.build(str(number), Cache(paths=("a",), key=f"k{number}"))
        write(build, a=str(number))
        build.save()
        os.utime(build._archive(f"k{number}"), (number, number))

    assert len(list(machine.place.directory.iterdir())) == 2 * KEPT_ENTRIES


def test_what_lies_elsewhere_is_not_kept_and_that_is_said(machine):
    build = machine.build("b", Cache(paths=("/var/lib/docker/**/*", "../x", "a[", "fine")))
    write(build, fine="1")
    build.save()

    assert [line.split(":")[0] for line in machine.said] == [
        "cache path '/var/lib/docker/**/*' is not saved", "cache path '../x' is not saved", "cache path 'a['", "Cache"
    ]  # fmt: skip


def test_a_hostile_entry_writes_nothing_outside(machine, tmp_path):
    build = machine.build("b", Cache(paths=("a",)))
    machine.place.directory.mkdir(parents=True)
    (build.root / "etc").symlink_to(tmp_path)
    with tarfile.open(build._archive("without a key"), "w") as tar:
        for name in ("source/../../evil", "source//evil", "source/etc/evil", "elsewhere/evil", "home/fine"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    build.restore()

    assert not list(tmp_path.glob("evil"))
    assert not Path("/evil").exists()
    assert (build.home / "fine").exists()


def test_damage_and_a_full_disk_fail_no_build(machine):
    build = machine.build("b", Cache(paths=("a",)))
    machine.place.directory.parent.mkdir(parents=True)
    machine.place.directory.write_text("a file in its place")
    write(build, a="1")
    build.save()
    machine.place.directory.unlink()
    machine.place.directory.mkdir()
    build._archive("without a key").write_bytes(b"no archive" * 100)
    build.restore()

    assert [line.split(" ", 6)[:6] for line in machine.said] == [
        ["the", "cache", "could", "not", "be", "saved"], ["the", "cache", "could", "not", "be", "restored:"]
    ]  # fmt: skip


def test_builds_side_by_side_find_whole_entries(machine):
    cache = Cache(paths=("deps/**/*",))
    builds = [machine.build(f"b{number}", cache) for number in range(6)]
    for number, build in enumerate(builds):
        write(build, **{f"deps__{each}": str(number) for each in range(50)})

    def work(build: BuildCache) -> None:
        for _ in range(5):
            build.save()
            build.restore()

    threads = [threading.Thread(target=work, args=(build,)) for build in builds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all("saved as" in line or "50 files restored" in line for line in machine.said)


def test_what_is_restored_is_as_old_as_it_was(machine):
    write(first := machine.build("first", Cache(paths=("a",))), a="1")
    os.utime(first.root / "a", (1000, 1000))
    first.save()
    second = machine.build("second", Cache(paths=("a",)))
    second.restore()

    assert (second.root / "a").stat().st_mtime == 1000


def test_odd_content_and_odd_keys_fail_no_build(machine):
    cache = Cache(paths=("a/**/*",), key="k-$(codebuild-hash-files 'unclosed)-$(date)")
    build = machine.build("b", cache)
    build.save()  # nothing there: and so nothing takes the key
    write(build, a__f="1")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(build.root / "a/s"))
        build.save()

    assert machine.said[1] == "Cache: no files in its paths to save"
    assert machine.said[-1].startswith("Cache: 1 files saved as 'k-")
    assert "their text is kept as it is" in machine.said[0]
