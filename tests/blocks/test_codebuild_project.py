"""CodeBuildProject: the limits it makes of names, the block of a project, and what it refuses."""

from __future__ import annotations

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import ValidationError

from prefect_codepipeline.actions.codebuild.project.finding import find_project
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.names import project_block_names, slug
from prefect_codepipeline.prefect_api.client import call


class TestCodeBuildProject(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return CodeBuildProject

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        pytest.skip("the block has no picture of its own; Prefect shows its default")


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (None, None)),
        ({"compute_type": "BUILD_GENERAL1_SMALL"}, (2, 4096)),
        ({"compute_type": "BUILD_GENERAL1_2XLARGE"}, (72, 147456)),
        ({"compute_type": "BUILD_LAMBDA_1GB", "cpus": 0.5}, (0.5, 1024)),
        ({"compute_type": "BUILD_GENERAL1_LARGE", "memory_mib": 512}, (8, 512)),
    ],
)
def test_a_compute_type_bounds_what_is_not_bounded_by_itself(fields, size):
    assert CodeBuildProject(**fields).size == size


@pytest.mark.parametrize(
    ("runtime", "version", "image"),
    [
        ("nodejs", "18", "node:18"),
        ("nodejs", "18.x", "node:18"),
        ("nodejs", "20", "node:latest"),
        ("python", "3.12", "python:3.12-slim"),
        ("python", "3.x", None),
        ("java", "corretto17", None),
    ],
)
def test_the_most_exact_image_of_a_runtime_is_taken(runtime, version, image):
    images = {"nodejs:18": "node:18", "nodejs": "node:latest", "python:3.12": "python:3.12-slim"}

    assert CodeBuildProject(runtime_images=images).image_for(runtime, version) == image


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"where": "host", "privileged": True}, "privileged: only for a container, but where is 'host'"),
        ({"where": "aws", "docker_socket": True}, "docker_socket: only for a container, but where is 'aws'"),
        ({"compute_type": "BUILD_GENERAL1_HUGE"}, "Input should be 'BUILD_GENERAL1_SMALL'"),
        ({"timeout_in_minutes": 0}, "greater than or equal to 1"),
        ({"timeout_in_minutes": 2161}, "less than or equal to 2160"),
        ({"cache": "local", "cache_location": "cache"}, "'cache' is not an absolute path"),
        ({"cache_location": "/cache"}, "cache_location requires cache='local'"),
        ({"aws_location": "bucket/x"}, "write s3://bucket"),
        ({"aws_role_arn": "Deployer"}, "is not the ARN of a role"),
        ({"environment_variables": [{"name": "1A", "value": ""}]}, "match pattern"),
        ({"environment_variables": [{"name": "CODEBUILD_X", "value": ""}]}, "are reserved"),
        ({"environment_variables": [{"name": "A", "value": "1"}] * 2}, "A: declared more than once"),
    ],
)
def test_refuses_what_cannot_be(fields, message):
    with pytest.raises(ValidationError) as refused:
        CodeBuildProject(**fields)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("project", "names"),
    [
        ("My_App", (slug("My_App"), "my-app", "default")),
        ("shop", (slug("shop"), "shop", "default")),
        ("__", (slug("__"), "default")),
    ],
)
def test_a_project_may_have_several_blocks_best_first(project, names):
    assert project_block_names(project) == names


@pytest.mark.live
def test_the_block_of_a_project_is_found_by_its_name(prefect_server):
    assert find_project("Nobody_s") is None

    CodeBuildProject(image="python:3.13").save("my-app", overwrite=True)
    CodeBuildProject(image="python:3.12").save(slug("My.App"), overwrite=True)
    CodeBuildProject(image="alpine:3").save("default", overwrite=True)

    try:
        assert [find_project(name).image for name in ("My_App", "My.App", "Nobody_s")] == [
            "python:3.13",
            "python:3.12",
            "alpine:3",
        ]
    finally:
        for name in ("default", "my-app", slug("My.App")):
            CodeBuildProject.delete(name)


@pytest.mark.live
def test_a_block_that_cannot_be_used_says_why(prefect_server):
    saved = CodeBuildProject().save("broken", overwrite=True)
    call("PATCH", f"/block_documents/{saved}", {"data": {"timeout_in_minutes": 0}})

    with pytest.raises(
        ActionFailed,
        match=r"^CodeBuildProject block 'broken' cannot be used: timeout_in_minutes: .*; correct it in Prefect's UI$",
    ):
        find_project("Broken")
