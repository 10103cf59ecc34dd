"""What CodeBuild demands of a buildspec; `prefect_codepipeline.model.buildspec.parsing` looks.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
"""

from __future__ import annotations

from prefect_codepipeline.model.validation.rules import rules_of

# The status of a phase that CodeBuild gives a build whose buildspec it cannot take.
_rule = rules_of("Buildspecs", "YAML_FILE_ERROR")

# -- the whole, and phases

SHAPE = _rule(
    "buildspec-shape",
    "Each part of a buildspec is a mapping, a list or a text, as its reference says.",
    "Expected {what} to be {expected}: found {found} instead",
)
VERSION = _rule(
    "buildspec-version",
    "`version` is 0.2, or 0.1.",
    "version {version} is none that CodeBuild knows: use 0.2 (or 0.1)",
)
PHASES = _rule(
    "buildspec-phases",
    "A buildspec has `phases`, unless it is a batch whose builds have buildspecs of their own.",
    "wrong number of container tags, expected 1: there are no phases",
)
PHASE_NAME = _rule(
    "buildspec-phase-name",
    "Phases are install, pre_build, build and post_build.",
    "Invalid buildspec phase name: {name}. Expecting: build,install,post_build,pre_build",
)
COMMAND = _rule(
    "buildspec-command",
    "A command is a text. A colon and a space in a command without quotes make it a mapping.",
    "Expected {what} to be of string type: found {found} instead",
)
COMMANDS = _rule(
    "buildspec-commands",
    "pre_build, build and post_build have `commands` when they are there.",
    "phase {phase} has no 'commands', which are required in it",
)
NO_COMMANDS = _rule(
    "buildspec-no-commands",
    "`commands` that are there hold some.",
    "No commands found for phase name: {phase}",
    severity="warning",
)
ON_FAILURE = _rule(
    "buildspec-on-failure",
    "`on-failure` is ABORT, CONTINUE, RETRY, RETRY-n (0 to 100), RETRY-regex or RETRY-n-regex.",
    "Invalid on-failure value {value}: ABORT, CONTINUE, RETRY, RETRY-<0 to 100>, RETRY-<regex> and "
    "RETRY-<0 to 100>-<regex> are known",
)
RUNTIMES_ELSEWHERE = _rule(
    "buildspec-runtime-versions",
    "`runtime-versions` stand in the install phase.",
    "runtime-versions count in the install phase only; here they are ignored",
    severity="warning",
)
UNKNOWN = _rule(
    "buildspec-unknown-key",
    "Each key is one that CodeBuild knows. Others it ignores.",
    "'{key}' is not known and is ignored",
    severity="warning",
)
REPEATED = _rule(
    "buildspec-repeated-key",
    "A key stands once in its mapping.",
    "'{key}' stood in line {line} already; this one counts",
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
    "No variable's name begins with CODEBUILD_.",
    "names that begin with CODEBUILD_ are reserved: what CodeBuild sets itself replaces it",
    severity="warning",
)
ENV_NAME = _rule(
    "buildspec-variable-name",
    "A variable's name is letters, digits and underscores, and begins with no digit.",
    "a shell cannot read a variable named '{name}'",
    severity="warning",
)
SHELL = _rule(
    "buildspec-shell",
    "`env.shell` is bash or /bin/sh, on Windows powershell.exe or cmd.exe.",
    "shell {shell} is not supported: use bash or /bin/sh (on Windows powershell.exe or cmd.exe)",
)
SECRET = _rule(
    "buildspec-secret",
    "A secret is referred to as secret-id:json-key:version-stage:version-id, with a stage or an id, or with neither.",
    "invalid reference to a secret: {why}",
)
REFERENCE = _rule(
    "buildspec-empty-reference",
    "`parameter-store` and `secrets-manager` name what is to be read.",
    "it names nothing to be read",
)
EXPORTED = _rule(
    "buildspec-exported-variable",
    "Variables whose name begins with AWS_ are not exported.",
    "'{name}' is not exported, since its name begins with AWS_",
    severity="warning",
)

# -- artifacts, cache and reports

ARTIFACT_FILES = _rule(
    "buildspec-artifact-files",
    "`artifacts` has `files`, also when only its secondary artifacts count.",
    "artifacts have no 'files', which are required",
)
ARTIFACT_IDENTIFIER = _rule(
    "buildspec-artifact-identifier",
    "A secondary artifact is named by up to 128 letters, digits and underscores.",
    "no output artifact of a project can have the identifier '{name}': letters, digits and underscores, up to 128",
    severity="warning",
)
CACHE_PATHS = _rule(
    "buildspec-cache-paths",
    "`cache` has `paths`.",
    "no paths specified to be cached: nothing is",
    severity="warning",
)
FALLBACK_KEYS = _rule(
    "buildspec-fallback-keys",
    "A cache has up to 5 `fallback-keys`.",
    "there are {count} fallback-keys; at most 5 are allowed",
)
FALLBACK_WITHOUT_KEY = _rule(
    "buildspec-fallback-without-key",
    "`fallback-keys` come with a `key`.",
    "fallback-keys are ignored without a 'key'",
    severity="warning",
)
CACHE_ACTION = _rule(
    "buildspec-cache-action",
    "A cache's `action` is restore or save; without it both happen.",
    "Invalid cache action {action}: restore and save are known",
)
REPORT_FORMAT = _rule(
    "buildspec-report-format",
    "A report's format is one that CodeBuild reads, in any case.",
    "Invalid report file-format {format}: {known} are known",
)
REPORT_FILES = _rule(
    "buildspec-report-files",
    "A report group has `files`.",
    "the report group has no 'files', which are required",
)
REPORT_COUNT = _rule(
    "buildspec-report-groups",
    "A buildspec has up to 5 report groups.",
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
    "Each build of a batch has an identifier of its own: up to 128 letters, digits and underscores.",
    "Invalid identifier: {why}",
)
BATCH_DEPENDENCY = _rule(
    "buildspec-batch-dependency",
    "`depend-on` names other builds of the graph.",
    "depends on '{name}', which is no other build of the graph",
)
BATCH_CYCLE = _rule(
    "buildspec-batch-cycle",
    "No build of a graph depends on itself by way of others.",
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
    "Invalid parallelism {value}: a number from 1 to 100 is needed",
)
BATCH_COMPUTE = _rule(
    "buildspec-batch-compute",
    "A build of a batch has a compute-type or a fleet.",
    "compute-type and fleet exclude each other",
)
