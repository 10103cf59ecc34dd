"""CodeBuild's rules for buildspecs; `prefect_codepipeline.model.buildspec.parsing` checks them.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
"""

from __future__ import annotations

from prefect_codepipeline.model.validation.rules import rules_of

# The phase status that CodeBuild sets for a build with an invalid buildspec.
_rule = rules_of("Buildspecs", "YAML_FILE_ERROR")

# -- the whole, and phases

SHAPE = _rule(
    "buildspec-shape",
    "Each part of a buildspec is a mapping, a list or a string, as in CodeBuild's buildspec reference.",
    "Expected {what} to be {expected}: found {found} instead",
)
VERSION = _rule(
    "buildspec-version",
    "`version` is 0.2 or 0.1.",
    "buildspec version {version} is not supported: use 0.2 (or 0.1)",
)
PHASES = _rule(
    "buildspec-phases",
    "A buildspec has `phases`, unless it is a batch in which each build has its own buildspec.",
    "wrong number of container tags, expected 1: there are no phases",
)
PHASE_NAME = _rule(
    "buildspec-phase-name",
    "Phases are install, pre_build, build and post_build.",
    "Invalid buildspec phase name: {name}. Expecting: build,install,post_build,pre_build",
)
COMMAND = _rule(
    "buildspec-command",
    "A command is a string. YAML reads a colon and a space in a command without quotes as a mapping.",
    "Expected {what} to be of string type: found {found} instead",
)
COMMANDS = _rule(
    "buildspec-commands",
    "The phases pre_build, build and post_build have `commands`.",
    "phase {phase} has no 'commands', which are required",
)
NO_COMMANDS = _rule(
    "buildspec-no-commands",
    "`commands` are not empty.",
    "No commands found for phase name: {phase}",
    severity="warning",
)
ON_FAILURE = _rule(
    "buildspec-on-failure",
    "`on-failure` is ABORT, CONTINUE, RETRY, RETRY-n (0 to 100), RETRY-regex or RETRY-n-regex.",
    "Invalid on-failure value {value}: use ABORT, CONTINUE, RETRY, RETRY-<0 to 100>, RETRY-<regex> or "
    "RETRY-<0 to 100>-<regex>",
)
RUNTIMES_ELSEWHERE = _rule(
    "buildspec-runtime-versions",
    "`runtime-versions` are in the install phase.",
    "runtime-versions have an effect only in the install phase and are ignored here",
    severity="warning",
)
UNKNOWN = _rule(
    "buildspec-unknown-key",
    "Each key is known to CodeBuild. CodeBuild ignores unknown keys.",
    "unknown key '{key}' is ignored",
    severity="warning",
)
REPEATED = _rule(
    "buildspec-repeated-key",
    "A key occurs once in its mapping.",
    "'{key}' is already set in line {line}; this value replaces it",
    severity="warning",
)
FLAG = _rule(
    "buildspec-flag",
    "A switch is yes or no.",
    "Expected {what} to be yes or no: found {found} instead",
)

# -- env

ENV_RESERVED = _rule(
    "buildspec-reserved-variable",
    "Names of variables do not start with CODEBUILD_.",
    "names that start with CODEBUILD_ are reserved: values that CodeBuild sets replace this one",
    severity="warning",
)
ENV_NAME = _rule(
    "buildspec-variable-name",
    "The name of a variable has only letters, digits and underscores, and does not start with a digit.",
    "a shell cannot read a variable named '{name}'",
    severity="warning",
)
SHELL = _rule(
    "buildspec-shell",
    "`env.shell` is bash or /bin/sh; on Windows powershell.exe or cmd.exe.",
    "shell {shell} is not supported: use bash or /bin/sh (on Windows powershell.exe or cmd.exe)",
)
SECRET = _rule(
    "buildspec-secret",
    "A reference to a secret is secret-id:json-key:version-stage:version-id, with at most one of version-stage and "
    "version-id.",
    "invalid reference to a secret: {why}",
)
REFERENCE = _rule(
    "buildspec-empty-reference",
    "Each entry of `parameter-store` and `secrets-manager` names a parameter or secret.",
    "the reference is empty: name the parameter or secret to read",
)
EXPORTED = _rule(
    "buildspec-exported-variable",
    "Exported variables do not start with AWS_.",
    "'{name}' is not exported, because its name starts with AWS_",
    severity="warning",
)

# -- artifacts, cache and reports

ARTIFACT_FILES = _rule(
    "buildspec-artifact-files",
    "`artifacts` and each secondary artifact have `files`.",
    "artifacts have no 'files', which are required",
)
ONLY_SECONDARY = _rule(
    "buildspec-only-secondary-artifacts",
    "`artifacts` has `files` beside its secondary artifacts, as AWS's reference says. CodeBuild runs such buildspecs.",
    "artifacts have only secondary artifacts and no 'files': AWS's reference requires these, but CodeBuild runs "
    "such buildspecs",
    severity="warning",
)
ARTIFACT_IDENTIFIER = _rule(
    "buildspec-artifact-identifier",
    "The name of a secondary artifact has at most 128 letters, digits and underscores.",
    "'{name}' cannot be the identifier of an output artifact: use at most 128 letters, digits and underscores",
    severity="warning",
)
CACHE_PATHS = _rule(
    "buildspec-cache-paths",
    "`cache` has `paths`.",
    "no paths specified to be cached: nothing is cached",
    severity="warning",
)
FALLBACK_KEYS = _rule(
    "buildspec-fallback-keys",
    "A cache has at most 5 `fallback-keys`.",
    "there are {count} fallback-keys; at most 5 are allowed",
)
FALLBACK_WITHOUT_KEY = _rule(
    "buildspec-fallback-without-key",
    "`fallback-keys` need a `key`.",
    "fallback-keys are ignored without a 'key'",
    severity="warning",
)
CACHE_ACTION = _rule(
    "buildspec-cache-action",
    "The `action` of a cache is restore or save; without it, both happen.",
    "Invalid cache action {action}: use restore or save",
)
REPORT_FORMAT = _rule(
    "buildspec-report-format",
    "CodeBuild supports the `file-format` of a report; upper and lower case are equal.",
    "Invalid report file-format {format}: use one of {known}",
)
REPORT_FILES = _rule(
    "buildspec-report-files",
    "A report group has `files`.",
    "the report group has no 'files', which are required",
)
REPORT_COUNT = _rule(
    "buildspec-report-groups",
    "A buildspec has at most 5 report groups.",
    "there are {count} report groups; at most 5 are allowed",
)

# -- batch

BATCH_KIND = _rule(
    "buildspec-batch-kind",
    "A batch is one of build-list, build-graph, build-matrix and build-fanout.",
    "a batch has exactly one of build-list, build-graph, build-matrix and build-fanout: found {found}",
)
BATCH_IDENTIFIER = _rule(
    "buildspec-batch-identifier",
    "Each build of a batch has a unique identifier of at most 128 letters, digits and underscores.",
    "Invalid identifier: {why}",
)
BATCH_DEPENDENCY = _rule(
    "buildspec-batch-dependency",
    "`depend-on` names other builds of the graph.",
    "depends on '{name}', which is not another build of the graph",
)
BATCH_CYCLE = _rule(
    "buildspec-batch-cycle",
    "The dependencies of a graph have no cycle.",
    "these builds wait for each other: {builds}",
)
BATCH_SIZE = _rule(
    "buildspec-batch-size",
    "A batch has 1 to 100 builds.",
    "the batch has {count} builds; 1 to 100 are allowed",
)
BATCH_PARALLELISM = _rule(
    "buildspec-batch-parallelism",
    "`parallelism` is a number from 1 to 100.",
    "Invalid parallelism {value}: use a number from 1 to 100",
)
BATCH_COMPUTE = _rule(
    "buildspec-batch-compute",
    "A build of a batch has a compute-type or a fleet, not both.",
    "use either compute-type or fleet, not both",
)
