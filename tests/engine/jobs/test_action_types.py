"""Action types that job workers serve: a version never changes, and deleting is no end for an equal one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from prefect_codepipeline.engine.jobs.action_types import find_known_type, find_type, list_types
from prefect_codepipeline.engine.operations.action_types import create_type, delete_type
from prefect_codepipeline.errors import ActionTypeAlreadyExistsException
from prefect_codepipeline.model.definition.own_types import CustomActionType
from prefect_codepipeline.model.stored.action_type import StoredActionType

pytestmark = pytest.mark.live


def wanted(provider: str, **other: Any) -> StoredActionType:
    counts = {"minimumCount": 0, "maximumCount": 1}
    given = {"category": "Build", "provider": provider, "version": "1", **other}
    return StoredActionType.of(
        CustomActionType.model_validate(
            {"inputArtifactDetails": counts, "outputArtifactDetails": counts, **given}
        )
    )


def test_a_version_is_created_once_deleted_and_restored_only_as_it_was(prefect_server: str) -> None:
    first = wanted(f"Acme-{uuid4().hex[:8]}")
    other = wanted(first.provider, settings={"entityUrlTemplate": "https://ci.test"})
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(create_type, [first] * 4)) == [first] * 4
    assert find_type(first.id) == first
    assert first.id in [each.id for each in list_types()]
    with pytest.raises(ActionTypeAlreadyExistsException, match="already exists with another definition"):
        create_type(other)

    assert delete_type(first.id)
    assert not delete_type(first.id)
    assert find_type(first.id) is None
    assert first.id not in [each.id for each in list_types()]
    assert find_known_type(first.id) == first.model_copy(update={"deleted": True})
    with pytest.raises(ActionTypeAlreadyExistsException, match="version cannot be used again"):
        create_type(other)
    create_type(first)
    assert find_type(first.id) == first
    delete_type(first.id)
