"""What becomes of a stack, against written answers: each end, throttling, silence, restarts and stops."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_environment import use_endpoint
from aws_server import AwsServer, DroppedError, RefusalError, in_turn
from provider_calls import call_to_its_end

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier, get_provider
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, ActionTypeId

KIND = ActionTypeId(category="Deploy", owner="AWS", provider="CloudFormation", version="1")
PROVIDER = get_provider(KIND)
ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/0f1e"
SET_ID = "arn:aws:cloudformation:eu-west-1:123456789012:changeSet/next/77aa"
NOW = datetime(2026, 1, 28, tzinfo=timezone.utc)
TOKEN = "a1"
ROLE = "arn:aws:iam::123456789012:role/cloudformation"
MISSING = RefusalError("ValidationError", "Stack with id shop does not exist")
NO_CHANGES = (
    "The submitted information didn't contain changes. Submit different information to create a change set."
)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_work, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 0)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    server = AwsServer()
    use_endpoint(monkeypatch, server.url, "eu-west-1")
    server.answers |= {
        "DescribeStacks": in_turn([MISSING, stack("CREATE_COMPLETE")]),
        "CreateStack": lambda _: {"StackId": ID},
        "UpdateStack": lambda _: {"StackId": ID},
        "DeleteStack": lambda _: {},
        "DescribeStackEvents": in_turn([events(own("CREATE_IN_PROGRESS"), own("CREATE_COMPLETE"))]),
    }
    yield server
    server.stop()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., ActionResult]:
    (tmp_path / "App").mkdir()
    (tmp_path / "App" / "t.json").write_text('{"Resources": {"Queue": {}, "Database": {}, "Role": {}}}')

    def run(mode: str = "CREATE_UPDATE", context: ActionContext | None = None, **fields: Any) -> ActionResult:
        configuration = {
            "ActionMode": mode,
            "StackName": "shop",
            "TemplatePath": "App::t.json",
            "RoleArn": ROLE,
        }
        if mode.startswith("CHANGE_SET"):
            configuration["ChangeSetName"] = "next"
        context = context or make_context(tmp_path, **fields)
        return call_to_its_end(PROVIDER.run, PROVIDER.configuration.model_validate(configuration), context)

    return run


def make_context(tmp_path: Path, seconds: float = 30, **fields: Any) -> ActionContext:
    return ActionContext(
        pipeline_name="release",
        pipeline_execution_id="e1",
        stage_name="Prod",
        action=ActionDeclaration.model_validate({"name": "Deploy", "actionTypeId": KIND.model_dump()}),
        action_execution_id=TOKEN,
        scratch=tmp_path,
        deadline=time.monotonic() + seconds,
        input_artifacts=(InputTree("App", tmp_path / "App"),),
        logger=logging.getLogger("cloudformation"),
        **fields,
    )


def stack(status: str, **more: Any) -> dict[str, Any]:
    found = {"StackId": ID, "StackName": "shop", "CreationTime": NOW, "StackStatus": status, **more}
    return {"Stacks": [found]}


def event(
    resource: str, status: str, reason: str = "", token: str | None = TOKEN, **more: Any
) -> dict[str, Any]:
    found = {
        "StackId": ID,
        "StackName": "shop",
        "EventId": f"{resource}-{status}-{token}",
        "Timestamp": NOW,
        "LogicalResourceId": resource,
        "PhysicalResourceId": f"{resource}-1",
        "ResourceType": f"AWS::X::{resource}",
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
        "ClientRequestToken": token,
        **more,
    }
    return {key: value for key, value in found.items() if value}


def own(status: str, reason: str = "", token: str | None = TOKEN) -> dict[str, Any]:
    """An event about the stack itself."""
    kind = "AWS::CloudFormation::Stack"
    return event("shop", status, reason, token, PhysicalResourceId=ID, ResourceType=kind)


def events(*oldest_first: dict[str, Any]) -> dict[str, Any]:
    return {"StackEvents": list(reversed(oldest_first))}


def started_before(minutes: float = 1, **state: str) -> Earlier:
    return Earlier(
        datetime.now(timezone.utc) - timedelta(minutes=minutes), ID if state else None, None, state
    )


def test_the_progress_counts_resources_and_names_the_one_under_way(aws, run):
    seen = [own("CREATE_IN_PROGRESS"), event("Queue", "CREATE_IN_PROGRESS")]
    more = [*seen, event("Queue", "CREATE_COMPLETE"), event("Database", "CREATE_IN_PROGRESS")]
    all_ = [
        *more,
        event("Database", "CREATE_COMPLETE"),
        event("Role", "CREATE_COMPLETE"),
        own("CREATE_COMPLETE"),
    ]
    aws.answers["DescribeStackEvents"] = in_turn([events(*seen), events(*more), events(*all_)])
    aws.answers["DescribeStacks"] = in_turn(
        [MISSING, stack("CREATE_COMPLETE", Outputs=[{"OutputKey": "Url", "OutputValue": "https://shop"}])]
    )
    told: list[tuple[str, int | None]] = []

    result = run(report_progress=lambda **given: told.append((given["summary"], given["percent"])))

    assert told == [
        ("0 of 3 resources, Queue CREATE_IN_PROGRESS", 0),
        ("1 of 3 resources, Database CREATE_IN_PROGRESS", 33),
        ("3 of 3 resources", 100),
    ]
    assert result.output_variables == {"Url": "https://shop"}
    assert len(aws.requests) == 1 + 1 + len(told) + 1  # look up, create, one request a look, outputs
    (asked,) = aws.asked("CreateStack")
    assert (asked["ClientRequestToken"], asked["RoleARN"]) == (TOKEN, ROLE)


def test_a_stack_that_needs_no_update_is_up_to_date(aws, run):
    aws.answers["DescribeStacks"] = in_turn([stack("UPDATE_COMPLETE")])
    aws.answers["UpdateStack"] = in_turn([RefusalError("ValidationError", "No updates are to be performed.")])

    assert run().summary == "stack 'shop' in eu-west-1 is up to date: nothing has changed"


@pytest.mark.parametrize(
    "status", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED", "DELETE_COMPLETE"]
)
def test_any_other_end_is_a_failure_that_names_the_first_resource(aws, run, status):
    aws.answers["DescribeStackEvents"] = in_turn(
        [
            events(
                event("Table", "CREATE_FAILED", "of somebody else", token="other"),
                own("CREATE_IN_PROGRESS"),
                event("Queue", "CREATE_FAILED", "Resource creation cancelled"),
                event("Database", "CREATE_FAILED", "The subnet has no room"),
                event("Role", "CREATE_FAILED", "later"),
                own(status, "The following resource(s) failed to create: [Database]."),
            )
        ]
    )

    with pytest.raises(ActionFailed) as failed:
        run()

    why = "Database (AWS::X::Database) CREATE_FAILED: The subnet has no room"
    if status == "DELETE_COMPLETE":
        why = "it was deleted in the meantime, not by this action"
    assert str(failed.value) == f"stack 'shop' in eu-west-1 ended as {status}: {why}"
    assert (failed.value.code, failed.value.external_execution_id) == ("JobFailed", ID)
    assert "stackId=arn%3Aaws%3A" in failed.value.external_execution_url


def test_an_update_that_was_rolled_back_says_which_resource_of_a_nested_stack_failed(aws, run):
    nested = ID.replace("shop/0f1e", "inner/9")
    aws.answers["DescribeStacks"] = in_turn([stack("CREATE_COMPLETE")])

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["StackName"] == nested:
            return events(event("Bucket", "CREATE_FAILED", "shop-bucket already exists"))
        kind = {"ResourceType": "AWS::CloudFormation::Stack", "PhysicalResourceId": nested}
        return events(
            own("UPDATE_IN_PROGRESS"),
            event("Inner", "CREATE_FAILED", "Embedded stack was not created", **kind),
            own("UPDATE_ROLLBACK_IN_PROGRESS"),
            own("UPDATE_ROLLBACK_COMPLETE"),
        )

    aws.answers["DescribeStackEvents"] = answer

    with pytest.raises(
        ActionFailed, match=r"UPDATE_ROLLBACK_COMPLETE: Inner / Bucket .*shop-bucket already exists"
    ):
        run()


def test_a_stack_in_which_another_update_is_under_way_is_not_followed(aws, run):
    aws.answers["DescribeStacks"] = in_turn([stack("UPDATE_IN_PROGRESS")])
    busy = f"Stack:{ID} is in UPDATE_IN_PROGRESS state and can not be updated."
    aws.answers["UpdateStack"] = in_turn([RefusalError("ValidationError", busy)])
    aws.answers["DescribeStackEvents"] = in_turn([events(own("UPDATE_IN_PROGRESS", token="somebody"))])

    with pytest.raises(ActionFailed, match=r"updating stack 'shop' in eu-west-1: .*can not be updated"):
        run()
    assert not aws.asked("CancelUpdateStack")


@pytest.mark.parametrize(
    "said",
    [
        "Template format error: unsupported structure.",
        "Parameters: [Name] must have values",
        "Stack:shop is in DELETE_IN_PROGRESS state and can not be updated.",
    ],
)
def test_what_cloudformation_says_of_the_input_is_the_message(aws, run, said):
    aws.answers["DescribeStacks"] = in_turn([MISSING])
    aws.answers["CreateStack"] = in_turn([RefusalError("ValidationError", said)])
    aws.answers["DescribeStackEvents"] = in_turn([MISSING])

    message = (
        rf"creating stack 'shop' in eu-west-1: AWS refused: .*CreateStack operation.*: {re.escape(said)}$"
    )
    with pytest.raises(ActionFailed, match=message) as failed:
        run()
    assert failed.value.code == "ConfigurationError"


def test_events_of_an_update_that_began_later_do_not_count(aws, run):
    aws.answers["DescribeStackEvents"] = in_turn(
        [
            events(
                own("CREATE_IN_PROGRESS"),
                own("CREATE_COMPLETE"),
                own("UPDATE_IN_PROGRESS", token="other"),
                event("Queue", "UPDATE_FAILED", "theirs", token="other"),
                own("UPDATE_ROLLBACK_COMPLETE", token="other"),
            )
        ]
    )

    assert run().summary == "deployed stack 'shop' in eu-west-1"


def test_throttling_errors_and_dropped_connections_are_borne(aws, run, caplog):
    good = events(own("CREATE_IN_PROGRESS"), own("CREATE_COMPLETE"))
    aws.answers["DescribeStackEvents"] = in_turn(
        [
            RefusalError("Throttling", "Rate exceeded"),
            RefusalError("InternalFailure", "try later", 503),
            DroppedError(),
            good,
        ]
    )

    assert run().summary == "deployed stack 'shop' in eu-west-1"
    assert caplog.text.count("No answer about stack 'shop' in eu-west-1, will retry") == 3


def test_credentials_that_expire_meanwhile_end_the_wait_and_say_that_the_stack_may_change(aws, run):
    aws.answers["DescribeStacks"] = in_turn(
        [stack("CREATE_COMPLETE"), RefusalError("ExpiredToken", "The security token is expired", 403)]
    )
    aws.answers["DescribeStackEvents"] = in_turn(
        [
            events(own("UPDATE_IN_PROGRESS")),
            RefusalError("ExpiredToken", "The security token is expired", 403),
        ]
    )

    with pytest.raises(ActionFailed) as failed:
        run()
    assert (failed.value.code, failed.value.external_execution_id) == ("PermissionError", ID)
    assert "renew the credentials of the worker; Stack 'shop' in eu-west-1 may still run" in str(failed.value)


def test_a_service_that_shows_no_tokens_counts_only_what_began_with_the_action(aws, run):
    """As moto: its events have no tokens; those of an old creation are not taken for the new update's."""
    old = [own("CREATE_IN_PROGRESS", token=None), own("CREATE_COMPLETE", token=None)]
    now = {"Timestamp": datetime.now(timezone.utc), "EventId": "new"}
    new = [own("UPDATE_IN_PROGRESS", token=None) | now, own("UPDATE_COMPLETE", token=None) | now]
    aws.answers["DescribeStacks"] = in_turn([stack("CREATE_COMPLETE")])
    aws.answers["DescribeStackEvents"] = in_turn([events(*old), events(*old, new[0]), events(*old, *new)])

    run()

    assert len(aws.asked("DescribeStackEvents")) == 3


def test_a_service_that_is_away_for_too_long_ends_the_wait(aws, run, monkeypatch):
    monkeypatch.setattr(remote_work, "UNANSWERED_SECONDS", 0.1)
    aws.answers["DescribeStackEvents"] = in_turn([RefusalError("ServiceUnavailable", "away", 503)])

    with pytest.raises(ActionFailed) as failed:
        run()
    assert (failed.value.code, failed.value.external_execution_id) == ("SystemUnavailable", ID)


@pytest.mark.parametrize("lost", [DroppedError(), RefusalError("Throttling", "Rate exceeded")])
def test_a_start_whose_answer_is_lost_is_found_by_its_token_or_tried_again(aws, run, lost):
    aws.answers["CreateStack"] = in_turn([lost, {"StackId": ID}])
    if isinstance(lost, DroppedError):  # CloudFormation has begun nevertheless
        aws.answers["DescribeStacks"] = in_turn([MISSING, stack("CREATE_IN_PROGRESS")])
    else:
        aws.answers["DescribeStacks"] = in_turn([MISSING] * 4 + [stack("CREATE_COMPLETE")])

    run()

    assert len(aws.asked("CreateStack")) == (1 if isinstance(lost, DroppedError) else 2)
    assert not aws.asked("UpdateStack")


def test_what_an_earlier_process_started_is_followed_and_not_started_again(aws, run):
    aws.answers["DescribeStacks"] = in_turn([stack("CREATE_COMPLETE")])

    result = run(earlier=started_before(apply=ID))

    assert result.external_execution_id == ID
    assert not aws.asked("CreateStack") + aws.asked("UpdateStack")


def test_a_process_that_died_before_it_kept_the_id_is_found_by_its_token(aws, run):
    aws.answers["DescribeStacks"] = in_turn([stack("CREATE_COMPLETE")])
    kept: list[tuple[Any, dict[str, str]]] = []

    run(earlier=started_before(), keep=lambda id, url, **state: kept.append((id, state)))

    assert kept == [(ID, {"apply": ID})]
    assert not aws.asked("CreateStack") + aws.asked("UpdateStack")


def test_a_process_that_died_before_the_start_starts_now(aws, run):
    aws.answers["DescribeStackEvents"] = in_turn(
        [
            events(own("CREATE_IN_PROGRESS", token="before"), own("CREATE_COMPLETE", token="before")),
            events(own("UPDATE_IN_PROGRESS"), own("UPDATE_COMPLETE")),
        ]
    )
    aws.answers["DescribeStacks"] = in_turn([stack("CREATE_COMPLETE")])

    run(earlier=started_before())

    assert len(aws.asked("UpdateStack")) == 1


def test_a_stack_goes_on_when_only_the_worker_ends(aws, run, tmp_path):
    context = make_context(tmp_path)
    aws.answers["DescribeStackEvents"] = lambda _: (
        threading.Timer(0.05, context.cancellation.leave).start() or events(own("CREATE_IN_PROGRESS"))  # type: ignore[func-returns-value]
    )

    with pytest.raises(ActionInterrupted):
        run(context=context)
    assert [name for name, _ in aws.requests if "Cancel" in name or "Delete" in name] == []


@pytest.mark.parametrize(
    ("status", "sentence", "cancelled"),
    [
        (
            "UPDATE_IN_PROGRESS",
            "the update of stack 'shop' in eu-west-1 is cancelled, and CloudFormation puts",
            1,
        ),
        ("CREATE_IN_PROGRESS", "stack 'shop' in eu-west-1 continues in AWS (CREATE_IN_PROGRESS), because", 0),
    ],
)
def test_an_abandoned_update_is_cancelled_and_else_it_is_said_that_it_goes_on(
    aws, run, tmp_path, status, sentence, cancelled
):
    context = make_context(tmp_path)
    aws.answers["DescribeStacks"] = in_turn([stack("CREATE_COMPLETE"), stack(status)])
    aws.answers["CancelUpdateStack"] = lambda _: {}
    aws.answers["DescribeStackEvents"] = lambda _: (
        threading.Timer(0.05, context.cancellation.cancel).start() or events(own("UPDATE_IN_PROGRESS"))  # type: ignore[func-returns-value]
    )

    with pytest.raises(ActionAbandoned) as abandoned:
        run(context=context)

    assert sentence in str(abandoned.value)
    assert (
        aws.asked("CancelUpdateStack") == [{"StackName": ID, "ClientRequestToken": "a1-cancel"}] * cancelled
    )


def test_a_stack_that_takes_too_long_and_cannot_be_stopped_is_said_to_run(aws, run):
    aws.answers["DescribeStacks"] = in_turn([stack("CREATE_COMPLETE"), stack("UPDATE_IN_PROGRESS")])
    aws.answers["DescribeStackEvents"] = in_turn([events(own("UPDATE_IN_PROGRESS"))])

    with pytest.raises(ActionFailed) as failed:
        run(seconds=2)

    assert failed.value.code == "Timeout"
    assert "Stack 'shop' in eu-west-1 may still run: cancelling the update" in str(failed.value)


@pytest.mark.parametrize(
    "status",
    ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED", "UPDATE_ROLLBACK_FAILED"],
)
def test_a_failed_stack_is_replaced_only_in_the_mode_that_says_so(aws, run, status):
    gone = [stack(status), stack(status), MISSING, stack("CREATE_COMPLETE")]
    aws.answers["DescribeStacks"] = in_turn(gone)
    deleting = [own("DELETE_IN_PROGRESS", token="a1-delete"), own("DELETE_COMPLETE", token="a1-delete")]
    created = [own("CREATE_IN_PROGRESS"), own("CREATE_COMPLETE")]
    aws.answers["DescribeStackEvents"] = in_turn([events(*deleting), events(*created)])
    kept: dict[str, str] = {}

    run("REPLACE_ON_FAILURE", keep=lambda *_, **state: kept.update(state))

    names = [name for name, _ in aws.requests if name in ("DeleteStack", "CreateStack", "UpdateStack")]
    assert names == ["DeleteStack", "CreateStack"]
    assert aws.asked("DeleteStack") == [{"StackName": ID, "ClientRequestToken": "a1-delete"}]
    assert kept == {"delete": ID, "apply": ID, "resources": "3"}


def test_a_good_stack_is_updated_in_the_mode_that_replaces_failed_ones(aws, run):
    aws.answers["DescribeStacks"] = in_turn([stack("UPDATE_ROLLBACK_COMPLETE")])
    aws.answers["DescribeStackEvents"] = in_turn([events(own("UPDATE_IN_PROGRESS"), own("UPDATE_COMPLETE"))])

    run("REPLACE_ON_FAILURE")

    assert len(aws.asked("UpdateStack")) == 1
    assert not aws.asked("DeleteStack")


def test_a_stack_that_this_action_made_and_that_failed_is_not_replaced_by_a_later_process(aws, run):
    aws.answers["DescribeStacks"] = in_turn([stack("ROLLBACK_COMPLETE")])
    aws.answers["DescribeStackEvents"] = in_turn(
        [events(own("CREATE_IN_PROGRESS"), own("ROLLBACK_COMPLETE"))]
    )

    with pytest.raises(ActionFailed, match="ended as ROLLBACK_COMPLETE"):
        run("REPLACE_ON_FAILURE", earlier=started_before())
    assert not aws.asked("DeleteStack")


def test_a_replacement_is_continued_after_the_deletion_that_an_earlier_process_began(aws, run):
    aws.answers["DescribeStacks"] = in_turn([MISSING, MISSING, MISSING, stack("CREATE_COMPLETE")])
    deleting = [own("DELETE_IN_PROGRESS", token="a1-delete"), own("DELETE_COMPLETE", token="a1-delete")]
    created = [own("CREATE_IN_PROGRESS"), own("CREATE_COMPLETE")]
    aws.answers["DescribeStackEvents"] = in_turn([events(*deleting), events(*created)])

    run("REPLACE_ON_FAILURE", earlier=started_before(delete=ID))

    assert not aws.asked("DeleteStack")
    assert len(aws.asked("CreateStack")) == 1


@pytest.mark.parametrize("token", [TOKEN, "somebody"])
def test_a_deletion_ends_when_the_stack_is_gone_whoever_deletes_it(aws, run, token):
    aws.answers["DescribeStacks"] = in_turn([stack("DELETE_IN_PROGRESS")])
    deleting = [own("DELETE_IN_PROGRESS", token=token)]
    aws.answers["DescribeStackEvents"] = in_turn(
        [events(*deleting), events(*deleting, own("DELETE_COMPLETE", token=token))]
    )

    assert run("DELETE_ONLY").summary == "deleted stack 'shop' in eu-west-1"
    assert aws.asked("DeleteStack")[0]["RoleARN"] == ROLE


def test_a_deletion_that_fails_names_the_resource(aws, run):
    aws.answers["DescribeStacks"] = in_turn([stack("CREATE_COMPLETE")])
    aws.answers["DescribeStackEvents"] = in_turn(
        [
            events(
                own("DELETE_IN_PROGRESS"), event("Bucket", "DELETE_FAILED", "not empty"), own("DELETE_FAILED")
            )
        ]
    )

    with pytest.raises(
        ActionFailed, match=r"DELETE_FAILED: Bucket \(AWS::X::Bucket\) DELETE_FAILED: not empty"
    ):
        run("DELETE_ONLY")


def change_set(status: str, **more: Any) -> dict[str, Any]:
    return {"ChangeSetId": SET_ID, "StackId": ID, "ChangeSetName": "next", "Status": status, **more}


def resource_change(action: str, resource: str, **more: Any) -> dict[str, Any]:
    change = {"Action": action, "LogicalResourceId": resource, "ResourceType": "AWS::X::Y", **more}
    return {"Type": "Resource", "ResourceChange": change}


@pytest.fixture
def change_sets(aws: AwsServer) -> AwsServer:
    aws.answers["DescribeStacks"] = in_turn([stack("CREATE_COMPLETE")])
    aws.answers["CreateChangeSet"] = lambda _: {"Id": SET_ID, "StackId": ID}
    aws.answers["ExecuteChangeSet"] = lambda _: {}
    aws.answers["DeleteChangeSet"] = lambda _: {}
    return aws


NOT_THERE = RefusalError("ChangeSetNotFound", "ChangeSet [next] does not exist", 404)


def test_a_change_set_replaces_an_old_one_and_shows_its_changes(change_sets, run):
    changes = [
        resource_change("Add", "Queue"),
        resource_change(
            "Modify",
            "Database",
            Replacement="True",
            Details=[
                {"Target": {"Attribute": "Properties", "Name": "Engine"}},
                {"Target": {"Attribute": "Tags"}},
            ],
        ),
        resource_change("Remove", "Role"),
    ]
    change_sets.answers["DescribeChangeSet"] = in_turn(
        [
            change_set("CREATE_COMPLETE", Description="older"),
            change_set("DELETE_IN_PROGRESS"),
            NOT_THERE,
            change_set("CREATE_IN_PROGRESS"),
            change_set("CREATE_COMPLETE", Changes=changes),
        ]
    )

    result = run("CHANGE_SET_REPLACE")

    assert result.summary == (
        "change set 'next' of stack 'shop' in eu-west-1: 1 Add, 1 Modify, 1 Remove; replaced: Database"
    )
    (asked,) = change_sets.asked("CreateChangeSet")
    assert (asked["ChangeSetType"], asked["ClientToken"]) == ("UPDATE", TOKEN)
    assert change_sets.asked("DeleteChangeSet") == [{"ChangeSetName": SET_ID}]
    assert result.external_execution_id == SET_ID


def test_the_rows_of_a_change_set_say_what_is_replaced_and_why():
    from prefect_codepipeline.actions.cloudformation.change_sets import rows

    details = [{"Target": {"Attribute": "Properties", "Name": "Engine"}}, {"Target": {"Attribute": "Tags"}}]
    change = resource_change(
        "Modify", "Database", Replacement="Conditional", Details=details, PhysicalResourceId="db-1"
    )

    assert rows({"Changes": [change]}) == [
        {
            "Action": "Modify",
            "Resource": "Database",
            "Type": "AWS::X::Y",
            "Replacement": "perhaps",
            "What changes": "Engine, Tags",
            "Physical id": "db-1",
        }
    ]


@pytest.mark.parametrize(("found", "kind"), [(MISSING, "CREATE"), (stack("REVIEW_IN_PROGRESS"), "CREATE")])
def test_the_first_change_set_creates_the_stack(change_sets, run, found, kind):
    change_sets.answers["DescribeStacks"] = in_turn([found, stack("REVIEW_IN_PROGRESS")])
    change_sets.answers["DescribeChangeSet"] = in_turn([NOT_THERE, change_set("CREATE_COMPLETE")])

    run("CHANGE_SET_REPLACE")

    assert change_sets.asked("CreateChangeSet")[0]["ChangeSetType"] == kind


def test_a_change_set_that_cannot_be_made_is_a_failure_with_the_reason(change_sets, run):
    change_sets.answers["DescribeChangeSet"] = in_turn(
        [
            NOT_THERE,
            change_set("FAILED", StatusReason="Template format error: unresolved condition dependency"),
        ]
    )

    with pytest.raises(ActionFailed, match="could not be made: Template format error") as failed:
        run("CHANGE_SET_REPLACE")
    assert failed.value.external_execution_id == SET_ID


def test_a_change_set_that_an_earlier_process_made_is_found_by_its_description(change_sets, run):
    mine = {"Description": f"Pipeline release, action execution {TOKEN}"}
    change_sets.answers["DescribeChangeSet"] = in_turn([change_set("CREATE_COMPLETE", **mine)])

    run("CHANGE_SET_REPLACE", earlier=started_before())

    assert not change_sets.asked("CreateChangeSet") + change_sets.asked("DeleteChangeSet")


def test_a_change_set_that_somebody_deletes_in_between_is_said(change_sets, run):
    change_sets.answers["DescribeChangeSet"] = in_turn([NOT_THERE])

    with pytest.raises(ActionFailed, match=r"was deleted before it was complete, not by this action$"):
        run("CHANGE_SET_REPLACE")


def test_an_abandoned_change_set_is_left(change_sets, run, tmp_path):
    context = make_context(tmp_path)

    def slowly(_: dict[str, Any]) -> dict[str, Any]:
        if not change_sets.asked("CreateChangeSet"):
            raise NOT_THERE
        threading.Timer(0.05, context.cancellation.cancel).start()
        return change_set("CREATE_IN_PROGRESS")

    change_sets.answers["DescribeChangeSet"] = slowly

    with pytest.raises(ActionAbandoned, match="is left as it is; it changes nothing until it is executed"):
        run("CHANGE_SET_REPLACE", context=context)


def test_an_executed_change_set_is_followed_to_the_end_and_its_outputs_are_variables(change_sets, run):
    changes = [resource_change("Add", "Queue"), resource_change("Add", "Topic")]
    change_sets.answers["DescribeChangeSet"] = in_turn([change_set("CREATE_COMPLETE", Changes=changes)])
    begun = [own("UPDATE_IN_PROGRESS"), event("Queue", "CREATE_COMPLETE")]
    change_sets.answers["DescribeStackEvents"] = in_turn(
        [events(*begun), events(*begun, own("UPDATE_COMPLETE"))]
    )
    change_sets.answers["DescribeStacks"] = in_turn(
        [stack("UPDATE_COMPLETE", Outputs=[{"OutputKey": "A", "OutputValue": "1"}])]
    )
    told: list[str] = []

    result = run("CHANGE_SET_EXECUTE", report_progress=lambda **given: told.append(given["summary"]))

    assert change_sets.asked("ExecuteChangeSet") == [{"ChangeSetName": SET_ID, "ClientRequestToken": TOKEN}]
    assert told[0] == "1 of 2 resources"
    assert result.output_variables == {"A": "1"}


@pytest.mark.parametrize("reason", [NO_CHANGES, "No updates are to be performed."])
def test_an_empty_change_set_is_no_failure_when_it_is_made_and_when_it_is_executed(change_sets, run, reason):
    change_sets.answers["DescribeChangeSet"] = in_turn([NOT_THERE, change_set("FAILED", StatusReason=reason)])

    assert run("CHANGE_SET_REPLACE").summary.endswith("nothing changes")
    assert run("CHANGE_SET_EXECUTE").summary.endswith("is empty: nothing has changed")
    assert not change_sets.asked("ExecuteChangeSet")


def test_an_execution_that_an_earlier_process_began_is_not_repeated(change_sets, run):
    change_sets.answers["DescribeStackEvents"] = in_turn(
        [events(own("UPDATE_IN_PROGRESS"), own("UPDATE_COMPLETE"))]
    )

    run("CHANGE_SET_EXECUTE", earlier=started_before())

    assert not change_sets.asked("ExecuteChangeSet")
