"""Keep links away from a port that is not the gateway's any more."""

from __future__ import annotations

from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.deployments.local.parts import is_alive
from prefect_codepipeline.deployments.local.ports import is_free
from prefect_codepipeline.deployments.local.starting import gateway_url
from prefect_codepipeline.deployments.local.state import home_folder, locked, read_state
from prefect_codepipeline.engine.approvals.links import GATEWAY_BLOCK, load_gateway
from prefect_codepipeline.prefect_api.block_documents import save_block


def withdraw_address() -> str | None:
    """If another program has the port of the set-up's gateway: new messages have no links until it runs again.

    Returns a sentence if the address was removed. A public address is kept: only the user knows where it leads.

    Raises:
        PrefectUnavailable: the API does not answer.
    """
    home = home_folder()
    with locked(home, waits=False) as is_ours:
        state = read_state(home) if is_ours else {}
        kept = state.get("gateway-kept", {"runs": False})
        if not kept["runs"] or is_alive(state.get("gateway")) or is_free(kept["port"]):
            return None
        url, known = gateway_url(kept["port"]), load_gateway()
        if known is None or known.url != url:
            return None
        keys = {"link_key": known.link_key, "former_link_key": known.former_link_key}
        save_block(Gateway(url=None, **keys), GATEWAY_BLOCK)
        return f"messages have no links to {url} until the gateway runs again: another program has its port"
