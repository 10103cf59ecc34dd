"""CodeDeploy's rules for AppSpec files of EC2 and on-premises hosts; `model.appspec.parsing` checks them.

https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file.html and the source of CodeDeploy's agent,
which is stricter: https://github.com/aws/aws-codedeploy-agent
"""

from __future__ import annotations

from prefect_codepipeline.model.validation.rules import rules_of

# What the agent raises on the host; the deployment fails there.
_rule = rules_of("AppSpecs", "AppSpecValidationException")

# -- the whole

SHAPE = _rule(
    "appspec-shape",
    "Each part of an AppSpec is a mapping, a list or a text, as in CodeDeploy's reference.",
    "{what} must be {expected}, found {found}: CodeDeploy would fail the deployment",
)
UNKNOWN = _rule(
    "appspec-unknown-key",
    "Each key is known to CodeDeploy. CodeDeploy ignores unknown keys.",
    "unknown key '{key}' is ignored",
    severity="warning",
)
REPEATED = _rule(
    "appspec-repeated-key",
    "A key occurs once in its mapping.",
    "'{key}' is already set in line {line}; this value replaces it",
    severity="warning",
)
FLAG = _rule(
    "appspec-flag",
    "`sudo` is true or false. CodeDeploy takes every text as true.",
    "{what} must be true or false without quotes, found {found}: CodeDeploy would read it as true",
)
ECS = _rule(
    "appspec-ecs",
    "An AppSpec of an ECS service is deployed by the action type CodeDeployToECS.",
    "this is the AppSpec of an ECS service, and hosts cannot be deployed with it: use it as AppSpecTemplateArtifact of an "
    "action of type Deploy/AWS/CodeDeployToECS/1",
)
LAMBDA = _rule(
    "appspec-lambda",
    "An AppSpec of a Lambda function does not deploy to hosts.",
    "this is the AppSpec of a Lambda function, and hosts cannot be deployed with it: use an action of type "
    "Deploy/AWS/Lambda/1, or give it to CodeDeploy in AWS",
)
VERSION = _rule(
    "appspec-version",
    "`version` is the number 0.0.",
    "version {version} is not supported, CodeDeploy would fail the deployment: write 'version: 0.0', without quotes",
)
OS = _rule(
    "appspec-os",
    "`os` is linux.",
    "os {os} is not supported, CodeDeploy would fail the deployment: write 'os: linux'",
)
WINDOWS = _rule(
    "appspec-windows",
    "`os` is not windows, to which only CodeDeploy in AWS can deploy.",
    "os 'windows' is not supported by this engine, which deploys to Linux: CodeDeploy in AWS would deploy it",
)

# -- files

FILE_EXISTS = _rule(
    "appspec-file-exists-behavior",
    "`file_exists_behavior` is DISALLOW, OVERWRITE or RETAIN.",
    "file_exists_behavior {value} is not DISALLOW, OVERWRITE or RETAIN: CodeDeploy would fail the deployment",
)
MISSING = _rule(
    "appspec-missing",
    "A file has `source` and `destination`, a permission has `object`, a context has `type`, a script has `location`.",
    "there is no '{key}': CodeDeploy would fail the deployment",
)
ABSOLUTE = _rule(
    "appspec-absolute",
    "`destination` is an absolute path.",
    "{value} is not an absolute path: CodeDeploy's agent would take it below the folder in which it was started",
)
OUTSIDE = _rule(
    "appspec-outside",
    "`source` and `location` are in the bundle, also those that begin with a slash.",
    "{value} is outside of the bundle: only files of the bundle are deployed; CodeDeploy's agent would take what is there "
    "on the host",
)
NUL = _rule(
    "appspec-nul",
    "Paths and names have no NUL character.",
    "{what} has a NUL character: CodeDeploy would fail the deployment",
)

# -- permissions

# Some tutorials name folders of the bundle, and their deployments succeed.
RELATIVE_OBJECT = _rule(
    "appspec-relative-object",
    "`object` is an absolute path. CodeDeploy's agent finds nothing that it installs at others.",
    "{value} is not an absolute path, and these permissions are ignored: CodeDeploy's agent would look for it below the "
    "folder in which it was started; write where the files are installed",
    severity="warning",
)
TYPE = _rule(
    "appspec-type",
    "`type` is a list of file and directory.",
    "type {value} is not 'file' or 'directory': CodeDeploy would fail the deployment",
)
MODE = _rule(
    "appspec-mode",
    "`mode` has 1 to 4 octal digits. Letters as in u+x are not supported.",
    "mode {value} is not 1 to 4 octal digits, such as '0644': CodeDeploy would fail the deployment",
)
MODE_NUMBER = _rule(
    "appspec-mode-number",
    "A `mode` with a leading zero is in quotes: YAML reads 0644 as the number 420.",
    "{value} without quotes is the number {number} in YAML: {result}; write '{value}' in quotes",
)
PATTERN = _rule(
    "appspec-pattern",
    "`pattern` and `except` are names in which * stands for any characters, or ** as the whole pattern.",
    "{value} has a slash and matches nothing: it is compared with the names in the folder, not with paths",
    severity="warning",
)
ACL = _rule(
    "appspec-acl",
    "An entry of `acls` is [d:]user:NAME:rwx, with u, g, m or o for user, group, mask and other.",
    "ACL {value} is not such as 'u:bob:rw' or 'd:g:staff:r': CodeDeploy would fail the deployment",
)
ACL_BASE = _rule(
    "appspec-acl-base",
    "The entries of `acls` for the owner, the group and others are set by `mode`.",
    "ACL {value} has no name and would change what 'mode' sets: CodeDeploy would fail the deployment; use 'mode'",
)
ACL_ON_FILE = _rule(
    "appspec-acl-on-file",
    "Default entries of `acls` (d:) are for folders only.",
    "ACL {value} is a default, which files cannot have, and applies to {files}: CodeDeploy would fail Install; write "
    "'type: [directory]'",
)
RANGE = _rule(
    "appspec-range",
    "The `range` of a context is an SELinux range such as s0 or s0-s1:c0.c5,c7.",
    "range {value} is not an SELinux range such as 's0' or 's0-s1:c0.c5,c7': CodeDeploy would fail the deployment",
)
PERMISSION_TWICE = _rule(
    "appspec-permission-twice",
    "A file or folder gets permissions from one entry only.",
    "{object} has permissions from permissions[{first}] already: CodeDeploy would fail Install",
)
PATTERN_ON_FILE = _rule(
    "appspec-pattern-on-file",
    "`pattern` and `except` are for folders: an object that is a single file has neither.",
    "{object} is a file, which takes no '{key}': CodeDeploy would fail Install",
)

# -- scripts

EVENT = _rule(
    "appspec-event",
    "Hooks are lifecycle events of an in-place deployment that can have scripts. CodeDeploy ignores others.",
    "{event} {why}: CodeDeploy would never run its scripts",
    severity="warning",
)
TIMEOUT = _rule(
    "appspec-timeout",
    "The `timeout` of a script is 1 to 3600 seconds.",
    "timeout {value} is not a whole number from 1 to 3600: CodeDeploy would fail the deployment",
)
TIMEOUT_CUT = _rule(
    "appspec-timeout-cut",
    "The `timeout` of a script is a number without a unit. CodeDeploy reads the digits at its start.",
    "timeout {value} is read as {seconds} seconds, as by CodeDeploy: only the digits at the start count",
    severity="warning",
)
EVENT_TIMEOUT = _rule(
    "appspec-event-timeout",
    "The timeouts of the scripts of one event are together at most 3600 seconds.",
    "the timeouts of the scripts of {event} are together {seconds} seconds: CodeDeploy fails an event after 3600",
)
RUNAS = _rule(
    "appspec-runas",
    "`runas` is the name of a user.",
    "runas {value} is not the name of a user: CodeDeploy's agent would give it to a shell",
)

# -- the files of a bundle

SOURCE_MISSING = _rule(
    "appspec-source-missing",
    "Each `source` is in the bundle.",
    "the bundle has no {value}: CodeDeploy would fail Install",
)
TWO_SOURCES = _rule(
    "appspec-two-sources",
    "Each file on a host comes from one source.",
    "{first} and {second} are both for {destination}: CodeDeploy would fail Install",
)
FILE_FOR_FOLDER = _rule(
    "appspec-file-for-folder",
    "No file goes where a folder goes.",
    "{destination} would be the file {source} and a folder: CodeDeploy would fail Install",
)
SCRIPT_MISSING = _rule(
    "appspec-script-missing",
    "Each script is in the bundle.",
    "the bundle has no file {value}: {event} fails with ScriptMissing",
    severity="warning",
)
