"""Scans by Inspector: bills of materials of a recording program or a command, answers from a server by AWS's model."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_server import AwsServer, DroppedError, RefusalError, in_turn
from provider_calls import call_to_its_end
from pydantic import ValidationError
from waiting import until

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.inspector.findings import counts_of, highest_of, rows_of
from prefect_codepipeline.actions.registry import ActionResult, CancellationToken
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.invoke import inspector_scan_invoke
from prefect_codepipeline.tasks.providers.invoke.inspector_scan_invoke import (
    InspectorScanConfiguration,
    scan_with_inspector,
)

BILL = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "components": [{"bom-ref": "comp-1", "name": "flask"}],
}
PROGRAM = """#!/bin/sh
env >{folder}/environment
pwd >{folder}/directory
echo "$@" >{folder}/arguments
while [ "$1" != --outfile ]; do shift; done
echo "pulling with $INSPECTOR_SBOMGEN_PASSWORD" >&2
cat >"$2" <<'END'
{bill}
END
"""
HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def vulnerability(name: str, severity: str, **more: Any) -> dict[str, Any]:
    ratings = [
        {"severity": "none", "source": {"name": "EPSS"}, "score": 0.1},
        {"severity": "low", "source": {"name": "GHSA"}},
        {"severity": severity, "source": {"name": "NVD"}, "method": "CVSSv31", "score": 9.8},
    ]
    return {"id": name, "ratings": ratings, "affects": [{"ref": "comp-2"}], **more}


def scanned(**counts: int) -> dict[str, Any]:
    """A bill of materials with vulnerabilities, as Inspector answers it."""
    names = [f"CVE-{severity}-{number}" for severity, many in counts.items() for number in range(many)]
    properties = [
        {"name": f"amazon:inspector:sbom_scanner:{severity}_vulnerabilities", "value": str(many)}
        for severity, many in counts.items()
    ]
    inner = {"bom-ref": "comp-2", "name": "jinja", "version": "3.0"}
    inner["properties"] = [{"name": "amazon:inspector:sbom_scanner:path", "value": "requirements.txt"}]  # type: ignore[assignment]
    fixed = [{"name": "amazon:inspector:sbom_scanner:fixed_version:comp-2", "value": "3.1"}]
    return {
        **BILL,
        "components": [{"bom-ref": "comp-1", "name": "flask", "components": [inner]}],
        "metadata": {"properties": properties},
        "vulnerabilities": [
            vulnerability(name, name.split("-")[1], properties=fixed) for name in reversed(names)
        ],
    }


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    server = AwsServer()
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "KEY",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    server.answers["ScanSbom"] = lambda _: {"sbom": scanned(critical=0, high=0, medium=0, low=0)}
    repository = {"repositoryName": "shop", "repositoryUri": f"{HOST}/shop"}
    server.answers["DescribeRepositories"] = lambda _: {"repositories": [repository]}
    token = base64.b64encode(b"AWS:registry-password").decode()
    server.answers["GetAuthorizationToken"] = lambda _: {"authorizationData": [{"authorizationToken": token}]}
    yield server
    server.stop()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the recording program says how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    file = folder / "inspector-sbomgen"
    file.write_text(PROGRAM.format(folder=folder, bill=json.dumps(BILL)))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> InputTree:
    tree = InputTree("Source", tmp_path / "tree")
    tree.directory.mkdir()
    (tree.directory / "requirements.txt").write_text("jinja2==3.0\n")
    return tree


@pytest.fixture
def scan(make_aws_context: Any, source: InputTree) -> Callable[..., ActionResult]:
    def run(mode: str = "SourceCodeScan", aws: AwsSettings | None = None, **given: Any) -> ActionResult:
        fields = {name: given.pop(name) for name in ("cancellation", "seconds") if name in given}
        context = make_aws_context(
            "Invoke/InspectorScan",
            outputs=("Scan",),
            input_artifacts=given.pop("inputs", (source,) if mode == "SourceCodeScan" else ()),
            settings=ActionSettings(aws=aws or AwsSettings()),
            **fields,
        )
        configuration = InspectorScanConfiguration.model_validate({"InspectorRunMode": mode, **given})
        return call_to_its_end(scan_with_inspector, configuration, context)

    return run


def test_source_code_is_scanned_by_what_the_program_found(aws, program, source, scan):
    aws.answers["ScanSbom"] = lambda _: {"sbom": scanned(critical=0, high=1, medium=2, low=0)}

    result = scan(CriticalThreshold="0", HighThreshold="1")

    assert result.summary == "Inspector found in input artifact 'Source': 0 critical, 1 high, 2 medium, 0 low"
    assert result.output_variables == {"HighestScannedSeverity": "high"}
    written = json.loads((result.output_artifacts["Scan"].directory / "sbom.json").read_text())
    assert len(written["vulnerabilities"]) == 3
    assert aws.asked("ScanSbom") == [{"sbom": BILL, "outputFormat": "CYCLONE_DX_1_5"}]
    assert aws.regions == ["eu-west-1"]
    assert (program / "arguments").read_text().startswith("directory --path . --outfile /")
    assert (program / "directory").read_text().strip() == str(source.directory)


def test_the_program_sees_nothing_of_the_workers_environment(aws, program, scan, monkeypatch):
    monkeypatch.setenv("PREFECT_API_KEY", "planted-key")

    scan()

    seen = (program / "environment").read_text()
    assert "planted" not in seen
    assert "AWS_" not in seen
    assert "PREFECT" not in seen


def test_an_image_is_scanned_with_the_token_of_its_registry(aws, program, scan, caplog):
    caplog.set_level("INFO")

    result = scan("ECRImageScan", ECRRepositoryName="shop", ImageTag="v1")

    assert result.summary.startswith(f"Inspector found in image '{HOST}/shop:v1': 0 critical")
    assert result.output_variables == {"HighestScannedSeverity": "none"}
    assert f"container --image {HOST}/shop:v1 --outfile" in (program / "arguments").read_text()
    seen = (program / "environment").read_text()
    assert "INSPECTOR_SBOMGEN_USERNAME=AWS" in seen
    assert "INSPECTOR_SBOMGEN_PASSWORD=registry-password" in seen
    assert "planted-secret" not in seen
    assert "pulling with ***" in caplog.text
    assert "registry-password" not in caplog.text


def test_an_image_in_another_registry_needs_no_ecr(aws, program, scan, monkeypatch):
    monkeypatch.setattr(inspector_scan_invoke, "secret_value", lambda name, _: {"hub": "ada:pass:word"}[name])
    settings = AwsSettings(registry="https://registry.example.com", registry_secret="hub")

    scan("ECRImageScan", settings, ECRRepositoryName="team/shop")

    assert "--image registry.example.com/team/shop:latest" in (program / "arguments").read_text()
    assert "INSPECTOR_SBOMGEN_PASSWORD=pass:word" in (program / "environment").read_text()
    assert [name for name, _ in aws.requests] == ["ScanSbom"]


def test_a_command_of_the_settings_prints_the_bill_of_materials(aws, scan, tmp_path):
    (tmp_path / "bill").write_text(json.dumps(BILL))
    settings = AwsSettings(sbom_command=f"ls requirements.txt >&2\ncat {tmp_path}/bill")

    scan(aws=settings)

    assert aws.asked("ScanSbom")[0]["sbom"] == BILL


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"CriticalThreshold": "0", "HighThreshold": "9"}, "2 critical (CriticalThreshold is 0)"),
        (
            {"HighThreshold": "2", "LowThreshold": "0"},
            "3 high (HighThreshold is 2), 1 low (LowThreshold is 0)",
        ),
    ],
)
def test_more_than_a_threshold_fails(aws, program, scan, thresholds, message):
    aws.answers["ScanSbom"] = lambda _: {"sbom": scanned(critical=2, high=3, medium=0, low=1)}

    with pytest.raises(ActionFailed) as failed:
        scan(**thresholds)

    assert str(failed.value) == (
        f"Inspector found in input artifact 'Source' more than the action allows: {message}; "
        "the first is CVE-critical-1 in jinja 3.0"
    )
    assert failed.value.code == "JobFailed"


def test_as_many_as_the_threshold_are_allowed(aws, program, scan):
    aws.answers["ScanSbom"] = lambda _: {"sbom": scanned(critical=2, high=3, medium=0, low=1)}

    result = scan(CriticalThreshold="2", HighThreshold="3", MediumThreshold="0", LowThreshold="1")

    assert result.output_variables == {"HighestScannedSeverity": "critical"}


def test_the_findings_are_a_table_with_the_worst_first():
    found = scanned(low=1, critical=1)

    assert rows_of(found, 9) == [
        {
            "id": f"CVE-{severity}-0",
            "severity": severity,
            "package": "jinja 3.0",
            "fixed in": "3.1",
            "path": "requirements.txt",
        }
        for severity in ("critical", "low")
    ]
    assert len(rows_of(found, 1)) == 1


def test_without_numbers_of_inspector_the_vulnerabilities_are_counted():
    rated_by_another = vulnerability(
        "b", "high", ratings=[{"severity": "HIGH", "source": {"name": "UBUNTU_CVE"}}]
    )
    unrated = vulnerability("c", "unknown", ratings=[])
    counts = counts_of({"vulnerabilities": [vulnerability("a", "medium"), rated_by_another, unrated]})

    assert counts == {"critical": 0, "high": 1, "medium": 1, "low": 0}
    assert highest_of(counts) == "high"
    assert highest_of(counts_of({})) == "none"


def test_an_outage_and_throttling_are_borne(aws, program, scan, caplog):
    answer = {"sbom": scanned(critical=0)}
    refused = RefusalError("ThrottlingException", "slow down", 429)
    away = RefusalError("InternalServerException", "later", 500)
    aws.answers["ScanSbom"] = in_turn([refused, away, DroppedError(), answer])

    assert scan().output_variables == {"HighestScannedSeverity": "none"}
    assert "will retry" in caplog.text
    assert len(aws.asked("ScanSbom")) == 4


@pytest.mark.parametrize(
    ("refusal", "message", "code"),
    [
        (RefusalError("AccessDeniedException", "no", 403), "AWS refused: .*no", "PermissionError"),
        (RefusalError("ValidationException", "bad SBOM"), "AWS refused: .*bad SBOM", "ConfigurationError"),
        (RefusalError("ExpiredTokenException", "old"), ".*renew the credentials", "PermissionError"),
    ],
)
def test_what_inspector_refuses(aws, program, scan, refusal, message, code):
    aws.answers["ScanSbom"] = in_turn([refusal])

    with pytest.raises(
        ActionFailed, match=f"scanning the bill of materials in region eu-west-1: {message}"
    ) as failed:
        scan()
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("command", "message", "code"),
    [
        ("echo no network >&2; exit 3", r"of input artifact 'Source' could not be made: exit code 3\n.*no network", "JobFailed"),
        ("syft .", "exit code 127: 'syft' was not found in the PATH of commands", "JobFailed"),
        ("echo hello", "sbom_command of the settings wrote something that is not JSON", "ConfigurationError"),
        ("echo '{}'", "wrote a file that is not CycloneDX", "ConfigurationError"),
    ],
)  # fmt: skip
def test_a_program_that_makes_no_bill_of_materials(aws, scan, command, message, code):
    with pytest.raises(ActionFailed, match=f"(?s){message}") as failed:
        scan(aws=AwsSettings(sbom_command=command))
    assert failed.value.code == code
    assert aws.requests == []


def test_without_a_program_it_is_named(aws, scan, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(
        ActionFailed, match="inspector-sbomgen is not on the worker's PATH; install it"
    ) as failed:
        scan()
    assert failed.value.code == "ConfigurationError"


def test_an_abandoned_scan_ends_its_program(aws, scan, tmp_path):
    token = CancellationToken()
    command = f"echo $$ >{tmp_path}/pid; exec sleep 60"

    def cancel() -> None:
        until(lambda: (tmp_path / "pid").exists())
        token.cancel()

    threading.Thread(target=cancel).start()
    with pytest.raises(ActionAbandoned):
        scan(aws=AwsSettings(sbom_command=command), cancellation=token)

    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "ECRImageScan"}, "ECRImageScan needs ECRRepositoryName"),
        ({"inputs": ()}, "SourceCodeScan needs an input artifact"),
        ({"mode": "ECRImageScan", "ECRRepositoryName": "none"}, "there is no ECR repository 'none' in region eu-west-1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_the_scan(aws, program, scan, given, message):
    aws.answers["DescribeRepositories"] = in_turn([RefusalError("RepositoryNotFoundException", "no")])

    with pytest.raises(ActionFailed, match=message) as failed:
        scan(**given)
    assert failed.value.code == "ConfigurationError"
    assert aws.asked("ScanSbom") == []


@pytest.mark.parametrize("change", [{"InspectorRunMode": "All"}, {"X": "1"}, {"HighThreshold": "many"}])
def test_rejects_configuration(change):
    with pytest.raises(ValidationError):
        InspectorScanConfiguration.model_validate({"InspectorRunMode": "SourceCodeScan", **change})
