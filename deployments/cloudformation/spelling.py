"""The spelling of CloudFormation's properties in the API's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.deployments.cloudformation.unknown import as_text, with_placeholders


class Spelling:
    """Converts a template's properties to the API's format, and maintains `origins`.

    All scalars become strings, as in CloudFormation; `with_numbers` converts the few numbers back.
    """

    def __init__(self, origins: Mapping[str, str]) -> None:
        self._before = origins
        self.origins: dict[str, str] = {"": origins.get("", "")}
        self.incomplete: dict[str, str] = {}  # the missing key of each incomplete part, by its path

    def pipeline(self, properties: dict[str, Any]) -> dict[str, Any]:
        """The declaration from a pipeline's properties."""
        found = {}
        for key, value in properties.items():
            own = lower_first(key)
            if key == "ArtifactStores" and isinstance(value, list):
                found[own] = self._stores(value)
            else:
                found[own] = self._part(value, key, own)
        return found

    def _stores(self, stores: list[Any]) -> Any:
        """A list of `{Region, ArtifactStore}` as the mapping from region to store."""
        found: dict[str, Any] = {}
        self._note("artifactStores", "ArtifactStores")
        for index, each in enumerate(stores):
            region = as_text(each.get("Region")) if isinstance(each, dict) else None
            if region is None or not isinstance(each.get("ArtifactStore"), dict):
                missing = "Region" if region is None else "ArtifactStore"
                self.incomplete[f"ArtifactStores[{index}]"] = missing
                continue
            if region in found:
                # Cannot be written as a mapping; the checks of the definition will report that a mapping is required.
                return self._part(stores, "ArtifactStores", "artifactStores")
            before = f"ArtifactStores[{index}].ArtifactStore"
            found[region] = self._part(
                each.get("ArtifactStore"), before, f"artifactStores.{with_placeholders(region)}"
            )
        return found

    def _part(self, value: Any, before: str, path: str, own_keys: bool = True) -> Any:
        self._note(path, before)
        if isinstance(value, list):
            return [
                self._part(item, f"{before}[{index}]", f"{path}[{index}]", own_keys)
                for index, item in enumerate(value)
            ]
        if not isinstance(value, dict):
            text = as_text(value)
            return value if text is None else text
        found: dict[str, Any] = {}
        for key, item in value.items():
            own = lower_first(key) if own_keys else key
            # The keys of a configuration belong to the action, not to the API.
            inner = own_keys and key != "Configuration"
            found[own] = self._part(item, f"{before}.{key}", f"{path}.{own}", inner)
        return found

    def _note(self, path: str, before: str) -> None:
        if before in self._before:
            self.origins[path] = self._before[before]


def lower_first(key: str) -> str:
    """`RoleArn` as `roleArn`."""
    return key[:1].lower() + key[1:]
