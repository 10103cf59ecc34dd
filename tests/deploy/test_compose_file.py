"""deploy/compose.yaml: each variable, command and secret in it exists, and no password stands in it."""

from __future__ import annotations

import json
import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import compose_file
import jsonschema
import pytest
from prefect.settings.legacy import _get_settings_fields
from prefect.settings.models.root import Settings
from prefect_redis.cleanup_queue import RedisWorkerCleanupQueueSettings
from prefect_redis.client import RedisMessagingSettings

from prefect_codepipeline import __version__
from prefect_codepipeline.cli import app
from prefect_codepipeline.deployments.observing import pages

ROOT = compose_file.ROOT
CONTENT = compose_file.read()
SERVICES: dict[str, Any] = CONTENT["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("prefect-codepipeline:")]
# Of the AWS SDK, Prefect's server beside its settings, PostgreSQL's image, and what programs agree on.
OTHERS = {
    "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_SHARED_CREDENTIALS_FILE", "DO_NOT_TRACK",
    "POSTGRES_DB", "POSTGRES_PASSWORD_FILE", "POSTGRES_USER",
    "PREFECT_SERVER_ENCRYPTION_KEY",
}  # fmt: skip


# Each has an address of its own.
REDIS: tuple[Any, ...] = (RedisMessagingSettings, RedisWorkerCleanupQueueSettings)


def prefix_of(settings: Any) -> str:
    return str(settings.model_config["env_prefix"]).upper()


def of_files() -> set[str]:
    """The variables that the entry point reads from files."""
    text = (ROOT / "deploy/entrypoint").read_text().replace("\\\n", " ")
    named = re.search(r"for name in (.*?); do", text)
    assert named
    return {f"{name}_FILE" for name in named[1].split()}


def known_variables() -> set[str]:
    fields = _get_settings_fields(Settings)
    redis = {f"{prefix_of(settings)}{name.upper()}" for settings in REDIS for name in settings.model_fields}
    return {*fields, *redis, *OTHERS, pages.PORT_VARIABLE, pages.HOST_VARIABLE}


def test_every_variable_is_one_that_somebody_reads() -> None:
    known = known_variables()
    unread = {
        (name, variable)
        for name, service in SERVICES.items()
        for variable in service.get("environment", {})
        if variable not in known and variable not in of_files()
    }
    assert unread == set()
    assert {name.removesuffix("_FILE") for name in of_files()} <= known


def test_it_is_a_compose_file() -> None:
    # The schema of 2021, without the newer `name`.
    schema = json.loads((ROOT / "tests/data/compose/compose-spec.json").read_text())
    content = {key: value for key, value in CONTENT.items() if key != "name"}
    assert [
        str(error.message) for error in jsonschema.Draft201909Validator(schema).iter_errors(content)
    ] == []


def test_every_module_in_a_setting_can_be_imported() -> None:
    environment = SERVICES["server-1"]["environment"]
    modules = {value for value in environment.values() if value.startswith("prefect_redis.")}
    assert len(modules) == 4
    for module in modules:
        import_module(module)
    in_memory = {
        name
        for name, field in _get_settings_fields(Settings).items()
        if str(getattr(field, "default", "")).endswith(".memory")
        or "memory://" in str(getattr(field, "default", ""))
    }
    given = {name.removesuffix("_FILE") for name in environment}
    assert in_memory <= given, "kept by one server alone"
    assert {f"{prefix_of(each)}URL" for each in REDIS} <= given, "else at localhost"


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name: str) -> None:
    command = SERVICES[name]["command"]
    if command[0] == "codepipeline":
        _, bound, _ = app.parse_args(command[1:], exit_on_error=False, print_error=False)
        assert bound.args or bound.kwargs or len(command) == 2
    elif command[0] == "prefect":
        words = [word for word in command[1:] if not word.startswith("-") and word != "codepipeline"]
        assert words in (["server", "start"], ["server", "services", "start"], ["server", "database", "upgrade"], ["worker", "start"])  # fmt: skip
    else:
        compile(command[-1], name, "exec")


def test_no_password_stands_in_the_files() -> None:
    for file in (compose_file.FILE, *ROOT.glob("deploy/kubernetes/**/*.yaml")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            for name, value in re.findall(r"(\w*(?:password|secret_?key|auth_?string|api_?key)\w*): *([^\s,}]+)", line, re.I):  # fmt: skip
                where = f"{file.name}:{number}: {name}"
                assert value.startswith(("/run/secrets/", "prefect-", '""', "{")) or "_FILE" in name, where
    assert "://" not in "".join(
        value for service in SERVICES.values() for name, value in service.get("environment", {}).items() if "@" in value
    )  # fmt: skip


def test_secrets_and_services_that_are_named_exist(tmp_path: Path) -> None:
    subprocess.run([ROOT / "deploy/make-secrets", tmp_path], check=True)
    made = {path.name for path in tmp_path.iterdir()}
    assert {Path(each["file"]).name for each in CONTENT["secrets"].values()} == made
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= CONTENT["secrets"].keys()
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()
        used = re.findall(r"/run/secrets/([\w.]+)", str(service))
        assert set(used) <= set(service.get("secrets", []))
    proxied = re.findall(r"server \S+ (\S+):\d+", (ROOT / "deploy/haproxy.cfg").read_text())
    assert set(proxied) <= SERVICES.keys()


def test_secrets_stay_and_are_random(tmp_path: Path) -> None:
    def made(folder: Path) -> dict[str, str]:
        subprocess.run([ROOT / "deploy/make-secrets", folder], check=True)
        return {path.name: path.read_text() for path in folder.iterdir()}

    first = made(tmp_path / "a")
    assert made(tmp_path / "a") == first
    other = made(tmp_path / "b")
    assert [name for name in first if first[name] == other[name]] == []
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


def test_only_the_proxy_is_reached_from_outside_and_only_from_this_machine() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports.keys() == {"proxy"}
    assert all(port.startswith("127.0.0.1:") for port in ports["proxy"])


def test_migrations_come_before_the_servers() -> None:
    for name in ("server-1", "services"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["server-2"]["depends_on"] == {"server-1": {"condition": "service_healthy"}}
    for name in ("server-1", "server-2", "services"):
        assert SERVICES[name]["environment"]["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "false"


def test_the_image_is_of_this_version() -> None:
    assert {SERVICES[name]["image"] for name in OURS} == {f"prefect-codepipeline:{__version__}"}
    assert {"server-1", "worker-1", "gateway", "reconcile", "migrate", "setup"} <= set(OURS)


def test_the_entry_point_reads_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('admin:it\'s "a" $(secret)')
    environment = {"PATH": "/usr/bin:/bin", "PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "secret")}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "deploy/entrypoint", *command], env=environment, capture_output=True, text=True, check=False
        )  # fmt: skip

    said = run("sh", "-c", 'printf "%s|%s" "$PREFECT_API_AUTH_STRING" "${PREFECT_API_AUTH_STRING_FILE-gone}"')
    assert said.stdout == 'admin:it\'s "a" $(secret)|gone'
    environment["PREFECT_API_AUTH_STRING_FILE"] = str(tmp_path / "missing")
    refused = run("true")
    assert refused.returncode == 1
    assert "PREFECT_API_AUTH_STRING_FILE" in refused.stderr
