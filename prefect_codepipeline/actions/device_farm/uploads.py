"""Files that Device Farm gets: sent to a URL that it gives, and processed before a run can use them.

https://docs.aws.amazon.com/devicefarm/latest/APIReference/API_CreateUpload.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from prefect_codepipeline.actions.artifacts.input_files import find_file
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.remote_work import Following, Look, Work, bearing_silence, follow
from prefect_codepipeline.actions.device_farm.runs import REGION, Farm
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

_CHUNK = 1 << 20
_SECONDS = 60.0
_TYPE = "application/octet-stream"


def uploaded(farm: Farm, step: str, path: str, key: str, kind: str) -> str:
    """The ARN of a file of the input artifact in Device Farm, when it is processed there.

    Args:
        farm: of the action.
        step: names the file among all that the action keeps.
        path: of the file in the input artifact.
        key: the configuration key that has the path, for messages.
        kind: Device Farm's type of the upload.

    Raises:
        WorkGoesOn: it is not processed yet.
        ActionFailed: there is no such file, or Device Farm does not accept it.
    """
    processed = f"{step}-processed"
    if processed in farm.kept:
        return farm.kept[step]
    if step not in farm.kept:
        with bearing_silence(farm.context, f"the upload of {path!r}"):
            farm.context.check()  # nothing is uploaded in an action that must end
            farm.keep(step, _send(farm, find_file(farm.context.input_artifacts[0], path, key), kind))
    arn = farm.kept[step]
    follow(_processing(farm, arn, path), farm.context)
    farm.keep(processed, "yes")
    return arn


def _send(farm: Farm, file: Path, kind: str) -> str:
    what = f"uploading {file.name!r} to Device Farm in region {REGION}"
    with translated(what):
        upload = farm.device_farm.create_upload(
            projectArn=farm.find_project(), name=file.name, type=kind, contentType=_TYPE
        )["upload"]
    headers = {"Content-Type": _TYPE, "Content-Length": str(file.stat().st_size)}
    # With the URL anybody may upload: httpx would log it, and it is in no message.
    request = Request(upload["url"], _chunks(file, farm.context), headers, method="PUT")
    try:
        with urlopen(request, timeout=_SECONDS) as answer:
            is_page = answer.headers.get_content_type() == "text/html"
    except HTTPError as error:
        code = "SystemUnavailable" if error.code >= 500 else "JobFailed"
        raise ActionFailed(f"{what}: the upload was answered with {error.code}", code=code) from None
    except OSError as error:
        raise ActionFailed(f"{what}: the upload broke: {error}", code="SystemUnavailable") from None
    if is_page:
        raise wrong_configuration(
            f"{what}: the upload was answered with a web page; check the proxy of the worker"
        )
    return str(upload["arn"])


def _chunks(file: Path, context: ActionContext) -> Iterator[bytes]:
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            context.check()
            yield chunk


def _processing(farm: Farm, arn: str, path: str) -> Following:
    what = f"the processing of {path!r} in Device Farm"

    def look() -> Look:
        with translated(f"reading the state of {what} in region {REGION}"):
            upload = farm.device_farm.get_upload(arn=arn)["upload"]
        if upload["status"] == "FAILED":
            reason = upload.get("message") or upload.get("metadata") or "it gives no reason"
            raise ActionFailed(f"Device Farm does not accept {path!r}: {reason}", code="ConfigurationError")
        return Look(upload["status"] == "SUCCEEDED", f"{what}: {upload['status']}")

    return Following(what, Work(arn), look, lambda: "no run was started in Device Farm")
