"""What a template says beside its pipeline, as settings of the pipeline: polled sources, region and location."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from prefect_codepipeline.model.definition.placeholders import name_in_placeholder

# The source of an event, and the source action that its rule starts the pipeline for, with the key that names what it reads.
_OF_EVENTS = {
    "aws.codecommit": ("CodeCommit", "RepositoryName"),
    "aws.ecr": ("ECR", "RepositoryName"),
    "aws.s3": ("S3", "S3Bucket"),
}
# These read artifacts from S3.
_READ_FROM_S3 = {"CloudFormation", "CloudFormationStackSet", "CodeDeploy", "ElasticBeanstalk", "Lambda"}
_SOURCES = {"ECR", "S3"}


def event_sources(rule: Mapping[str, Any]) -> list[str]:
    """The sources of the events that start the pipeline by a rule, such as `aws.s3`."""
    sources = _pattern(rule).get("source")
    return [str(each) for each in sources] if isinstance(sources, list) else []


def filled_settings(
    wire: Mapping[str, Any], resources: Mapping[str, Mapping[str, Any]], region: str
) -> dict[str, Any]:
    """The content of `NAME.settings.yaml`; empty if the template says nothing that actions here need.

    Args:
        wire: the imported declaration.
        resources: the resources beside it.
        region: where the template's stack is; empty if that is not known.
    """
    actions = list(_actions(wire))
    polled = {
        place
        for place, action in actions
        if any(_is_polled(action, rule, actions) for rule in _rules(resources))
    }
    aws = _aws(wire, [_kind(action) for _, action in actions], region)
    found: dict[str, Any] = {"defaults": {"aws": aws}} if aws else {}
    if polled:
        found["overrides"] = {place: {"poll": True} for place, _ in actions if place in polled}
    return found


def _aws(wire: Mapping[str, Any], kinds: list[tuple[str, str, str]], region: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    deploys = {provider for category, owner, provider in kinds if (category, owner) == ("Deploy", "AWS")}
    in_aws = deploys or any(
        owner == "AWS" and (category == "Invoke" or (category == "Source" and provider in _SOURCES))
        for category, owner, provider in kinds
    )
    if in_aws and region:
        found["region"] = region
    if deploys & _READ_FROM_S3:
        if location := _location(wire.get("artifactStore")):
            found["location"] = location
        stores = wire.get("artifactStores")
        locations = (
            {key: _location(store) for key, store in stores.items()} if isinstance(stores, dict) else {}
        )
        if locations := {key: value for key, value in locations.items() if value and "${" not in key}:
            found["locations"] = locations
    return found


def _location(store: Any) -> str:
    """The bucket of the artifacts, if it is known."""
    bucket = str(store.get("location", "")) if isinstance(store, dict) else ""
    is_known = bucket and "${" not in bucket and not name_in_placeholder(bucket)
    return f"s3://{bucket}" if is_known else ""


def _is_polled(action: Mapping[str, Any], rule: Mapping[str, Any], actions: list[tuple[str, Any]]) -> bool:
    """Whether a rule starts the pipeline for what an action reads, which nothing else here does."""
    category, _, provider = _kind(action)
    configuration = _object(action.get("configuration"))
    is_off = str(configuration.get("PollForSourceChanges", "true")).lower() == "false"
    if category != "Source" or not (is_off or provider == "ECR"):
        return False
    for source in event_sources(rule):
        wanted, key = _OF_EVENTS.get(source, ("", ""))
        if provider == wanted:
            alike = [each for _, each in actions if _kind(each)[::2] == ("Source", wanted)]
            named = str(configuration.get(key, "")) in json.dumps(_pattern(rule))
            return named or len(alike) == 1
    return False


def _rules(resources: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for resource in resources.values():
        properties = _object(resource.get("Properties"))
        if resource.get("Type") == "AWS::Events::Rule" and properties.get("State") != "DISABLED":
            yield properties


def _pattern(rule: Mapping[str, Any]) -> dict[str, Any]:
    pattern = rule.get("EventPattern")
    if isinstance(pattern, str):
        try:
            pattern = json.loads(pattern)
        except ValueError:
            return {}
    return _object(pattern)


def _actions(wire: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each action with its place, `Stage/Action`."""
    for stage in _list(wire.get("stages")):
        for action in _list(_object(stage).get("actions")):
            yield f"{_object(stage).get('name')}/{_object(action).get('name')}", _object(action)


def _kind(action: Mapping[str, Any]) -> tuple[str, str, str]:
    kind = _object(action.get("actionTypeId"))
    return str(kind.get("category")), str(kind.get("owner")), str(kind.get("provider"))


def _list(part: Any) -> list[Any]:
    return part if isinstance(part, list) else []


def _object(part: Any) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}
