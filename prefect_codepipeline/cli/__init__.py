"""The `codepipeline` command. Each command has its own file, which is imported when the command is called."""

from __future__ import annotations

import os
import sys

from cyclopts import App

from prefect_codepipeline import __version__
from prefect_codepipeline.errors import CodePipelineError

# Each command with its help, so that `--help` does not import every command.
_VERBS = {
    "Definitions": {
        "validate": ("definitions.validate:validate", "Check definitions without a server."),
        "graph": ("definitions.graph:graph", "Draw a pipeline as SVG or Mermaid."),
        "schema": ("definitions.schema:schema", "Print the JSON Schema of pipeline files, for editors."),
        "import": (
            "definitions.import_:import_pipelines",
            "Make definitions of CloudFormation, CDK and AWS pipelines.",
        ),
        "build": ("executions.build:build", "Run a buildspec on this machine."),
        "plan": ("definitions.plan:plan", "What an execution would do, and what it lacks."),
        "export": ("definitions.export:export", "Print a pipeline for AWS: JSON, YAML or a template."),
        "deploy": ("definitions.deploy:deploy", "Create or update pipelines."),
        "delete": ("definitions.deploy:delete", "Delete a pipeline."),
        "list": ("definitions.deploy:list_pipelines", "The pipelines that are deployed."),
    },
    "Executions": {
        "run": ("executions.run:run", "Run a pipeline here, in the foreground."),
        "start": ("executions.start:start", "Start an execution of a deployed pipeline."),
        "status": ("executions.status:status", "How the latest execution of a pipeline stands."),
        "executions": ("executions.status:executions", "The executions of a pipeline."),
        "logs": ("executions.logs:logs", "The log of an execution, or of one action."),
        "shell": ("executions.shell:shell", "Open a shell where an action ran."),
        "approve": ("executions.approve:approve", "Approve what a pipeline waits for."),
        "reject": ("executions.approve:reject", "Reject what a pipeline waits for."),
        "approval-link": ("executions.approve:approval_link", "Print the link that decides an approval."),
        "stop": ("executions.release:stop", "Stop an execution."),
        "retry": ("executions.release:retry", "Run a failed or stopped stage again."),
        "override": ("executions.release:override", "Let a stage go on whatever its condition says."),
        "rollback": ("executions.release:rollback", "Roll a stage back to an earlier execution."),
    },
    "Set-up": {
        "up": ("setup.up:up", "Start a Prefect server, a worker and the reconcile loop."),
        "down": ("setup.up:down", "Stop them."),
        "gateway": ("setup.gateway:gateway", "Serve approvals from Slack and from links."),
    },
}
_FAMILIES = {
    "transition": (
        "Transitions between stages.",
        {
            "disable": (
                "executions.release:disable_transition",
                "Let no execution enter a stage, or leave it.",
            ),
            "enable": ("executions.release:enable_transition", "Let executions pass again."),
        },
    ),
    "trigger": (
        "Test triggers, and list webhook deliveries.",
        {
            "test": ("triggers.trigger:try_event", "Which filters an event matches, and why not."),
            "list": (
                "triggers.trigger:list_deliveries",
                "List the deliveries to webhooks and their results.",
            ),
        },
    ),
    "webhook": (
        "Webhooks for V1 pipelines.",
        {
            "put": ("triggers.webhook:put_webhook", "Make or change a webhook; prints its address."),
            "list": ("triggers.webhook:list_webhooks", "The webhooks there are."),
            "delete": ("triggers.webhook:delete_webhook", "Delete a webhook."),
        },
    ),
    "schedule": (
        "Schedules that start pipelines.",
        {
            "add": ("triggers.schedule:add", "Have a pipeline start by a schedule."),
            "list": ("triggers.schedule:list_schedules", "The schedules of a pipeline."),
            "remove": ("triggers.schedule:remove", "Take a schedule away."),
        },
    ),
    "connection": (
        "Connections to git hosts.",
        {
            "add": ("setup.blocks:add_connection", "Add or replace a connection."),
            "list": ("setup.blocks:list_connections", "The connections there are."),
            "webhook": (
                "triggers.connection_webhook:set_webhook",
                "Receive the pushes of a git host by a webhook.",
            ),
        },
    ),
    "slack": (
        "Slack channels for notifications.",
        {"add": ("setup.blocks:add_slack", "Add or replace a channel.")},
    ),
    "event-webhook": (
        "URLs that receive events.",
        {"add": ("setup.event_webhook:add_event_webhook", "Add or replace a URL; prints its secret.")},
    ),
    "secret": (
        "Secrets for environment variables of type SECRETS_MANAGER.",
        {"add": ("setup.blocks:add_secret", "Add or replace a secret.")},
    ),
}

app = App(
    name="codepipeline",
    help="AWS CodePipeline's release pipelines on Prefect.",
    version=__version__,
    help_format="plaintext",
)
for _group, _verbs in _VERBS.items():
    for _verb, (_function, _help) in _verbs.items():
        app.command(f"{__name__}.{_function}", name=_verb, group=_group, help=_help)
for _family, (_family_help, _verbs) in _FAMILIES.items():
    _below = App(name=_family, help=_family_help, group="Set-up")
    for _verb, (_function, _help) in _verbs.items():
        _below.command(f"{__name__}.{_function}", name=_verb, help=_help)
    app.command(_below)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 on success, 1 on failure, 130 after Ctrl-C.

    A user's mistake ends in one message. Any other error is reported as a bug of this program.
    """
    try:
        code = app(arguments, result_action="return_value")
    except CodePipelineError as error:
        print(f"codepipeline: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("codepipeline: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("CODEPIPELINE_DEBUG"):
            raise
        print(
            f"codepipeline: internal error (a bug in this program): {type(error).__name__}: {error}\n"
            "Please report it with the traceback that CODEPIPELINE_DEBUG=1 prints.",
            file=sys.stderr,
        )
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
