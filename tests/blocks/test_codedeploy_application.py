"""CodeDeployApplication: the block of an application, its groups, and that no key is in it."""

from __future__ import annotations

import pytest
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from prefect_codepipeline.actions.deploying.finding import find_application, find_group
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host, SshAccess
from prefect_codepipeline.model.names import application_block_names, slug
from prefect_codepipeline.prefect_api.block_documents import delete_block, find_document

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nplanted\n"


class TestCodeDeployApplication(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return CodeDeployApplication

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        pytest.skip("the block has no picture of its own; Prefect shows its default")


def group(name: str = "web", **fields: object) -> DeploymentGroup:
    return DeploymentGroup.model_validate({"name": name, "where": "local", **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"deployment_groups": [group(), group()]}, "web: declared more than once"),
        (
            {"deployment_groups": [group(ssh={"private_key": KEY})]},
            "web: Prefect does not hide secrets inside a list",
        ),
        (
            {"deployment_groups": [group(ssh={"passphrase": "x"})]},
            "web: Prefect does not hide secrets inside a list",
        ),
        ({"aws_location": "bucket/x"}, "write s3://bucket"),
    ],
)
def test_refuses_what_cannot_be(fields, message):
    with pytest.raises(ValidationError) as refused:
        CodeDeployApplication(**fields)
    assert message in str(refused.value)
    assert "planted" not in str(refused.value)


def test_no_form_asks_for_a_key_that_prefect_would_show():
    shown = CodeDeployApplication.model_json_schema()["definitions"]["SshAccess"]["properties"]

    assert {"private_key_secret", "private_key_path", "passphrase_secret"} <= set(shown)
    assert not {"private_key", "passphrase"} & set(shown)


@pytest.mark.parametrize(
    ("application", "names"),
    [("My_App", (slug("My_App"), "my-app")), ("default", (slug("default"),)), ("__", (slug("__"),))],
)
def test_no_block_stands_for_all_applications(application, names):
    assert application_block_names(application) == names


@pytest.mark.live
def test_an_application_is_found_by_its_name_and_a_group_in_it(prefect_server):
    blocks = {
        "my-app": CodeDeployApplication(deployment_groups=[group("readable")]),
        slug("My.App"): CodeDeployApplication(deployment_groups=[group("slug")]),
        "default": CodeDeployApplication(deployment_groups=[group("any")]),
        "said": CodeDeployApplication(application_name="My App", deployment_groups=[group("said")]),
        "other": CodeDeployApplication(application_name="Not other", deployment_groups=[group("not-other")]),
    }
    try:
        for name, block in blocks.items():
            block.save(name, overwrite=True)

        found = [find_application(name) for name in ("My_App", "My.App", "My App", "Not other")]
        assert [block and block.deployment_groups[0].name for block in found] == [
            "readable",
            "slug",
            "said",
            "not-other",
        ]
        assert [find_application(name) for name in ("Nobody_s", "default", "other")] == [None] * 3
        assert find_group("My_App", "slug") is None

        blocks["said"].save("said-too", overwrite=True)
        with pytest.raises(ActionFailed, match="'said', 'said-too' all have the application_name 'My App'"):
            find_application("My App")
    finally:
        for name in (*blocks, "said-too"):
            delete_block(CodeDeployApplication, name)


@pytest.mark.live
def test_the_key_is_read_from_its_secret_block_and_is_nowhere_else(prefect_server):
    ssh = SshAccess(private_key_secret="web-key", passphrase_secret="web-words")
    web = DeploymentGroup(name="web", hosts=[Host(name="web-1", address="10.0.0.1")], ssh=ssh)
    try:
        CodeDeployApplication(deployment_groups=[web]).save("keyed")
        with pytest.raises(
            ActionFailed, match=r"group 'web' .*no Secret block 'web-key'; .*secret add web-key"
        ):
            find_group("keyed", "web")

        Secret(value=SecretStr(KEY)).save("web-key")
        Secret(value=SecretStr("planted words")).save("web-words")
        found = find_group("keyed", "web")

        secrets = [found.ssh.private_key, found.ssh.passphrase] if found else []
        assert [each and each.get_secret_value() for each in secrets] == [KEY, "planted words"]
        assert "planted" not in repr(found)
        assert "planted" not in str(find_document(CodeDeployApplication, "keyed"))
    finally:
        for kind, name in ((CodeDeployApplication, "keyed"), (Secret, "web-key"), (Secret, "web-words")):
            delete_block(kind, name)
