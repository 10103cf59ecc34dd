"""The `codepipeline` command. Each command has its own file, which is imported when the command is called."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings

from cyclopts import App

from prefect_codepipeline import __version__
from prefect_codepipeline.cli.output import without_control
from prefect_codepipeline.errors import CodePipelineError

# Each command with its help, so that `--help` does not import every command.
_VERBS = {
    "Definitions": {
        "validate": (
            "definitions.validate:validate",
            "Check definitions without a server.\n\nExits with 1 on errors, with 2 if a file cannot be read.",
        ),
        "graph": ("definitions.graph:graph", "Draw a pipeline as SVG or Mermaid."),
        "schema": (
            "definitions.schema:schema",
            "Print the JSON Schema of pipeline files or AppSpecs, for editors.",
        ),
        "import": (
            "definitions.import_:import_pipelines",
            "Convert CloudFormation, CDK and AWS pipelines to definitions.\n\nExits with 1 on errors.",
        ),
        "build": (
            "executions.build:build",
            "Run a buildspec on this machine.\n\nExits with 1 if the build fails.",
        ),
        "plan": (
            "definitions.plan:plan",
            "Show what an execution would do and what is missing.\n\nChanges nothing. Exits with 1 if it could not run.",
        ),
        "export": (
            "definitions.export:export",
            "Print a pipeline for AWS: JSON, YAML or a CloudFormation template.",
        ),
        "deploy": (
            "definitions.deploy:deploy",
            "Create or update pipelines.\n\nDeploys nothing if one of the files has errors.",
        ),
        "delete": (
            "definitions.deploy:delete",
            "Delete a pipeline.\n\nAsks first, or takes --yes. Its executions stay visible in Prefect.",
        ),
        "list": ("definitions.deploy:list_pipelines", "List the deployed pipelines, with their state."),
    },
    "Executions": {
        "run": (
            "executions.run:run",
            "Run a pipeline on this machine, in the foreground.\n\nExits with 0 only if it succeeds.",
        ),
        "start": ("executions.start:start", "Start an execution of a deployed pipeline."),
        "status": ("executions.status:status", "Show the state of a pipeline, or of one execution."),
        "open": ("executions.open_:open_page", "Open the page of a pipeline in Prefect's UI."),
        "executions": ("executions.status:executions", "List the executions of a pipeline."),
        "logs": ("executions.logs:logs", "Print the log of an execution, or of one action."),
        "shell": (
            "executions.shell:shell",
            "Open a shell in the environment of an action.\n\nIf the standard input is not a terminal, it is run as a script. Exits with the shell's exit code. All changes "
            "are discarded, except on a host of a CodeDeploy action.",
        ),
        "approve": ("executions.approve:approve", "Approve an open approval of a pipeline."),
        "reject": (
            "executions.approve:reject",
            "Reject an open approval of a pipeline.\n\nThe action, its stage and the execution fail.",
        ),
        "approval-link": (
            "executions.approve:approval_link",
            "Print the link to the page of an approval.\n\nEveryone who has the link can decide.",
        ),
        "stop": (
            "executions.release:stop",
            "Stop an execution.\n\nNo further action starts; running actions may finish.",
        ),
        "retry": ("executions.release:retry", "Run a failed or stopped stage again."),
        "override": ("executions.release:override", "Continue a stage whose condition failed."),
        "rollback": (
            "executions.release:rollback",
            "Roll a stage back to an earlier execution.\n\nRuns the stage with the artifacts and variables of that execution.",
        ),
    },
    "Set-up": {
        "up": ("setup.up:up", "Start a Prefect server, a worker and the reconcile loop."),
        "down": (
            "setup.up:down",
            "Stop what `codepipeline up` started.\n\nExecutions that wait for an approval continue after the next `up`.",
        ),
        "setup": (
            "setup.server:setup",
            "Create what pipelines need on a Prefect server of your own.\n\nMay be repeated.",
        ),
        "prune": (
            "setup.prune:prune",
            "Remove old executions, artifacts that none needs, and what is too much in this machine's caches.",
        ),
        "completion": ("setup.completion:completion", "Print a completion script for a shell."),
        "gateway": (
            "setup.gateway:gateway",
            "Serve approval links, Slack buttons, webhooks and the AWS API.",
        ),
        "reconcile": (
            "setup.reconcile:reconcile",
            "Repair executions and poll repositories, beside a Prefect server of your own.",
        ),
    },
}
_FAMILIES = {
    "appspec": (
        "Rehearse deployments to hosts.",
        {
            "run": (
                "definitions.appspec:run",
                "Run the lifecycle of a bundle on this machine.\n\nExits with 1 if it fails.",
            ),
        },
    ),
    "transition": (
        "Transitions between stages.",
        {
            "disable": (
                "executions.release:disable_transition",
                "Stop executions from entering or leaving a stage.",
            ),
            "enable": (
                "executions.release:enable_transition",
                "Let executions enter or leave the stage again.",
            ),
        },
    ),
    "trigger": (
        "Test triggers, and list webhook deliveries.",
        {
            "test": (
                "triggers.trigger:try_event",
                "Show which filters an event matches, and why.\n\nStarts nothing. Exits with 1 if it would start nothing.",
            ),
            "list": (
                "triggers.trigger:list_deliveries",
                "List webhook deliveries and polled pushes, and their results.",
            ),
            "allow": (
                "triggers.trigger:allow_fork",
                "Start a pipeline with the code of a fork.\n\nAsks first, and shows the fork, the commit and its author.",
            ),
        },
    ),
    "webhook": (
        "V1 webhooks, as in PutWebhook: a URL starts one pipeline.",
        {
            "add": (
                "triggers.webhook:add_webhook",
                "Add or replace a webhook and print its URL.\n\nA replaced webhook keeps its URL.",
            ),
            "list": ("triggers.webhook:list_webhooks", "List the webhooks and their URLs."),
            "show": ("triggers.webhook:show_webhook", "Show a webhook, without its secret."),
            "remove": ("triggers.webhook:remove_webhook", "Remove a webhook and its URL."),
        },
    ),
    "jobs": (
        "Jobs of custom actions, and workers for them.",
        {
            "list": (
                "jobs.jobs:list_open_jobs",
                "List the jobs without a result, and why each one waits.",
            ),
            "show": ("jobs.jobs:show_job", "Show a job: who has it, or why it waits."),
            "work": (
                "jobs.work:work",
                "Run a command for each job of an action type.\n\nUntil Ctrl-C; a second Ctrl-C also ends the commands.",
            ),
        },
    ),
    "deployment": (
        "Deployments of CodeDeploy actions to hosts.",
        {
            "list": ("deployments.deployments:list_deployments", "List the deployments, the newest first."),
            "show": (
                "deployments.deployments:show_deployment",
                "Show a deployment: each host with its lifecycle events.",
            ),
            "stop": (
                "deployments.deployments:stop_deployment",
                "Stop a deployment.\n\nNo further host begins, and running scripts are ended.",
            ),
            "rollback": (
                "deployments.rollback:roll_back",
                "Deploy an earlier revision to a deployment group.\n\nWaits for the end; Ctrl-C stops the deployment.",
            ),
        },
    ),
    "hosts": (
        "Hosts that CodeDeploy actions deploy to, and their host keys.",
        {
            "list": ("setup.hosts:list_hosts", "List the hosts of inventories and deployment groups."),
            "trust": (
                "setup.hosts:trust",
                "Trust the key of a host.\n\nShows its fingerprint and asks first, or takes --yes FINGERPRINT.",
            ),
        },
    ),
    "schedule": (
        "Schedules that start pipelines.",
        {
            "add": ("triggers.schedule:add", "Start a pipeline on a schedule."),
            "list": ("triggers.schedule:list_schedules", "List the schedules of a pipeline."),
            "show": ("triggers.schedule:show", "Show a schedule."),
            "remove": ("triggers.schedule:remove", "Remove a schedule."),
        },
    ),
    "connection": (
        "Connections to git hosts.",
        {
            "add": ("setup.blocks:add_connection", "Add or replace a connection."),
            "list": ("setup.kept_blocks:list_connections", "List the connections."),
            "show": ("setup.kept_blocks:show_connection", "Show a connection, without its secrets."),
            "remove": ("setup.kept_blocks:remove_connection", "Remove a connection."),
            "pushes": (
                "triggers.connection_pushes:set_pushes",
                "Receive pushes from the host of a connection.\n\nCreates a secret and prints what to enter there.",
            ),
        },
    ),
    "slack": (
        "Slack channels for notifications.",
        {
            "add": ("setup.blocks:add_slack", "Add or replace a channel."),
            "list": ("setup.kept_blocks:list_slack", "List the channels."),
            "show": ("setup.kept_blocks:show_slack", "Show a channel, without its tokens."),
            "remove": ("setup.kept_blocks:remove_slack", "Remove a channel."),
        },
    ),
    "event-webhook": (
        "URLs that receive the events of pipelines.",
        {
            "add": (
                "setup.event_webhook:add_event_webhook",
                "Add or replace a URL. Prints a newly created secret.",
            ),
            "list": ("setup.kept_blocks:list_event_webhooks", "List the URLs."),
            "show": ("setup.kept_blocks:show_event_webhook", "Show a URL's settings, without its secret."),
            "remove": ("setup.kept_blocks:remove_event_webhook", "Remove a URL."),
        },
    ),
    "action-type": (
        "Action types that your own job workers serve.",
        {
            "add": (
                "setup.action_types:add_action_type",
                "Add an action type.\n\nWith --third-party, prints the client token of its workers once.",
            ),
            "list": ("setup.action_types:list_action_types", "List the action types."),
            "show": ("setup.action_types:show_action_type", "Show an action type."),
            "remove": ("setup.action_types:remove_action_type", "Remove an action type."),
        },
    ),
    "key": (
        "Access keys of the AWS API.",
        {
            "add": ("setup.keys:add_key", "Create a key. Prints its secret, which is not shown again."),
            "list": ("setup.keys:list_keys", "List the keys, without their secrets."),
            "remove": ("setup.keys:remove_key", "Remove a key."),
        },
    ),
    "secret": (
        "Secrets for environment variables of type SECRETS_MANAGER.",
        {
            "add": ("setup.blocks:add_secret", "Add or replace a secret."),
            "list": ("setup.kept_blocks:list_secrets", "List the names of the secrets."),
            "show": ("setup.kept_blocks:show_secret", "Show whether a secret exists, not its value."),
            "remove": ("setup.kept_blocks:remove_secret", "Remove a secret."),
        },
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
    _keep_prefects_notices_out()
    try:
        code = app(arguments, result_action="return_value")
    except CodePipelineError as error:
        print(f"codepipeline: {without_control(str(error))}", file=sys.stderr)
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
        if refused := _refusal(error):
            print(f"codepipeline: {refused}", file=sys.stderr)
            sys.exit(1)
        print(
            f"codepipeline: internal error (a bug in this program): {type(error).__name__}: {error}\n"
            "Please report it with the traceback that CODEPIPELINE_DEBUG=1 prints.",
            file=sys.stderr,
        )
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _refusal(error: Exception) -> str | None:
    """What to do about an error of Prefect's asynchronous client whose request was not let in."""
    response = getattr(error, "response", None)
    if response is None or not type(error).__module__.startswith("prefect."):
        return None
    from prefect_codepipeline.prefect_api.client import refusal_of

    return refusal_of(response)


def _keep_prefects_notices_out() -> None:
    """Of what Prefect prints while it is imported: that it collects usage data, and that it could not create its folder."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    if home := os.environ.get("PREFECT_HOME"):
        with contextlib.suppress(OSError):  # Prefect does not create the folders above it
            os.makedirs(home, mode=0o700, exist_ok=True)
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
