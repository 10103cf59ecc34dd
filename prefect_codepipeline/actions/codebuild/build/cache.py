"""The local cache of builds: the paths of `cache` are saved after a build and restored before the project's next one.

Each key has an archive in the project's folder on this machine. A problem with the cache never fails a build.

https://docs.aws.amazon.com/codebuild/latest/userguide/caching-local.html
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.actions.artifacts.cache_folder import cache_root
from prefect_codepipeline.actions.artifacts.globs import compile_glob, select_files
from prefect_codepipeline.actions.artifacts.tar_trees import UnfitMemberError, extract_member, members_of
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.buildspec.parts import Cache
from prefect_codepipeline.model.names import slug

# The newest entries of each project that are kept.
KEPT_ENTRIES = 10
_ABANDONED_SECONDS = 86_400
_ENDING = ".tar"
_HASHED = re.compile(r"\$\(\s*codebuild-hash-files\s+([^)]*)\)")
_HOME = re.compile(r"^(?:~|\$HOME|\$\{HOME\}|/root)(?=/|$)")
_WITHOUT_KEY = "without a key"


@dataclass(frozen=True)
class CachePlace:
    """The directory with the caches of one project."""

    directory: Path


def cache_place(project_name: str, location: str | None) -> CachePlace:
    """The place of a project's caches: below `location`, or in this user's cache folder if it is None."""
    folder = Path(location) if location else cache_root() / "builds"
    return CachePlace(folder / slug(project_name))


def home_folders(cache: Cache) -> list[str]:
    """The files and folders directly in the home directory that the cache's paths need, such as `.m2`."""
    paths = (_HOME.sub("", path).strip("/") for path in cache.paths if _HOME.match(path))
    firsts = dict.fromkeys(path.partition("/")[0] for path in paths)
    return [first for first in firsts if first and not re.search(r"[*?\[{]", first)]


@dataclass(frozen=True)
class BuildCache:
    """The cache of one build.

    `root` is CODEBUILD_SRC_DIR and `home` the build's home directory; nothing outside them is saved or restored.
    `expand` replaces the variables in a text; `info` and `warn` log a sentence.
    """

    cache: Cache
    place: CachePlace
    root: Path
    home: Path
    expand: Callable[[str], str]
    info: Callable[[str], None]
    warn: Callable[[str], None]

    def restore(self) -> None:
        """Restore the entry of the exact key, or the newest entry whose key starts with a fallback key."""
        if self.cache.action == "save":
            return
        try:
            found = self._find()
            if found is None:
                self.info("Cache: no entry to restore yet")
                return
            key, archive = found
            with tarfile.open(archive) as tar:
                count = self._extract(tar)
            os.utime(archive)
        except (OSError, tarfile.TarError) as error:
            self.warn(f"the cache could not be restored: {error}")
        else:
            self.info(f"Cache: {count} files restored from {key!r}")

    def save(self) -> None:
        """Save the files in the paths. An entry that exists under its key already is not changed."""
        if self.cache.action == "restore":
            return
        try:
            key = self._key()
            archive = self._archive(key)
            if self.cache.key and archive.exists():
                return
            self.place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            count = self._write(archive)
            if not count:
                self.info("Cache: no files in its paths to save")
                return
            archive.with_suffix(".key").write_text(key)
            self._prune()
        except (OSError, tarfile.TarError) as error:
            self.warn(f"the cache could not be saved in {self.place.directory}: {error}")
        else:
            self.info(f"Cache: {count} files saved as {key!r}")

    def _key(self) -> str:
        return self._expand_key(self.cache.key) if self.cache.key else _WITHOUT_KEY

    def _expand_key(self, text: str) -> str:
        key = self.expand(_HASHED.sub(lambda match: self._hash(match[1]), text))
        if "$(" in key or "`" in key:
            self.warn(
                f"cache key {text!r}: commands other than codebuild-hash-files are not run; their text is kept as it is"
            )
        return key

    def _hash(self, patterns: str) -> str:
        """The value of `codebuild-hash-files` for some patterns: a hash of the matching files' content."""
        digest = hashlib.sha256()
        with suppress(ActionFailed, ValueError):  # nothing matches, or a quote is not closed
            wanted = [self._relative(self.expand(pattern)) for pattern in shlex.split(patterns)]
            for name in select_files(self.root, wanted):
                path = self.root / name
                if path.is_file() and not path.is_symlink():
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def _archive(self, key: str) -> Path:
        return self.place.directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{_ENDING}"

    def _find(self) -> tuple[str, Path] | None:
        key = self._key()
        if (archive := self._archive(key)).exists():
            return key, archive
        for prefix in self.cache.fallback_keys if self.cache.key else ():
            wanted = self._expand_key(prefix)
            for archive in self._newest_first():
                with suppress(OSError):
                    known = archive.with_suffix(".key").read_text()
                    if known.startswith(wanted):
                        return known, archive
        return None

    def _newest_first(self) -> list[Path]:
        return sorted(self.place.directory.glob(f"*{_ENDING}"), key=_age)

    def _prune(self) -> None:
        for unfinished in self.place.directory.glob("tmp*"):
            if -_age(unfinished) < time.time() - _ABANDONED_SECONDS:
                unfinished.unlink(missing_ok=True)
        for archive in self._newest_first()[KEPT_ENTRIES:]:
            archive.unlink(missing_ok=True)
            archive.with_suffix(".key").unlink(missing_ok=True)

    def _write(self, archive: Path) -> int:
        handle, name = tempfile.mkstemp(dir=self.place.directory)
        count = 0
        try:
            with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
                for path, kept in self._files():
                    count += _add(tar, path, kept)
            if count:
                os.replace(name, archive)
        finally:
            Path(name).unlink(missing_ok=True)
        return count

    def _files(self) -> Iterator[tuple[Path, str]]:
        """The files that match the cache's paths, and their names in the archive."""
        for folder, name, patterns in (
            (self.root, "source", self._source_patterns()),
            (self.home, "home", self._home_patterns()),
        ):
            if patterns:
                with suppress(ActionFailed):  # nothing matches
                    yield from ((folder / file, f"{name}/{file}") for file in select_files(folder, patterns))

    def _source_patterns(self) -> list[str]:
        found = []
        for path in self.cache.paths:
            if _HOME.match(path):
                continue
            text = self._relative(self.expand(path))
            if text.startswith("/") or ".." in text.split("/"):
                self.warn(
                    f"cache path {path!r} is not saved: it is neither in the source nor in the home directory"
                )
            else:
                found.append(text)
        return self._valid_patterns(found)

    def _relative(self, text: str) -> str:
        return text.removeprefix(f"{self.root}/")

    def _home_patterns(self) -> list[str]:
        paths = (
            self.expand(_HOME.sub("", path)).lstrip("/") for path in self.cache.paths if _HOME.match(path)
        )
        return self._valid_patterns([path or "." for path in paths])

    def _valid_patterns(self, patterns: Sequence[str]) -> list[str]:
        """The valid patterns; the others are logged."""
        found = []
        for pattern in patterns:
            try:
                compile_glob(pattern)
                found.append(pattern)
            except ActionFailed as error:
                self.warn(f"cache path {pattern!r}: {error}")
        return found

    def _extract(self, tar: tarfile.TarFile) -> int:
        folders: Mapping[str, Path] = {"source": self.root, "home": self.home}
        count = 0
        for member in members_of(tar):
            folder, _, name = member.name.partition("/")
            if folder not in folders or not name:
                continue
            try:
                extract_member(tar, member, name, folders[folder])
                count += 1
            except (UnfitMemberError, OSError) as error:
                self.warn(f"cache: {name[:200]} could not be restored: {error}")
        return count


def _age(archive: Path) -> float:
    try:
        return -archive.stat().st_mtime
    except OSError:  # another build removed it just now
        return 0.0


def _add(tar: tarfile.TarFile, path: Path, name: str) -> bool:
    """Add a file with its content. A hard link gets its content too, because its other name may not be restored."""
    member = tar.gettarinfo(path, name)
    if member is None or not (member.isreg() or member.islnk() or member.issym()):
        return False  # a socket and the like
    if member.isreg() or member.islnk():
        member.type, member.linkname, member.size = tarfile.REGTYPE, "", path.stat().st_size
        with path.open("rb") as file:
            tar.addfile(member, file)
    else:
        tar.addfile(member)
    return True
