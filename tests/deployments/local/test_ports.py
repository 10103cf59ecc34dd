"""A port that another program has taken: its owner is named, and nothing moves by itself."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from waiting import until

from prefect_codepipeline.deployments.local.access import profiles_file
from prefect_codepipeline.deployments.local.ports import free_port, has_listener, is_free, owner_of

_ADDRESS = (
    "from prefect_codepipeline.engine.approvals.links import load_gateway\n"
    "gateway = load_gateway()\nprint(gateway and gateway.url)"
)


def _is_bound(listener: socket.socket, port: int) -> bool:
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:  # the process that had it has not ended yet
        return False
    return True


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Another program, this one, listens on the port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        until(lambda: _is_bound(listener, port))
        listener.listen()
        yield


def test_the_owner_of_a_port_is_named() -> None:
    port = free_port()
    assert is_free(port)
    assert not has_listener(port)

    with taken(port):
        assert not is_free(port)
        assert has_listener(port)
        assert re.fullmatch(rf".+ \(process {os.getpid()}\)", owner_of(port))
    assert owner_of(port) == "another program"


@pytest.mark.live
def test_a_taken_port_is_refused_with_its_owner_and_no_link_leads_there(set_up: Any) -> None:
    set_up.cli("up", "--gateway", "--gateway-port", str(free_port()))
    state = set_up.state
    address = f"http://127.0.0.1:{state['gateway-kept']['port']}"
    assert set_up.python(_ADDRESS).strip() == address

    os.kill(state["gateway"]["pid"], signal.SIGKILL)
    with taken(state["gateway-kept"]["port"]):
        assert_refused(set_up, state["gateway-kept"]["port"])
        set_up.wait(lambda: set_up.python(_ADDRESS).strip() == "None")
    # The gateway is started again on its port, and its address is back.
    set_up.wait(lambda: set_up.python(_ADDRESS).strip() == address)

    # The server's secret, which the other program may have been sent, is not used again.
    secret = profiles_file(set_up.home).read_text()
    os.kill(state["server"]["pid"], signal.SIGKILL)
    with taken(state["port"]["number"]):
        assert_refused(set_up, state["port"]["number"])
    set_up.cli("up")
    set_up.cli("list")
    assert profiles_file(set_up.home).read_text() != secret
    assert [set_up.state[key] for key in ("port", "gateway-kept")] == [state["port"], state["gateway-kept"]]


def assert_refused(set_up: Any, port: int) -> None:
    refused = set_up.run("up")
    assert refused.returncode != 0
    assert f"(process {os.getpid()}) listens on its port {port}" in " ".join(refused.stderr.split())
