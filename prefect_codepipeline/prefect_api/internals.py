"""The private parts of Prefect that this package uses outside of the worker; those of the worker are in `deployments/worker/prefect_internals.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from prefect.exceptions import ObjectNotFound

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from prefect.client.orchestration import SyncPrefectClient

AnyBlock = TypeVar("AnyBlock", bound="Block")


def save_anonymously(block: Block) -> UUID:
    """Save a block without a name. Returns its id."""
    return block._save_sync(is_anonymous=True)


def find_block(client: SyncPrefectClient, kind: type[AnyBlock], document_id: UUID) -> AnyBlock | None:
    """The block with that id, or None if there is none."""
    try:
        return kind._from_block_document(client.read_block_document(document_id))
    except ObjectNotFound:
        return None


def http_client_of(client: SyncPrefectClient) -> Any:  # Any: its transports are private too
    """The HTTP client that Prefect's client uses."""
    return client._client
