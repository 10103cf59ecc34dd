"""What the set-up remembers: a file that is damaged or cannot be written is an error, never an empty set-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_codepipeline.deployments.local import embedded
from prefect_codepipeline.deployments.local.access import profiles_file
from prefect_codepipeline.deployments.local.api_url import PROFILES_VARIABLE, configured_api_url
from prefect_codepipeline.deployments.local.state import HOME_VARIABLE, locked, read_state, write_state
from prefect_codepipeline.errors import PrefectUnavailable


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"port": 5}',
        '{"port": {"number": "x"}}',
        '{"server": 7}',
        '{"worker-started-as": 1}',
    ],
)
@pytest.mark.parametrize("command", [embedded.up, embedded.down, embedded.find])
def test_a_damaged_file_is_named_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, command: object
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    (tmp_path / "state.json").write_text(text)

    with pytest.raises(
        PrefectUnavailable, match=r"/state\.json.* is damaged; .*remove the file.*data is kept"
    ):
        command()

    assert (tmp_path / "state.json").read_text() == text
    assert not (tmp_path / "postgresql").exists()


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    state = {"database": "postgresql", "port": {"number": 1}, "server": {"pid": 1, "started": 2}, "limit": 3}
    write_state(tmp_path, state)

    assert read_state(tmp_path) == state
    assert read_state(tmp_path / "new") == {}


def test_a_lock_that_another_has_is_waited_for_or_not(tmp_path: Path) -> None:
    with locked(tmp_path) as first, locked(tmp_path, waits=False) as second:
        assert (first, second) == (True, False)
    with locked(tmp_path, waits=False) as again:
        assert again


@pytest.mark.usefixtures("no_server")
def test_a_shell_that_names_the_embedded_server_without_its_secret_means_the_embedded_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    write_state(tmp_path, {"port": {"number": 4201}})

    def configured(url: str) -> str | None:
        monkeypatch.setenv("PREFECT_API_URL", url)
        return configured_api_url()

    assert configured("http://127.0.0.1:4201/api") is None
    assert configured("http://127.0.0.1:4200/api") == "http://127.0.0.1:4200/api"
    monkeypatch.setenv(PROFILES_VARIABLE, str(profiles_file(tmp_path)))
    assert configured("http://127.0.0.1:4201/api") == "http://127.0.0.1:4201/api"
    monkeypatch.delenv("PREFECT_API_URL")
    assert configured_api_url() is None
