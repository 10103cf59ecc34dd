"""Does the jobs of a custom action type: `python worker.py Build Acme 1`. It needs nothing but boto3."""

import io
import sys
import time
import zipfile

import boto3
from botocore.config import Config

# Results are not lost while the gateway is started again.
patient = Config(retries={"total_max_attempts": 30, "mode": "standard"})
pipelines = boto3.client("codepipeline", config=patient)
kind = dict(zip(("category", "provider", "version"), sys.argv[1:], strict=True), owner="Custom")


def place(artifact):
    location = artifact["location"]["s3Location"]
    return {"Bucket": location["bucketName"], "Key": location["objectKey"]}


def run(data):
    """The work: every output gets the files of all inputs, and a file with the configuration."""
    keys = data["artifactCredentials"]
    session = boto3.Session(keys["accessKeyId"], keys["secretAccessKey"], keys["sessionToken"])
    s3, files = session.client("s3"), {"configuration.txt": str(data["actionConfiguration"]["configuration"])}
    for artifact in data["inputArtifacts"]:
        body = s3.get_object(**place(artifact))["Body"].read()
        archive = zipfile.ZipFile(io.BytesIO(body))
        files.update({name: archive.read(name) for name in archive.namelist()})
    for artifact in data["outputArtifacts"]:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        s3.put_object(**place(artifact), Body=packed.getvalue())


def answer(job):
    try:
        run(job["data"])
    except Exception as error:
        why = {"type": "JobFailed", "message": f"{type(error).__name__}: {error}"}
        pipelines.put_job_failure_result(jobId=job["id"], failureDetails=why)
    else:
        # Only of a source: what it has fetched.
        revision = {"revision": job["id"], "changeIdentifier": job["id"]}
        pipelines.put_job_success_result(jobId=job["id"], currentRevision=revision)


while True:
    for job in pipelines.poll_for_jobs(actionTypeId=kind)["jobs"]:
        try:
            pipelines.acknowledge_job(jobId=job["id"], nonce=job["nonce"])
            answer(job)
        except pipelines.exceptions.InvalidNonceException:
            continue  # another worker has the job
        except pipelines.exceptions.InvalidJobStateException:
            continue  # its execution was stopped meanwhile
    time.sleep(1)
