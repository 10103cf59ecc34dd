"""From a build's directory to what is shown and kept of its reports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer
from prefect import flow, task

from prefect_codepipeline.actions.codebuild.reports import collecting
from prefect_codepipeline.actions.codebuild.reports.collecting import collect_reports
from prefect_codepipeline.actions.codebuild.reports.publishing import (
    artifact_key,
    keep_report_files,
    publish_reports,
)
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.buildspec.parts import ReportGroup
from prefect_codepipeline.prefect_api.client import call

REPORTS = Path(__file__).parent.parent.parent.parent / "data/reports"
FAILS = "<testsuite><testcase name='{name}'><failure message='{message}'/></testcase></testsuite>"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A build's directory after the build."""
    root = tmp_path / "src"
    (root / "out/deep").mkdir(parents=True)
    shutil.copy(REPORTS / "pytest.xml", root / "out/TEST-a.xml")
    shutil.copy(REPORTS / "surefire.xml", root / "out/deep/TEST-b.xml")
    shutil.copy(REPORTS / "coverage-py.xml", root / "out/coverage.xml")
    (root / "out/broken.xml").write_text("<testsuite>")
    (tmp_path / "outside.xml").write_text("<testsuite><testcase name='secret'/></testsuite>")
    (root / "out/link.xml").symlink_to("../../outside.xml")
    (root / "out/inner-link.xml").symlink_to("TEST-a.xml")
    (root / "out/loop.xml").symlink_to("loop.xml")
    (root / "elsewhere").symlink_to(tmp_path)
    return root


@pytest.mark.parametrize(
    ("group", "line", "files", "warnings"),
    [
        pytest.param(
            ReportGroup("unit", ("**/TEST-*.xml",)), "4 passed, 2 skipped, 4 failed: test_rebate, test_saved, rebate …",
            ["unit/out/TEST-a.xml", "unit/out/deep/TEST-b.xml"], [], id="several files are one report",
        ),
        pytest.param(
            ReportGroup("unit", ("**/*",), base_directory="out/deep"), "2 passed, 1 skipped, 2 failed: rebate, saved",
            ["unit/TEST-b.xml"], [], id="base-directory",
        ),
        pytest.param(
            ReportGroup("unit", ("**/TEST-*.xml",), discard_paths=True),
            "4 passed, 2 skipped, 4 failed: test_rebate, test_saved, rebate …",
            ["unit/TEST-a.xml", "unit/TEST-b.xml"], [], id="discard-paths",
        ),
        pytest.param(
            ReportGroup("cov", ("out/coverage.xml",), file_format="CoberturaXml"),
            "line coverage 75.0 %, branch coverage 75.0 %", ["cov/out/coverage.xml"], [], id="a format in any case",
        ),
        pytest.param(
            ReportGroup("unit", ("out/broken.xml", "out/TEST-a.xml")), "2 passed, 1 skipped, 2 failed: test_rebate, test_saved",
            ["unit/out/TEST-a.xml", "unit/out/broken.xml"],
            ["report group 'unit': out/broken.xml is not well-formed XML: no element found: line 1, column 11, "
             "so it is not read as JUNITXML"],
            id="a broken file beside a good one is kept, too",
        ),
        pytest.param(
            ReportGroup("unit", ("out/inner-link.xml",)), "2 passed, 1 skipped, 2 failed: test_rebate, test_saved",
            ["unit/out/inner-link.xml"], [], id="a link that stays inside",
        ),
        pytest.param(
            ReportGroup("unit", ("out/link.xml",)), "", [],
            ["report group 'unit': out/link.xml is a link that leads out of the source directory, "
             "so it is not read as JUNITXML"],
            id="a link that leads out",
        ),
        pytest.param(
            ReportGroup("unit", ("out/loop.xml",)), "", [], ["report group 'unit': out/loop.xml cannot be opened: "], id="a link to itself",
        ),
        pytest.param(
            ReportGroup("unit", ("outside.xml",), base_directory="elsewhere"), "", [],
            ["report group 'unit': base-directory 'elsewhere' is outside the source directory"],
            id="a base-directory that is a link out",
        ),
        pytest.param(
            ReportGroup("unit", ("*.xml",), base_directory="../"), "", [],
            ["report group 'unit': base-directory '../' is outside the source directory"],
            id="a base-directory above",
        ),
        pytest.param(
            ReportGroup("unit", ("../outside.xml",)), "", [],
            ["report group 'unit': artifact files '../outside.xml': a pattern must be relative to the working directory "
             "and stay inside it"],
            id="a pattern that leads out",
        ),
        pytest.param(
            ReportGroup("unit", ("nothing/*.xml", "*.trx"), base_directory="out"), "", [],
            ["report group 'unit': no file matches 'nothing/*.xml', '*.trx' below 'out', so there is no report; "
             "compare with the files that the tests write"],
            id="nothing matches",
        ),
        pytest.param(
            ReportGroup("unit", ("*",), base_directory="gone"), "", [],
            ["report group 'unit': base-directory 'gone' does not exist after the build, so there is no report"],
            id="no such directory",
        ),
        pytest.param(
            ReportGroup("unit", ("*",), base_directory="out/TEST-a.xml"), "", [],
            ["report group 'unit': base-directory 'out/TEST-a.xml' does not exist after the build, so there is no report"],
            id="a file for a directory",
        ),
        pytest.param(
            ReportGroup("arn:aws:codebuild:eu-west-1:1:report-group/my tests", ("out/TEST-a.xml",)),
            "2 passed, 1 skipped, 2 failed: test_rebate, test_saved",
            ["arn-aws-codebuild-eu-west-1-1-report-group-my-tests/out/TEST-a.xml"], [], id="an ARN for a name",
        ),
    ],
)  # fmt: skip
def test_collect(source, group, line, files, warnings):
    collected = collect_reports([group], source)

    assert collected.one_line == line
    assert [file.name for file in collected.files] == files
    assert len(collected.warnings) == len(warnings)
    assert all(map(str.startswith, collected.warnings, warnings))


def test_files_of_one_name_are_all_kept_without_their_folders(tmp_path):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "junit.xml").write_text(FAILS.format(name=folder, message=""))

    collected = collect_reports([ReportGroup("unit", ("**/junit.xml",), discard_paths=True)], tmp_path)

    assert [file.name for file in collected.files] == [
        "unit/junit.xml",
        "unit/2-junit.xml",
        "unit/3-junit.xml",
    ]


@pytest.mark.parametrize("before", [0, 250, 980, 995])
def test_secrets_are_masked_wherever_they_stand(tmp_path, before):
    secret = "hunter2-" + "x" * 40
    (tmp_path / "a.xml").write_text(FAILS.format(name=f"t[{secret}]", message="m" * before + secret))

    collected = collect_reports(
        [ReportGroup("unit", ("a.xml",))], tmp_path, mask=lambda text: text.replace(secret, "***")
    )

    shown = repr(collected.reports) + collected.one_line
    assert "hunter2" not in shown
    assert collected.one_line == "0 passed, 1 failed: t[***]"


def test_too_many_files_are_warned_of_and_do_not_take_forever(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "MAX_FILES", 3)
    for number in range(5):
        (tmp_path / f"{number}.xml").write_text("<testsuite><testcase name='t'/></testsuite>")

    collected = collect_reports([ReportGroup("unit", ("*.xml",))], tmp_path)

    assert collected.one_line == "3 passed"
    assert collected.warnings == (
        "report group 'unit': only 3 of its 5 files were read; more would take too long",
    )


def test_the_largest_files_are_not_kept_where_all_are_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "MAX_KEPT_BYTES", 2000)
    for name, size in (("a", 100), ("b", 3000), ("c", 900)):
        (tmp_path / f"{name}.xml").write_text(FAILS.format(name=name, message="m" * size))

    collected = collect_reports([ReportGroup("unit", ("*.xml",))], tmp_path)

    assert collected.one_line == "0 passed, 3 failed: a, b, c"
    assert [file.name for file in collected.files] == ["unit/a.xml", "unit/c.xml"]
    assert "unit/b.xml is not stored" in collected.warnings[0]


def test_warnings_are_bounded(tmp_path):
    for number in range(200):
        (tmp_path / f"{number}.xml").write_text("no")

    warnings = collect_reports([ReportGroup("unit", ("*.xml",))], tmp_path).warnings

    assert len(warnings) == 51
    assert warnings[-1] == "reports: 150 more warnings like these"


def test_reports_are_collected_without_prefect():
    code = "import sys, prefect_codepipeline.actions.codebuild.reports.collecting; print('prefect' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_reports_are_tables_in_prefect_linked_to_the_task_run(prefect_server, source):
    collected = collect_reports(
        [
            ReportGroup("Unit Tests", ("out/TEST-a.xml",)),
            ReportGroup("cov", ("out/coverage.xml",), file_format="COBERTURAXML"),
        ],
        source,
    )
    pipeline = f"Shop.{uuid4().hex[:6]}"

    @task
    def act():
        return publish_reports(collected, pipeline, "Build")

    @flow
    def release():
        return act()

    ids = release()

    _, tests = call("GET", f"/artifacts/{ids[0]}")
    _, coverage = call("GET", f"/artifacts/{ids[1]}")
    _, run = call("GET", f"/task_runs/{tests['task_run_id']}")
    assert run["name"].startswith("act")
    assert tests["flow_run_id"] == run["flow_run_id"]
    assert (tests["type"], tests["key"]) == (
        "table",
        artifact_key(pipeline, "Build", "Unit Tests"),
    )
    assert tests["description"] == (
        "**Unit Tests** of action Build: 2 passed, 1 skipped, 2 failed: test_rebate, test_saved"
    )
    assert [row["row"] for row in json.loads(tests["data"])][:3] == ["total", "failed", "failed"]
    assert json.loads(coverage["data"])[0]["lines"] == "75.0 %"


def test_without_a_server_there_is_a_warning_and_no_error(source, monkeypatch, caplog):
    monkeypatch.setattr("prefect_codepipeline.prefect_api.client.AWAY_SECONDS", 0.0)
    collected = collect_reports([ReportGroup("unit", ("out/TEST-a.xml",))], source)

    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert publish_reports(collected, "shop", "Build") == []

    assert "the report 'unit' could not be published in Prefect's UI" in caplog.text


def test_files_are_kept_in_a_folder_under_a_clear_path(source, tmp_path):
    store = ArtifactStore(url=str(tmp_path / "store"))
    collected = collect_reports([ReportGroup("unit", ("out/TEST-a.xml", "out/inner-link.xml"))], source)

    place = keep_report_files(store, collected, "shop", "e1", "Test stage", "..")

    assert place == f"{tmp_path}/store/reports/shop/e1/Test-stage/-"
    kept = Path(place) / "unit/out"
    assert sorted(file.name for file in kept.iterdir()) == ["TEST-a.xml", "inner-link.xml"]
    assert not (kept / "inner-link.xml").is_symlink()
    assert (kept / "TEST-a.xml").read_bytes() == (REPORTS / "pytest.xml").read_bytes()
    assert keep_report_files(store, collected, "shop", "e1", "Test stage", "..") == place


def test_files_are_kept_in_s3_under_a_clear_path(source, monkeypatch):
    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"endpoint_url": f"http://{host}:{port}", "key": "testing", "secret": "testing"}
        client = boto3.client(
            "s3", region_name="us-east-1", endpoint_url=options["endpoint_url"],
            aws_access_key_id="testing", aws_secret_access_key="testing",
        )  # fmt: skip
        client.create_bucket(Bucket="kept")
        store = ArtifactStore(url="s3://kept/some", storage_options=options)
        collected = collect_reports([ReportGroup("unit", ("out/TEST-a.xml",))], source)

        assert keep_report_files(store, collected, "shop", "e1") == "s3://kept/some/reports/shop/e1"

        found = client.get_object(Bucket="kept", Key="some/reports/shop/e1/unit/out/TEST-a.xml")
        assert found["Body"].read() == (REPORTS / "pytest.xml").read_bytes()
    finally:
        server.stop()


def test_a_store_that_cannot_be_written_is_a_failure_with_its_reason(source, tmp_path):
    (tmp_path / "file").touch()
    collected = collect_reports([ReportGroup("unit", ("out/TEST-a.xml",))], source)

    with pytest.raises(ActionFailed, match="storing the report files failed at"):
        keep_report_files(ArtifactStore(url=str(tmp_path / "file/store")), collected, "shop")


def test_no_files_are_no_folder(tmp_path):
    store = ArtifactStore(url=str(tmp_path / "store"))

    assert keep_report_files(store, collect_reports([], tmp_path), "shop") is None
