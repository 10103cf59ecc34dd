"""Tags as the AWS API writes them: a list of pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prefect_codepipeline.errors import InvalidTagsException


def tags_in(wire: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The tags in a list, by key. Raises `InvalidTagsException`: a key occurs more than once."""
    found: dict[str, str] = {}
    for tag in wire:
        if tag["key"] in found:
            raise InvalidTagsException(f"The tag key {tag['key']!r} occurs more than once.")
        found[tag["key"]] = tag["value"]
    return found


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """The list of tags, in the order of the keys."""
    return [{"key": key, "value": tags[key]} for key in sorted(tags)]
