"""Build/AWS/ECRBuildAndPublish/1: build an image with the container engine of the worker, and push it.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-ECRBuildAndPublish.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from prefect_codepipeline.actions.aws.remote_work import bearing_silence
from prefect_codepipeline.actions.commands.containers import engine_variables
from prefect_codepipeline.actions.commands.failures import explain_full_disk, last_lines, why
from prefect_codepipeline.actions.commands.programs import Programs, Ran, require_program
from prefect_codepipeline.actions.images.repository import ImageRepository, find_repository
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

ROOT = "<source root>"
_NAME = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-]+[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PUSHED = re.compile(r"digest: (sha256:[0-9a-f]{64})")
# Other builds on the same engine may give a tag to their own image before it is pushed.
_PUSHES = 3
_NO_ENGINE = re.compile(r"Cannot connect to the Docker daemon|error during connect|docker\.sock", re.I)
# What the output of a push means: the code of the failure, and what to do.
_REASONS = (
    (r"immutable", "ConfigurationError", "choose a tag that the repository does not have"),
    (
        r"denied|unauthorized|no basic auth|authentication required|not authorized",
        "PermissionError",
        "allow the action to push to the repository, or correct its credentials",
    ),
    (
        r"connection refused|timeout|no such host|connection reset|EOF|\b50[0234]\b|toomanyrequests",
        "SystemUnavailable",
        "retry when the registry answers",
    ),
    (r"name unknown|repository .* not found|does not exist", "ConfigurationError", "create the repository"),
)


class EcrBuildConfiguration(ActionConfiguration):
    """The configuration of an action."""

    ecr_repository_name: str = Field(alias="ECRRepositoryName")
    docker_file_path: str = ROOT
    image_tags: str = "latest"
    registry_type: Literal["private", "public"] = "private"

    @property
    def tags(self) -> list[str]:
        """The tags, each once."""
        return list(dict.fromkeys(filter(None, map(str.strip, self.image_tags.split(",")))))


@dataclass(frozen=True)
class _Image:
    """The image that the action builds, and how it is pushed."""

    repository: ImageRepository
    id: str
    programs: Programs


def _named(configuration: EcrBuildConfiguration, context: ActionContext) -> Iterator[Lookup]:
    name, is_public = configuration.ecr_repository_name, configuration.registry_type == "public"
    if not context.settings.aws.registry:
        service, region = ("ecr-public", "us-east-1") if is_public else ("ecr", None)
        named = {"repositoryNames": [name]}
        yield Lookup(
            f"image repository {name!r}",
            service,
            "describe_repositories",
            named,
            "repositories",
            region=region,
        )


@action_provider(
    category="Build",
    provider="ECRBuildAndPublish",
    inputs=(1, 1),
    outputs=(0, 0),
    restartable=True,
    online=_named,
)
def build_and_publish(configuration: EcrBuildConfiguration, context: ActionContext) -> ActionResult:
    """Build the image of the folder, and push it with each tag.

    A process that continues after a crash pushes the image that was built before, if its engine has it.
    """
    _check(configuration)
    with bearing_silence(context, f"image repository {configuration.ecr_repository_name!r}"):
        repository = find_repository(context, configuration.ecr_repository_name, configuration.registry_type)
    digest = context.kept("digest")
    if digest is None:
        digest = _build_and_push(configuration, repository, context)
    return ActionResult(
        summary=f"pushed {repository.uri}:{', '.join(configuration.tags)}",
        output_variables={
            "ECRImageDigestId": digest,
            "ECRRepositoryName": configuration.ecr_repository_name,
        },
        external_execution_id=digest,
        external_execution_url=repository.page(digest),
    )


def _check(configuration: EcrBuildConfiguration) -> None:
    name, tags = configuration.ecr_repository_name, configuration.tags
    if not _NAME.fullmatch(name):
        raise wrong_configuration(
            f"ECRRepositoryName {name!r} is not the name of a repository; give it without registry and tag, "
            "such as 'team/app'"
        )
    if not tags:
        raise wrong_configuration("ImageTags has no tag; give one or more, separated by commas")
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise wrong_configuration(
                f"ImageTags: {tag[:140]!r} is not a tag: at most 128 letters, digits, '_', '.' and '-', and no '.' or '-' "
                "at its beginning"
            )


def _build_and_push(
    configuration: EcrBuildConfiguration, repository: ImageRepository, context: ActionContext
) -> str:
    require_program("docker", "it builds the image")
    login = repository.write_login(context.scratch / "docker")
    variables = {
        **engine_variables(context),
        "DOCKER_CONFIG": str(login),
        "BUILDKIT_PROGRESS": "plain",
        "DOCKER_CLI_HINTS": "false",
    }
    programs = Programs(context, variables, repository.secrets)
    with explain_full_disk(context):
        kept = context.kept("image")
        if kept and _exists(kept, programs):
            context.logger.info("Image %s was built before, and is pushed now", kept)
            image = _Image(repository, kept, programs)
        else:
            image = _Image(repository, _build(configuration, programs), programs)
            context.keep(image=image.id)
        digest = _push(image, configuration.tags)
    context.keep(digest, repository.page(digest), digest=digest)
    return digest


def _exists(image: str, programs: Programs) -> bool:
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    return programs.run(command, programs.context.scratch, captured=True).code == 0


def _build(configuration: EcrBuildConfiguration, programs: Programs) -> str:
    """Build the image, and return its id."""
    context = programs.context
    folder = _folder(configuration.docker_file_path, context)
    context.report_progress(summary="building the image")
    file = context.scratch / "image-id"
    network = [] if context.settings.network else ["--network", "none"]
    ran = programs.run(["docker", "build", "--iidfile", str(file), *network, "."], folder)
    if ran.code:
        raise _failure(f"docker build of folder {configuration.docker_file_path!r}", ran)
    return file.read_text().strip()


def _folder(path: str, context: ActionContext) -> Path:
    """The folder of the Dockerfile in the input artifact."""
    artifact = context.input_artifacts[0]
    root = artifact.directory.resolve()
    folder = root if path == ROOT else (root / path.lstrip("/")).resolve()
    if not folder.is_relative_to(root):
        raise wrong_configuration(f"DockerFilePath {path!r} leads out of input artifact {artifact.name!r}")
    if folder.is_file():
        raise wrong_configuration(f"DockerFilePath {path!r} is a file; give the folder of the Dockerfile")
    if not (folder / "Dockerfile").is_file():
        raise wrong_configuration(
            f"input artifact {artifact.name!r} has no Dockerfile in folder {path!r}; add it, or correct DockerFilePath"
        )
    return folder


def _push(image: _Image, tags: Sequence[str]) -> str:
    """Push the image with each tag, and return the digest of its manifest."""
    context = image.programs.context
    digest = ""
    for number, tag in enumerate(tags):
        context.report_progress(
            summary=f"pushing {tag} ({number + 1} of {len(tags)})", percent=50 + 50 * number // len(tags)
        )
        digest = _push_tag(image, f"{image.repository.uri}:{tag}")
    return digest


def _push_tag(image: _Image, name: str) -> str:
    run, scratch = image.programs.run, image.programs.context.scratch
    for _ in range(_PUSHES):
        tagged = run(["docker", "image", "tag", image.id, name], scratch)
        if tagged.code:
            raise _failure(f"docker image tag {name}", tagged)
        pushed = run(["docker", "push", name], scratch)
        if pushed.code:
            raise _failure(f"docker push {name}", pushed)
        found = _PUSHED.search(pushed.text)
        if found and found[1] in _digests(image):
            return found[1]
    raise ActionFailed(
        f"docker push {name}: what was pushed is not the image of this action: other builds on the same engine give "
        "another image the same name; let them run one after the other, or retry"
    )


def _digests(image: _Image) -> set[str]:
    """The digests under which the repository has the image."""
    command = ["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", image.id]
    ran = image.programs.run(command, image.programs.context.scratch, captured=True)
    if ran.code:
        raise _failure("docker image inspect", ran)
    parts = (each.rpartition("@") for each in json.loads(ran.output or b"[]") or ())
    return {digest for name, _, digest in parts if _short(name) == _short(image.repository.uri)}


def _short(name: str) -> str:
    """The name of a repository as Docker shows it."""
    return name.removeprefix("docker.io/").removeprefix("library/")


def _failure(doing: str, ran: Ran) -> ActionFailed:
    text = ran.text
    if _NO_ENGINE.search(text):
        code, advice = (
            "ConfigurationError",
            "; start the container engine of the worker, or correct docker_host",
        )
    elif doing.startswith("docker push"):
        found = next(((c, f"; {a}") for p, c, a in _REASONS if re.search(p, text, re.I)), ("JobFailed", ""))
        code, advice = found
    else:
        code, advice = "JobFailed", ""
    reason = why(0, ran.tail, None)
    return ActionFailed(
        f"{doing} failed with exit code {ran.code}{reason}{advice}{last_lines(ran.tail)}", code=code
    )
