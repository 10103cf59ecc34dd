"""The results of a build in CodeBuild: its variables and its artifacts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prefect_codepipeline.actions.artifacts.archive_member import UnfitTreeError
from prefect_codepipeline.actions.artifacts.zip_trees import unzip_tree
from prefect_codepipeline.actions.aws.client import transferring
from prefect_codepipeline.actions.codebuild.service.following import Watch, groups
from prefect_codepipeline.actions.codebuild.service.place import Place
from prefect_codepipeline.actions.codebuild.wanted_build import WantedBuild
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.errors import ActionFailed


def exported(watch: Watch) -> dict[str, str]:
    """The output variables: the variables that the builds exported."""
    exported: dict[str, str] = {}
    for build in watch.builds:
        for variable in build.get("exportedEnvironmentVariables") or ():
            exported[variable["name"]] = variable.get("value", "")
    return exported


def outputs(watch: Watch, build: WantedBuild, place: Place | None) -> dict[str, OutputTree]:
    """The outputs that the build produced; a missing output is only a warning."""
    if place is None:
        return {}
    found = {}
    for name in build.outputs:
        directory = watch.context.scratch / f"output-{name}"
        directory.mkdir()
        archives = list(_archives(watch, build, place, name))
        fetched = [_fetch(watch, place, key, directory / folder, name) for folder, key in archives]
        if any(fetched):
            found[name] = OutputTree(directory)
        else:
            watch.context.logger.warning("Output artifact %r was not produced by build %s", name, watch.id)
    return found


def _archives(watch: Watch, build: WantedBuild, place: Place, name: str) -> Iterator[tuple[str, str]]:
    """Folder and key of each archive of an output; a batch that does not combine its artifacts has one per build."""
    if not build.batch or build.combine_artifacts:
        yield "", place.key("out", name)
        return
    alone = len(build.outputs) == 1
    for group in groups(watch):
        summary = group.get("currentBuildSummary", {})
        made = [summary.get("primaryArtifact") or {}] if alone else summary.get("secondaryArtifacts") or []
        for artifact in made:
            bucket, _, key = str(artifact.get("location", "")).rpartition(":")[2].partition("/")
            if (alone or artifact.get("identifier") == name) and bucket == place.bucket and key:
                yield re.sub(r"[^A-Za-z0-9_-]", "_", str(group.get("identifier") or "build")), key


def _fetch(watch: Watch, place: Place, key: str, directory: Path, name: str) -> bool:
    from botocore.exceptions import ClientError

    archive = watch.context.scratch / "output.zip"
    what = f"fetching output artifact {name!r} from s3://{place.bucket}/{key}"
    try:
        with transferring(what):
            try:
                watch.clients.s3.download_file(place.bucket, key, str(archive))
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey"):
                    return False
                raise
        directory.mkdir(exist_ok=True)
        unzip_tree(archive, directory)
    except UnfitTreeError as error:
        raise ActionFailed(
            f"{what}: {error}", external_execution_id=watch.id, external_execution_url=watch.url
        ) from error
    finally:
        archive.unlink(missing_ok=True)
    return True
