"""Start the gateway of the embedded set-up again if it has died, and keep links away from a port that it has lost."""

from __future__ import annotations

from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.deployments.local.parts import is_alive
from prefect_codepipeline.deployments.local.starting import PortTaken, gateway_url, start_gateway
from prefect_codepipeline.deployments.local.state import home_folder, locked, read_state
from prefect_codepipeline.engine.approvals.links import GATEWAY_BLOCK, load_gateway
from prefect_codepipeline.prefect_api.block_documents import save_block
from prefect_codepipeline.prefect_api.client import within

_PREFECT_SECONDS = 10.0


def repair_gateway() -> list[str]:
    """Start the gateway again if it has died, unless a command does it; what was done, as sentences.

    If another program has its port, new messages have no links until the gateway runs again. A public address stays in
    the gateway's block: only the user knows where it leads.

    Raises:
        PrefectUnavailable: it did not start, or another program has its port.
    """
    home = home_folder()
    with locked(home, waits=False) as is_ours:
        state = read_state(home) if is_ours else {}
        kept = state.get("gateway-kept", {"runs": False})
        if not kept["runs"] or not is_alive(state.get("server")) or is_alive(state.get("gateway")):
            return []
        try:
            start_gateway(home, state)
        except PortTaken:
            _withdraw(gateway_url(kept["port"]))
            raise
        return ["the gateway had ended and was started again"]


def _withdraw(url: str) -> None:
    with within(_PREFECT_SECONDS):
        known = load_gateway()
        if known and known.url == url:
            keys = {"link_key": known.link_key, "former_link_key": known.former_link_key}
            save_block(Gateway(url=None, **keys), GATEWAY_BLOCK)
