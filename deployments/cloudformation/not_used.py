"""The values of a definition that are kept and not used here, and their placeholders if they are not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prefect_codepipeline.model.definition.placeholders import placeholder
from prefect_codepipeline.model.stored.definition import MASK

# An action without a region is in the pipeline's own.
_OWN_REGION = "${AWS::Region}"
# What runs on the worker ignores the region.
_ON_THE_WORKER = {
    "Approval/AWS/Manual",
    "Build/AWS/CodeBuild",
    "Compute/AWS/Commands",
    "Source/AWS/CodeCommit",
    "Source/AWS/CodeStarSourceConnection",
    "Source/ThirdParty/GitHub",
    "Test/AWS/CodeBuild",
}
_NETWORK = ("VpcId", "Subnets", "SecurityGroupIds")
# Keys of the configuration, as docs/differences.md lists them.
_OF_ACTION = {
    "Approval/AWS/Manual": ("NotificationArn",),
    "Build/AWS/CodeBuild": ("ServiceRoleArnOverride",),
    "Compute/AWS/Commands": _NETWORK,
    "Source/ThirdParty/GitHub": ("OAuthToken",),
    "Test/AWS/CodeBuild": ("ServiceRoleArnOverride",),
}
# CloudFormation takes these no more: they were given when the change set was made.
_OF_EXECUTED_CHANGE_SET = ("RoleArn", "ParameterOverrides", "TemplateConfiguration")
_OF_RULE = {"Commands": _NETWORK}
# With this instead of a token, the token of the connection is used.
_NO_TOKEN = {"OAuthToken": MASK}


def put_placeholders(wire: dict[str, Any], unknown: set[str]) -> dict[str, str]:
    """Replace every unknown value that is not used here by a placeholder, in place.

    Args:
        wire: the imported declaration.
        unknown: the paths of its unknown values.

    Returns:
        The text that each placeholder replaces, by path.
    """
    replaced = {}
    for part, key, path in _not_used(wire):
        text = part.get(key)
        if path in unknown and isinstance(text, str):
            replaced[path] = text
            _replace(part, key, text)
    return replaced


def with_originals(wire: dict[str, Any], replaced: Mapping[str, str]) -> dict[str, Any]:
    """The declaration with the replaced texts, except where the placeholder was edited since."""
    found: dict[str, Any] = _copied(wire)
    for part, key, path in _not_used(found):
        if path in replaced and part.get(key) == _replacement(key, replaced[path]):
            part[key] = replaced[path]
    return found


def _replace(part: dict[str, Any], key: str, text: str) -> None:
    replacement = _replacement(key, text)
    if replacement is None:
        del part[key]
    else:
        part[key] = replacement


def _replacement(key: str, text: str) -> str | None:
    """What stands for a text that is not used here; None: the key is left out."""
    return None if key == "region" else _NO_TOKEN.get(key) or placeholder(key, text)


def _copied(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _copied(value) for key, value in part.items()}
    return [_copied(item) for item in part] if isinstance(part, list) else part


def _not_used(wire: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Each value that is not used here: the part that has it, its key, and its path."""
    yield wire, "roleArn", "roleArn"
    stores = _object(wire.get("artifactStores"))
    for path, store in (
        ("artifactStore", wire.get("artifactStore")),
        *((f"artifactStores.{region}", store) for region, store in stores.items()),
    ):
        if not _gives_artifacts_to_stacks(wire):
            yield _object(store), "location", f"{path}.location"
        yield _object(_object(store).get("encryptionKey")), "id", f"{path}.encryptionKey.id"
    for stage_path, stage in _items(wire, "stages"):
        for path, action in _items(stage, "actions", f"{stage_path}."):
            kind = _object(action.get("actionTypeId"))
            name = f"{kind.get('category')}/{kind.get('owner')}/{kind.get('provider')}"
            yield from _role_and(action, path, _keys_of(name, _object(action.get("configuration"))))
            if not stores and (name in _ON_THE_WORKER or action.get("region") == _OWN_REGION):
                yield action, "region", f"{path}.region"
        yield from _not_used_by_rules(stage, stage_path)


def _gives_artifacts_to_stacks(wire: dict[str, Any]) -> bool:
    """Whether a stack gets the place of an artifact in S3 as a parameter: then the artifacts' bucket is used."""
    configurations = (
        _object(action.get("configuration"))
        for stage_path, stage in _items(wire, "stages")
        for _, action in _items(stage, "actions", f"{stage_path}.")
    )
    return any("Fn::GetArtifactAtt" in str(each.get("ParameterOverrides")) for each in configurations)


def _not_used_by_rules(stage: dict[str, Any], path: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    for kind in ("beforeEntry", "onSuccess", "onFailure"):
        for condition_path, condition in _items(_object(stage.get(kind)), "conditions", f"{path}.{kind}."):
            for rule_path, rule in _items(condition, "rules", f"{condition_path}."):
                provider = _object(rule.get("ruleTypeId")).get("provider")
                if provider != "CloudWatchAlarm":  # it assumes the role
                    yield from _role_and(rule, rule_path, _OF_RULE.get(str(provider), ()))


def _keys_of(name: str, configuration: dict[str, Any]) -> tuple[str, ...]:
    if name == "Deploy/AWS/CloudFormation" and configuration.get("ActionMode") == "CHANGE_SET_EXECUTE":
        return _OF_EXECUTED_CHANGE_SET
    return _OF_ACTION.get(name, ())


def _role_and(
    part: dict[str, Any], path: str, keys: tuple[str, ...]
) -> Iterator[tuple[dict[str, Any], str, str]]:
    yield part, "roleArn", f"{path}.roleArn"
    configuration = _object(part.get("configuration"))
    yield from ((configuration, key, f"{path}.configuration.{key}") for key in keys)


def _items(part: dict[str, Any], key: str, before: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    items = part.get(key)
    for index, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, dict):
            yield f"{before}{key}[{index}]", item


def _object(part: Any) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}
