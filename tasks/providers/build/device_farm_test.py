"""Test/AWS/DeviceFarm/1: test an application on real devices in AWS Device Farm.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-DeviceFarm.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.remote_work import (
    Following,
    Look,
    Work,
    bearing_silence,
    failed,
    follow,
    started,
)
from prefect_codepipeline.actions.device_farm.results import cause_of, counts_of, files_of, rows_of
from prefect_codepipeline.actions.device_farm.runs import REGION, Farm, run_page
from prefect_codepipeline.actions.device_farm.uploads import uploaded
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    action_provider,
)
from prefect_codepipeline.errors import wrong_configuration
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.artifacts import publish_table
from prefect_codepipeline.prefect_api.runs import ids_of_task_run

_STEP = "run"
_APP_UPLOADS = {"Android": "ANDROID_APP", "iOS": "IOS_APP"}
_GOOD = ("PASSED", "WARNED")


class DeviceFarmConfiguration(ActionConfiguration):
    """The configuration of an action."""

    app_type: Literal["iOS", "Android", "Web"]
    project_id: str = Field(min_length=1)
    app: str
    appium_version: str
    device_pool_arn: str
    test_type: Literal[
        "APPIUM_JAVA_JUNIT", "APPIUM_JAVA_TESTNG", "APPIUM_PYTHON", "APPIUM_WEB_JAVA_JUNIT",
        "APPIUM_WEB_JAVA_TESTNG", "APPIUM_WEB_PYTHON", "BUILTIN_EXPLORER", "BUILTIN_FUZZ", "CALABASH",
        "INSTRUMENTATION", "UIAUTOMATION", "UIAUTOMATOR", "XCTEST", "XCTEST_UI",
    ]  # fmt: skip
    radio_bluetooth_enabled: bool | None = None
    record_app_performance_data: bool | None = None
    record_video: bool | None = None
    radio_wifi_enabled: bool | None = None
    radio_nfc_enabled: bool | None = None
    radio_gps_enabled: bool | None = None
    test: str | None = None
    fuzz_event_count: int | None = Field(None, ge=1, le=10_000)
    fuzz_event_throttle: int | None = Field(None, ge=1, le=1000)
    fuzz_randomizer_seed: int | None = None
    custom_host_machine_artifacts: str | None = None
    custom_device_artifacts: str | None = None
    unmetered_devices_only: bool | None = None
    job_timeout_minutes: int | None = None
    latitude: float | None = None
    longitude: float | None = None


@action_provider(category="Test", provider="DeviceFarm", inputs=(1, 1), outputs=(0, 0), restartable=True)
def run_on_devices(configuration: DeviceFarmConfiguration, context: ActionContext) -> ActionResult:
    """Upload the application and its tests, run them on the device pool, and follow the run to its end."""
    farm = Farm(client_of(context, "devicefarm", REGION), configuration.project_id, context)
    work = _run(configuration, farm)
    run = _follow(farm, work)
    jobs = farm.jobs_of(work.id)
    said = f"run {context.action_execution_id!r} of project {configuration.project_id!r} {counts_of(run)}"
    if rows := rows_of(jobs):
        _show(rows, said, context)
    context.logger.info("The files of the run: %s; see %s", files_of(farm, work.id), work.url)
    if run.get("result") not in _GOOD:
        reason = cause_of(farm, run, jobs)
        raise failed(f"{said}, and ended with {run.get('result')}{reason}", work)
    return ActionResult(
        summary=f"{said}: {run['result']}",
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _run(configuration: DeviceFarmConfiguration, farm: Farm) -> Work:
    """The run, started once; its files are uploaded and processed before."""
    context = farm.context
    asked: dict[str, Any] = {}
    if _STEP not in farm.kept:
        _check(configuration, farm)
        with bearing_silence(context, f"project {farm.project_id!r}"):
            farm.find_project()
        asked = _asked(configuration, farm)
    return started(context, _STEP, lambda: farm.schedule(asked), farm.find_run)


def _asked(configuration: DeviceFarmConfiguration, farm: Farm) -> dict[str, Any]:
    """The arguments of ScheduleRun, after the uploads."""
    test: dict[str, Any] = {"type": configuration.test_type, "parameters": _parameters(configuration)}
    asked: dict[str, Any] = {"devicePoolArn": configuration.device_pool_arn, "test": test}
    if kind := _APP_UPLOADS.get(configuration.app_type):
        asked["appArn"] = uploaded(farm, "app", configuration.app, "App", kind)
    if configuration.test:
        kind = f"{configuration.test_type}_TEST_PACKAGE"
        test["testPackageArn"] = uploaded(farm, "test", configuration.test, "Test", kind)
    return {
        **asked,
        "configuration": _of_devices(configuration),
        "executionConfiguration": _limits(configuration),
    }


def _check(configuration: DeviceFarmConfiguration, farm: Farm) -> None:
    kind, region = configuration.test_type, farm.context.action.region
    offered = farm.device_farm.meta.service_model.shape_for("TestType").enum
    if kind not in offered:
        raise wrong_configuration(f"TestType {kind} has ended in Device Farm; it offers {', '.join(offered)}")
    if not configuration.test and not kind.startswith("BUILTIN_"):
        raise wrong_configuration(
            f"TestType {kind} needs in Test the path of the tests in the input artifact"
        )
    if (configuration.latitude is None) != (configuration.longitude is None):
        raise wrong_configuration("Latitude and Longitude belong together; set both or none")
    if region and region != REGION and not farm.kept:
        farm.context.logger.warning(
            "Device Farm is only in region %s: region %s of the action is not used", REGION, region
        )


def _parameters(configuration: DeviceFarmConfiguration) -> dict[str, str]:
    given = {
        "event_count": configuration.fuzz_event_count,
        "throttle": configuration.fuzz_event_throttle,
        "seed": configuration.fuzz_randomizer_seed,
        "app_performance_monitoring": configuration.record_app_performance_data,
    }
    return {name: str(value).lower() for name, value in given.items() if value is not None}


def _of_devices(configuration: DeviceFarmConfiguration) -> dict[str, Any]:
    """The state of the devices during the run."""
    radios = {
        "wifi": configuration.radio_wifi_enabled,
        "bluetooth": configuration.radio_bluetooth_enabled,
        "nfc": configuration.radio_nfc_enabled,
        "gps": configuration.radio_gps_enabled,
    }
    on_device = "iosPaths" if configuration.app_type == "iOS" else "androidPaths"
    paths = {
        "deviceHostPaths": configuration.custom_host_machine_artifacts,
        on_device: configuration.custom_device_artifacts,
    }
    asked: dict[str, Any] = {
        "radios": {name: value for name, value in radios.items() if value is not None},
        "customerArtifactPaths": {name: [path] for name, path in paths.items() if path},
    }
    if configuration.latitude is not None:
        asked["location"] = {"latitude": configuration.latitude, "longitude": configuration.longitude}
    if configuration.unmetered_devices_only is not None:
        asked["billingMethod"] = "UNMETERED" if configuration.unmetered_devices_only else "METERED"
    return {name: value for name, value in asked.items() if value}


def _limits(configuration: DeviceFarmConfiguration) -> dict[str, Any]:
    given = {
        "jobTimeoutMinutes": configuration.job_timeout_minutes,
        "videoCapture": configuration.record_video,
    }
    return {name: value for name, value in given.items() if value is not None}


def _follow(farm: Farm, work: Work) -> Mapping[str, Any]:
    """The run when it has ended."""
    run: dict[str, Any] = {}
    what = f"run {farm.context.action_execution_id!r} of Device Farm"

    def look() -> Look:
        with translated(f"reading the state of {what} in region {REGION}"):
            run.clear()
            run.update(farm.device_farm.get_run(arn=work.id)["run"])
        done, all_jobs = run.get("completedJobs") or 0, run.get("totalJobs") or 0
        summary = f"{run['status']}: {done} of {all_jobs} devices, {counts_of(run)}"
        return Look(run["status"] == "COMPLETED", summary, 100 * done // all_jobs if all_jobs else None)

    def stop() -> str:
        with translated(f"stopping {what}"):
            farm.device_farm.stop_run(arn=work.id)
        return "the run in Device Farm was stopped"

    follow(Following(what, Work(work.id, work.url or run_page(work.id)), look, stop), farm.context)
    return run


def _show(rows: list[dict[str, str]], said: str, context: ActionContext) -> None:
    """Show the result of each device in Prefect's UI."""
    for row in rows:
        context.logger.info("%s", " ".join(filter(None, row.values())))
    if ids_of_task_run():
        key = f"devices-{slug(context.pipeline_name, context.action.name)}"
        publish_table(key, "results of the devices", said, rows)
