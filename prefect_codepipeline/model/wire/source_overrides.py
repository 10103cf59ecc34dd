"""The source revisions of a request to start a pipeline, in the form in which source actions take them.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_SourceRevisionOverride.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prefect_codepipeline.model.definition.declaration import ActionDeclaration, PipelineDeclaration

_VERSION, _KEY = "S3_OBJECT_VERSION_ID", "S3_OBJECT_KEY"
_TYPES = {"S3": (_VERSION, _KEY), "ECR": ("IMAGE_DIGEST",)}
_COMMIT = ("COMMIT_ID",)  # of git sources, and of custom ones, which take any text


def source_overrides(
    declaration: PipelineDeclaration, given: Iterable[Mapping[str, str]]
) -> tuple[dict[str, str], list[str]]:
    """The overrides by action, and a sentence for each that its action cannot take.

    Args:
        declaration: of the pipeline.
        given: `SourceRevisionOverride`s of the API.
    """
    sources = {
        action.name: action
        for stage in declaration.stages
        for action in stage.actions
        if action.action_type_id.category == "Source"
    }
    values: dict[str, dict[str, str]] = {}
    mistakes: list[str] = []
    for each in given:
        name, kind, value = each["actionName"], each["revisionType"], each["revisionValue"]
        if kind in values.setdefault(name, {}):
            mistakes.append(f"it has several revisions of type {kind} for action {name!r}")
        values[name][kind] = value
        if name in sources:
            mistakes += _mistakes(sources[name], kind, value)
        else:
            mistakes.append(f"it has no source action {name!r} (it has: {', '.join(sources)})")
    return {name: _text(kinds) for name, kinds in values.items()}, mistakes


def override_of(action: ActionDeclaration, revision_id: str) -> str:
    """The override for a revision of which only the id is known."""
    return _text({_types(action)[0]: revision_id})


def _types(action: ActionDeclaration) -> tuple[str, ...]:
    kind = action.action_type_id
    return _COMMIT if kind.owner == "Custom" else _TYPES.get(kind.provider, _COMMIT)


def _mistakes(action: ActionDeclaration, kind: str, value: str) -> Iterator[str]:
    types = _types(action)
    if kind not in types:
        yield (
            f"source action {action.name!r} of provider {action.action_type_id.provider} takes no revision of type {kind} "
            f"(it takes: {', '.join(types)})"
        )
    elif kind == _KEY and action.configuration.get("AllowOverrideForS3ObjectKey") != "true":
        yield f"source action {action.name!r} does not allow another object key: AllowOverrideForS3ObjectKey is not true"
    elif kind == _VERSION and "," in value:
        yield f"the value for source action {action.name!r} is not the version of an object: it contains a comma"


def _text(kinds: Mapping[str, str]) -> str:
    named = [f"{kind}={kinds[kind]}" for kind in (_VERSION, _KEY) if kind in kinds]
    return ",".join(named) or next(iter(kinds.values()))
