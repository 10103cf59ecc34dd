"""The versions of the format of facts, and which release came with each.

A fact carries the version in which its kind became what it is now. So an old release reads what a new one writes, until
the new one writes something that the old one cannot know. A change of a kind, and a new kind, is a new version: its
line is added here, and `format` is set in the class. `tests/data/records/formats` has the fields of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.errors import NewerRecord

# The first release that reads each version.
RELEASES: Mapping[int, str] = {1: "0.1.0"}
FORMAT = max(RELEASES)


def stamp(version: int) -> dict[str, Any]:
    """What is written beside a fact of this version: what an older release needs, to say which one reads it."""
    return {"format": version, "needs": RELEASES[version]}


def check_stamp(what: str, stamped: Mapping[str, Any]) -> None:
    """See that this release can read what was written; a value without a version is one of the first.

    Raises:
        NewerRecord: it cannot.
    """
    version = stamped.get("format", 1)
    if isinstance(version, int) and version <= FORMAT:
        return
    needed = f"release {stamped['needs']}" if stamped.get("needs") else "the release that wrote it"
    raise NewerRecord(
        f"{what}: its format is {version!r}, and this release reads formats up to {FORMAT}; it needs {needed} of "
        "prefect-codepipeline, or a later one"
    )
