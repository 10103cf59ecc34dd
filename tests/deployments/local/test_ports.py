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
from other_user import thief_of
from waiting import until

from prefect_codepipeline.deployments.local.access import profiles_file
from prefect_codepipeline.deployments.local.ports import (
    free_port,
    has_listener,
    hold,
    hold_only,
    is_free,
    is_only_held,
    listener_at,
    owner_of,
)

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


def test_a_held_port_is_free_for_servers_of_this_user_and_only_for_them() -> None:
    """What this user can do, without root: programs that do not ask to share the port are refused too."""
    port = free_port()
    try:
        assert hold(port)

        assert not is_free(port)
        assert is_only_held(port)
        with listener_at(port) as listener:
            listener.listen()
            assert has_listener(port)
            assert not is_only_held(port)
            assert hold(port), "beside the server"
        assert is_only_held(port)
    finally:
        hold_only([])
    assert is_free(port)

    with taken(port):
        assert not hold(port)
        assert not is_only_held(port)
        with pytest.raises(OSError, match="in use"):
            listener_at(port)


@pytest.mark.live
@pytest.mark.long
def test_no_other_user_gets_a_port_whose_server_dies_and_a_taken_one_is_refused(set_up: Any) -> None:
    set_up.cli("up", "--gateway", "--gateway-port", str(free_port()))
    state = set_up.state
    port, gateway_port = state["port"]["number"], state["gateway-kept"]["port"]
    address = f"http://127.0.0.1:{gateway_port}"
    assert set_up.python(_ADDRESS).strip() == address

    if os.geteuid() == 0:
        assert_nobody_steals(set_up, [port, gateway_port])
    set_up.kill_everything()

    # The server's secret, which the other program may have been sent, is not used again.
    secret = profiles_file(set_up.home).read_text()
    with taken(port):
        assert_refused(set_up, port)
    with taken(gateway_port):
        assert_refused(set_up, gateway_port)
        assert profiles_file(set_up.home).read_text() != secret
        set_up.wait(lambda: set_up.python(_ADDRESS).strip() == "None")
    # The gateway is started again on its port, and its address is back.
    set_up.wait(lambda: set_up.python(_ADDRESS).strip() == address)
    assert [set_up.state[key] for key in ("port", "gateway-kept")] == [state["port"], state["gateway-kept"]]
    if os.geteuid() != 0:
        pytest.skip("all but the attack by another user has passed: only root can be another user")


def assert_nobody_steals(set_up: Any, ports: list[int]) -> None:
    before = set_up.state
    with thief_of(ports) as thief:
        thief.tries()
        for part in ("server", "gateway"):
            os.kill(before[part]["pid"], signal.SIGKILL)
        set_up.wait(lambda: all(set_up.state[part] != before[part] for part in ("server", "gateway")))
        set_up.wait(lambda: set_up.run("list").returncode == 0)
        set_up.wait(lambda: not is_only_held(ports[1]))
        # The worker sends the password too, so it holds the server's port after the supervisor's death.
        after = set_up.state
        for part in ("reconcile", "server"):
            os.kill(after[part]["pid"], signal.SIGKILL)
        set_up.wait(lambda: is_only_held(ports[0]))
        thief.tries()
        assert thief.got == []

        set_up.kill_everything()
        set_up.wait(lambda: thief.got == ports)


def assert_refused(set_up: Any, port: int) -> None:
    refused = set_up.run("up")
    assert refused.returncode != 0
    assert f"(process {os.getpid()}) listens on its port {port}" in " ".join(refused.stderr.split())
