"""The private parts of Prefect that this package uses outside of the worker; those of the worker are in `deployments/worker/prefect_internals.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from prefect.client.orchestration import SyncPrefectClient


def save_anonymously(block: Block) -> UUID:
    """Save a block without a name. Returns its id."""
    return block._save_sync(is_anonymous=True)


def http_client_of(client: SyncPrefectClient) -> Any:  # Any: its transports are private too
    """The HTTP client that Prefect's client uses."""
    return client._client
