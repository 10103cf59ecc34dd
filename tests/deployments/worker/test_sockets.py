"""Event sockets have the credentials of requests; where they are refused, the worker says so once and does without."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

import pytest
from guarding_proxy import GuardingProxy
from prefect.context import refresh_global_settings_context
from prefect.events import clients
from prefect.events.clients import NullEventsClient, PrefectEventsClient, get_events_client
from prefect.events.worker import EventsWorker
from prefect.settings import get_current_settings

from prefect_codepipeline.deployments.worker import sockets

pytestmark = pytest.mark.usefixtures("no_server")


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Leave this process as it was: the worker's would end."""
    monkeypatch.setattr(clients, "get_events_client", clients.get_events_client)
    for name in ("PREFECT_CLIENT_CUSTOM_HEADERS", sockets._REFUSED):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield monkeypatch
    EventsWorker.set_client_override(None)
    for name in ("FlowRunCancellingObserver", "FlowRunSuspendingObserver"):
        logging.getLogger(f"prefect.{name}").setLevel(logging.NOTSET)


def at(proxy: GuardingProxy, monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in {"PREFECT_API_URL": proxy.url, **variables}.items():
        monkeypatch.setenv(name, value)
    refresh_global_settings_context()


def test_sockets_have_the_key_of_requests(restored: pytest.MonkeyPatch) -> None:
    with GuardingProxy("http://127.0.0.1:1", "Authorization", "Bearer pnu_1", challenge="Bearer") as proxy:
        at(proxy, restored, PREFECT_API_KEY="pnu_1", PREFECT_CLIENT_CUSTOM_HEADERS='{"X-Other": "1"}')

        sockets.send_credentials()

        asyncio.run(sockets.do_without_if_refused())
    assert get_current_settings().client.custom_headers == {"X-Other": "1", "Authorization": "Bearer pnu_1"}
    assert "socket /api/events/out" in proxy.passed
    assert proxy.refused == []
    assert not sockets.are_refused()  # the server behind the proxy is away, which is no refusal


def test_a_header_of_the_user_s_own_stays(restored: pytest.MonkeyPatch) -> None:
    own = '{"authorization": "Token own"}'
    with GuardingProxy("http://127.0.0.1:1", "Authorization", "Token own") as proxy:
        at(proxy, restored, PREFECT_API_KEY="pnu_1", PREFECT_CLIENT_CUSTOM_HEADERS=own)

        sockets.send_credentials()

    assert os.environ["PREFECT_CLIENT_CUSTOM_HEADERS"] == own


def test_where_sockets_are_refused_it_is_said_and_no_process_tries_again(
    restored: pytest.MonkeyPatch,
) -> None:
    with GuardingProxy("http://127.0.0.1:1", "X-Door", "secret-1", sockets=False, status=403) as proxy:
        at(proxy, restored, PREFECT_CLIENT_CUSTOM_HEADERS='{"X-Door": "secret-1"}')
        assert isinstance(get_events_client(), PrefectEventsClient)

        warning = asyncio.run(sockets.do_without_if_refused())

    assert warning
    assert f"Prefect's event sockets at {proxy.url} are refused" in warning
    assert "403" in warning
    assert "secret-1" not in warning
    assert sockets.are_refused()
    assert isinstance(clients.get_events_client(), NullEventsClient)
    assert EventsWorker.instance().client_type is NullEventsClient
    assert not logging.getLogger("prefect.FlowRunCancellingObserver").isEnabledFor(logging.WARNING)
