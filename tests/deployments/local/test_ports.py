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

from prefect_codepipeline.deployments.local.access import profiles_file
from prefect_codepipeline.deployments.local.ports import free_port, is_free, owner_of

_ADDRESS = (
    "from prefect_codepipeline.engine.approvals.links import load_gateway\n"
    "gateway = load_gateway()\nprint(gateway and gateway.url)"
)


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Another program, this one, listens on the port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield


def test_the_owner_of_a_port_is_named() -> None:
    port = free_port()
    assert is_free(port)

    with taken(port):
        assert not is_free(port)
        assert re.fullmatch(rf".+ \(process {os.getpid()}\)", owner_of(port))
    assert owner_of(port) == "another program"


@pytest.mark.live
def test_a_taken_port_is_refused_with_its_owner_and_no_link_leads_there(set_up: Any) -> None:
    set_up.cli("up", "--gateway", "--gateway-port", str(free_port()))
    port = set_up.state["gateway-kept"]["port"]
    address = f"http://127.0.0.1:{port}"
    assert set_up.python(_ADDRESS).strip() == address

    # The gateway has died: it is started again on its port.
    before = set_up.state["gateway"]["pid"]
    os.kill(before, signal.SIGKILL)
    set_up.wait(lambda: set_up.state["gateway"]["pid"] != before)
    assert set_up.state["gateway-kept"]["port"] == port

    # `down` ends the gateway too; another program takes its port.
    set_up.cli("down")
    with taken(port):
        refused = set_up.run("up")
        assert refused.returncode != 0
        assert f"(process {os.getpid()}) listens on its port {port}" in " ".join(refused.stderr.split())
        set_up.wait(lambda: set_up.python(_ADDRESS).strip() == "None")
    set_up.wait(lambda: set_up.python(_ADDRESS).strip() == address)
    set_up.cli("up")

    # The same for the server; its secret, which the other program may have been sent, is not used again.
    port, secret = set_up.state["port"]["number"], profiles_file(set_up.home).read_text()
    set_up.cli("down")
    with taken(port):
        refused = set_up.run("up")
        assert refused.returncode != 0
        assert f"(process {os.getpid()}) listens on its port {port}" in " ".join(refused.stderr.split())
        assert set_up.state["port"]["number"] == port
    set_up.cli("up")
    set_up.cli("list")
    assert profiles_file(set_up.home).read_text() != secret
