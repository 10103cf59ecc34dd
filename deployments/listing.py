"""List the blocks of one type, secrets left out."""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.prefect_api.client import call


def list_blocks(type_slug: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and fields of every block of that type, by name; secret fields are masked by the server."""
    status, body = call("GET", f"/block_types/slug/{type_slug}/block_documents", expected=(404,))
    if status == 404:
        return []
    return sorted((document["name"], document["data"]) for document in body)
