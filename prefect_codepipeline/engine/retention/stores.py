"""Retention in the artifact stores of a Prefect server: in those that no other server uses."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from prefect_codepipeline.actions.artifacts.storing import load_artifact_store
from prefect_codepipeline.actions.artifacts.sweeping import (
    USERS,
    Needed,
    Round,
    Swept,
    note_user,
    other_users,
    sweep,
)
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.engine.executions.run_lists import Run, all_ended_since, all_in_flight
from prefect_codepipeline.engine.retention.keeping import digests_in
from prefect_codepipeline.errors import ActionFailed, MissingBlock
from prefect_codepipeline.model.stored.deployment import StoredDeployment
from prefect_codepipeline.prefect_api.block_documents import block_of, list_documents
from prefect_codepipeline.prefect_api.client import moment


def known_stores() -> tuple[list[ArtifactStore], list[str]]:
    """The stores that the server's blocks name, and the one of pipelines without a block, each place once.

    Also why blocks cannot be used, one sentence for each: the other stores are looked after all the same.
    """
    stores: dict[str, ArtifactStore] = {}
    refused = []
    loads = [
        partial(block_of, ArtifactStore, each) for each in list_documents(ArtifactStore, with_secrets=True)
    ]
    for load in (*loads, partial(load_artifact_store, None)):
        try:
            store = load()
            stores.setdefault(store.url, store)
        except (MissingBlock, ActionFailed) as error:
            refused.append(str(error))
    return list(stores.values()), list(dict.fromkeys(refused))


def deployed_digests() -> set[str]:
    """The trees that records of CodeDeploy's deployments name: an earlier revision can be deployed again."""
    return digests_in([each["data"] for each in list_documents(StoredDeployment)])


def changed_since(began: str) -> list[Run]:
    """The executions that are in flight, or were since: a list that was read meanwhile may lack one of them."""
    return [*all_in_flight(), *all_ended_since(moment(began))]


def note_use(server: str) -> None:
    """Note in each store that this Prefect server uses it; what cannot be reached is noted by a later call."""
    for store in known_stores()[0]:
        with suppress(ActionFailed, OSError):
            if store.folder is None or store.folder.is_dir():
                note_user(store, server)


def sweep_stores(server: str, needed: Needed, this: Round) -> tuple[Swept, list[str]]:
    """Sweep each store; what was done, and a sentence for each store in which nothing may be removed."""
    done = Swept()
    stores, refused = known_stores()
    for store in stores:
        try:
            if store.folder and not store.folder.is_dir():
                continue  # nothing was stored on this machine
            if not this.dry_run:
                note_user(store, server)
            if others := other_users(store, server):
                refused.append(_shared(store, others))
                continue
            done += sweep(store, needed, this)
        except (ActionFailed, OSError) as error:
            refused.append(f"nothing more was removed from artifact store {store.url!r}: {error}")
    return done, refused


def _shared(store: ArtifactStore, others: list[str]) -> str:
    return (
        f"nothing was removed from artifact store {store.url!r}: other Prefect servers use it too ({', '.join(others)}); "
        f"give each server a place of its own, or, if such a server is gone, remove {store.url}/{USERS}/{others[0]}"
    )
