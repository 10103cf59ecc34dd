"""List the blocks of one type, without secrets."""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.prefect_api.client import call


def list_blocks(type_slug: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and fields of every block of a type, sorted by name. The server masks secret fields."""
    status, body = call("GET", f"/block_types/slug/{type_slug}/block_documents", expected=(404,))
    if status == 404:
        return []
    return sorted((document["name"], document["data"]) for document in body)
