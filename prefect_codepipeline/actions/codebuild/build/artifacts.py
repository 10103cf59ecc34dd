"""Collect the files of a finished build into its output artifacts.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.artifacts
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from prefect_codepipeline.actions.artifacts.globs import compile_glob, select_files
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.buildspec.parts import ArtifactFiles, Buildspec

ALL_OF_IT = "artifacts"
# Names of output artifacts, or each name with the block of the buildspec for it; None for all blocks.
Outputs = Sequence[str] | Mapping[str, str] | None
_EXPANDS = re.compile(r"[$`]")


def artifact_texts(spec: Buildspec) -> dict[str, str]:
    """The texts of `artifacts` that the build's shell must expand at the end, each under a unique name."""
    return {
        name: text
        for number, files in enumerate(_blocks(spec).values())
        for name, text in _texts(number, files)
        if _EXPANDS.search(text)
    }


def collect_artifacts(
    spec: Buildspec,
    outputs: Outputs,
    root: Path,
    texts: Mapping[str, str],
    scratch: Path,
    warn: Callable[[str], None],
) -> dict[str, OutputTree]:
    """The output artifacts of a build, by name.

    Args:
        spec: the buildspec. Without `artifacts` the build has no output artifacts.
        outputs: the output artifacts of the action. A single one gets `artifacts`; several, and a single one without
            `artifacts`, get the blocks of the same names in `secondary-artifacts`. A mapping gives the block of each; None means all blocks of the buildspec.
        root: CODEBUILD_SRC_DIR, after the build.
        texts: the texts of `artifact_texts`, expanded; a text that could not be expanded is missing.
        scratch: where trees are built whose files cannot stay where they are.
        warn: called with a sentence for each problem that is not a failure.

    Raises:
        ActionFailed: nothing matches, or a link leads out of the source; with code `ConfigurationError`, a pattern is
            invalid or leads out of the source, or an output is not in the buildspec.
    """
    found = {}
    numbers = {name: number for number, name in enumerate(_blocks(spec))}
    for output, name in _blocks_by_output(spec, outputs).items():
        number = numbers[name]
        files = _expand(number, _blocks(spec)[name], texts)
        found[output] = _Collection(output, files, root, scratch / f"artifact-{number}", warn).tree()
    return found


def _blocks(spec: Buildspec) -> dict[str, ArtifactFiles]:
    if spec.artifacts is None:
        return dict(spec.secondary_artifacts)
    return {ALL_OF_IT: spec.artifacts, **spec.secondary_artifacts}


def _blocks_by_output(spec: Buildspec, outputs: Outputs) -> dict[str, str]:
    """The block of each output."""
    blocks = _blocks(spec)
    if outputs is None:
        return {name: name for name in blocks}
    if not blocks or not outputs:
        return {}
    if isinstance(outputs, Mapping):
        return {output: name for output, name in outputs.items() if name in blocks}
    if len(outputs) == 1 and spec.artifacts is not None:
        return {outputs[0]: ALL_OF_IT}
    missing = [name for name in outputs if name not in spec.secondary_artifacts]
    if missing:
        hint = "; CodeBuild allows letters, digits and '_' in these names" if "-" in "".join(missing) else ""
        has = "several output artifacts" if len(outputs) > 1 else "an output artifact"
        raise ActionFailed(
            f"the action has {has}, but the buildspec has no secondary-artifacts for "
            f"{', '.join(map(repr, missing))}; it has: {', '.join(spec.secondary_artifacts) or 'none'}{hint}",
            code="ConfigurationError",
        )
    return {name: name for name in outputs}


def _texts(number: int, files: ArtifactFiles) -> Iterator[tuple[str, str]]:
    yield from ((f"{number}-files-{at}", text) for at, text in enumerate(files.files))
    yield from ((f"{number}-exclude-{at}", text) for at, text in enumerate(files.exclude_paths))
    if files.base_directory:
        yield f"{number}-base", files.base_directory


def _expand(number: int, files: ArtifactFiles, texts: Mapping[str, str]) -> ArtifactFiles:
    values = dict(_texts(number, files))
    for name, text in values.items():
        if _EXPANDS.search(text) and name not in texts:
            raise ActionFailed(f"artifacts: the shell of the build could not expand {text!r}")
    values.update({name: texts[name] for name in values if name in texts})
    return replace(
        files,
        files=tuple(value for name, value in values.items() if name.startswith(f"{number}-files-")),
        exclude_paths=tuple(value for name, value in values.items() if name.startswith(f"{number}-exclude-")),
        base_directory=values.get(f"{number}-base"),
    )


@dataclass(frozen=True)
class _Collection:
    """The files of one artifact; `copy` is the directory for them if they cannot stay where they are."""

    name: str
    wanted: ArtifactFiles
    root: Path
    copy: Path
    warn: Callable[[str], None]

    def tree(self) -> OutputTree:
        bases = self._bases()
        selected = {base: self._select(base, needed=len(bases) == 1) for base in bases}
        taken = [file for files in selected.values() for file in files]
        if not taken:
            raise ActionFailed(self._no_match(self.wanted.files))
        self._warn_of_unmatched(taken)
        [base, *others] = bases
        outward = {base: set(self._outward_links(base, files)) for base, files in selected.items()}
        if not others and not self.wanted.discard_paths and not outward[base]:
            return OutputTree(base, selected[base])
        replaced = [
            file
            for base in bases
            for file in selected[base]
            if self._place(base, file, file in outward[base])
        ]
        if replaced:
            more = f" and {len(replaced) - 3} more" if len(replaced) > 3 else ""
            self.warn(
                f"artifact {self.name!r}: {', '.join(replaced[:3])}{more} replaced another file with the same name"
            )
        return OutputTree(self.copy)

    def _bases(self) -> list[Path]:
        """The directories whose content is collected; more than one if the base directory is a pattern."""
        text = self.wanted.base_directory
        if not text:
            return [self.root]
        relative = self._inside(text, "base-directory")
        found = [self.root / relative] if (self.root / relative).is_dir() else []
        if not found and re.search(r"[*?\[{]", relative):
            glob = compile_glob(relative.rstrip("/"))
            found = [self.root / path for path in _directories_below(self.root) if glob.files.matches(path)]
        for path in found:
            if not self._is_inside(path):
                raise self._refusal("base-directory", text, "it leads out of the source")
        if not found:
            raise ActionFailed(
                f"artifact {self.name!r}: no matching base directory path found for {text!r}: no command created it"
            )
        return found

    def _is_inside(self, path: Path) -> bool:
        """Whether a path leads to a place in the source; unlike `resolve`, `realpath` accepts circular links."""
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))

    def _inside(self, text: str, what: str, base: Path | None = None) -> str:
        """Make an absolute path or pattern relative to the source, or to a base directory in the source."""
        place = base or self.root
        for start in dict.fromkeys((str(place), str(place.resolve()))):
            if text == start or text.startswith(f"{start}/"):
                text = text[len(start) :].lstrip("/") or "."
        if text.startswith("/") or ".." in PurePosixPath(text).parts:
            raise self._refusal(what, text, "it is outside the source; let the build copy it into the source")
        return text

    def _refusal(self, what: str, text: str, why: str) -> ActionFailed:
        return ActionFailed(f"artifact {self.name!r}: {what} {text!r}: {why}", code="ConfigurationError")

    def _select(self, base: Path, needed: bool) -> list[str]:
        # An empty pattern comes from a variable that is not set; it must not mean everything.
        patterns = [self._inside(text, "files", base) for text in self.wanted.files if text.strip()]
        excluded = [
            compile_glob(self._inside(text, "exclude-paths", base)) for text in self.wanted.exclude_paths
        ]
        try:
            found = select_files(base, patterns)
        except ActionFailed as error:
            if error.code == "ConfigurationError" or needed:
                raise ActionFailed(f"artifact {self.name!r}: {error}", code=error.code) from None
            return []
        return [file for file in found if not any(glob.takes(file) for glob in excluded)]

    def _no_match(self, patterns: Sequence[str]) -> str:
        return (
            f"artifact {self.name!r}: no matching artifact paths found: no file matches "
            f"{', '.join(map(repr, patterns))} after exclude-paths is applied"
        )

    def _warn_of_unmatched(self, taken: Sequence[str]) -> None:
        if len(self.wanted.files) < 2:
            return
        for text in self.wanted.files:
            pattern = self._inside(text, "files") if text.strip() else text
            # An absolute pattern counts as matched: without a match below its base, the artifact has failed already.
            if text == pattern and not (text.strip() and any(map(compile_glob(pattern).takes, taken))):
                self.warn(f"artifact {self.name!r}: no file matches {text!r}")

    def _outward_links(self, base: Path, files: Sequence[str]) -> Iterator[str]:
        """The links whose target is not in the artifact; like CodeBuild, the artifact gets the target's content."""
        taken = set(files)
        folders = {file[:end] for file in files for end in _slashes(file)}
        for file in taken.intersection(_links_below(str(base))):
            path = base / file
            self._check_link(file, path)
            target = os.readlink(path)
            place = Path(os.path.normpath(path.parent / target))
            inside = place.relative_to(base).as_posix() if place.is_relative_to(base) else None
            if target.startswith("/") or inside is None or (inside not in taken and inside not in folders):
                yield file

    def _check_link(self, file: str, path: Path) -> None:
        if not self._is_inside(path):
            raise ActionFailed(
                f"artifact {self.name!r}: {file} is a link that leads out of the source, to {os.readlink(path)}"
            )

    def _place(self, base: Path, file: str, is_outward: bool) -> bool:
        """Put a file into the copied tree; whether it replaced another file."""
        path = base / file
        place = self.copy / (PurePosixPath(file).name if self.wanted.discard_paths else file)
        replaces = self._make_room(place, file)
        if is_outward and path.is_dir():
            shutil.copytree(path, place, symlinks=True)  # a link in it that leads out is refused on storing
        elif is_outward and path.exists():
            _link(Path(os.path.realpath(path)), place)
        elif is_outward:
            self.warn(f"artifact {self.name!r}: {file} is a broken link and is left out")
        elif path.is_symlink():
            os.symlink(os.readlink(path), place)
        else:
            _link(path, place)
        return replaces

    def _make_room(self, place: Path, file: str) -> bool:
        """Create the parent folders of a place, never through a link; whether a file there had to be removed."""
        self.copy.mkdir(parents=True, exist_ok=True)
        folder = self.copy
        for part in place.relative_to(self.copy).parts[:-1]:
            folder = folder / part
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise ActionFailed(
                    f"artifact {self.name!r}: {file} needs the folder {part!r}, which is a file or a link in another "
                    "base directory"
                )
            folder.mkdir(exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            raise ActionFailed(
                f"artifact {self.name!r}: {file} is a file in one base directory and a folder in another"
            )
        if os.path.lexists(place):
            place.unlink()
            return True
        return False


def _slashes(path: str) -> Iterator[int]:
    return (place for place, character in enumerate(path) if character == "/")


def _directories_below(root: Path) -> list[str]:
    return sorted(
        Path(folder, name).relative_to(root).as_posix()
        for folder, folders, _ in os.walk(root)
        for name in folders
    )


def _links_below(directory: str, prefix: str = "") -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield prefix + entry.name
            elif entry.is_dir():
                yield from _links_below(entry.path, f"{prefix}{entry.name}/")


def _link(path: Path, place: Path) -> None:
    """Create a hard link to a file, or a copy if a hard link is not possible."""
    with suppress(OSError):
        os.link(path, place)
        return
    shutil.copy2(path, place)
