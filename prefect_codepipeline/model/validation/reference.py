"""Write docs/validation.md from the rules and the table of action types: `python -m …validation.reference`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from prefect_codepipeline.model.definition.action_types import ActionType, action_types, rule_types
from prefect_codepipeline.model.validation.rules import RULES, SUBJECTS, Rule

_HEAD = """\
# What is checked

<!-- Made by `make docs` from the rules themselves. Edit those. -->

`codepipeline validate FILE…` and `codepipeline deploy FILE…` look at a definition as a whole and list everything that
is wrong at once, each problem with its place, the exception that AWS would raise, and the nearest name that exists.

An **error** is what AWS would refuse. A *warning* is what AWS accepts, and what fails or surprises once the pipeline
runs. In messages `{…}` stands for what is found. A rule's name is what `--format json` and `--format sarif` call it.
"""
_FIELDS = """\
## Fields

Every field is checked first, against the bounds that AWS publishes for it: how long, how many, which characters, which
of a set. The exception is `ValidationException`, in AWS's words:

> Value 'a b' at 'pipeline.stages.2.member.name' failed to satisfy constraint: Member must satisfy regular expression
> pattern: [A-Za-z0-9.@\\-_]+

`codepipeline schema` prints all bounds as a JSON Schema. An unknown field is an error, with the nearest known one.
Fields that are wrong do not keep the rules below from being checked.
"""
# Said below the heading of a subject.
_ABOUT = {
    "Buildspecs": """\
Files with `buildspec` in their names, and with `--kind buildspec` all files, are checked as CodeBuild's buildspecs. An
error is what makes CodeBuild fail the build in its phase DOWNLOAD_SOURCE, before any command. A build from such a
buildspec fails here in the same way.
""",
}
_TYPES = """\
## The action types there are

Configuration keys: **bold** is required, *italic* is required in the case that is given. Action types of owner Custom
that are not in the table are taken with up to 5 artifacts in and out, and any configuration.
"""


def reference() -> str:
    """The text of docs/validation.md."""
    parts = [_HEAD, _FIELDS]
    for subject in SUBJECTS:
        rules = [rule for rule in RULES.values() if rule.subject == subject]
        about = [_ABOUT[subject]] if subject in _ABOUT else []
        parts.append("\n".join([f"## {subject}", "", *about, *_table_of_rules(rules), ""]))
    parts += [_TYPES, "\n".join([*_table_of_types(list(action_types().values())), ""])]
    parts += ["## The rule types there are\n", "\n".join([*_table_of_types(list(rule_types().values())), ""])]
    return "\n".join(parts)


def _table_of_rules(rules: list[Rule]) -> Iterator[str]:
    yield "| Rule | What it demands | Exception | Message |"
    yield "|---|---|---|---|"
    for rule in rules:
        kind = "*warning*" if rule.severity == "warning" else f"`{rule.exception}`"
        yield f"| `{rule.name}` | {_cell(rule.demands)} | {kind} | {_cell(rule.message)} |"


def _table_of_types(types: list[ActionType]) -> Iterator[str]:
    yield "| Type | Pipelines | In | Out | Configuration | Output variables |"
    yield "|---|---|---|---|---|---|"
    for kind in types:
        cells = [
            f"`{kind}`", ", ".join(kind.pipeline_types), _bounds(kind.input_artifacts),
            _bounds(kind.output_artifacts), _configuration(kind),
            ", ".join([*kind.output_variables, *filter(None, [kind.other_output_variables])]),
        ]  # fmt: skip
        yield f"| {' | '.join(map(_cell, cells))} |"


def _configuration(kind: ActionType) -> str:
    if kind.published:
        return "chosen by whoever publishes it"
    return ", ".join(
        f"**{key.key}**"
        if key.required
        else f"*{key.key}* ({key.required_when})"
        if key.required_when
        else key.key
        for key in kind.configuration
    )


def _bounds(bounds: tuple[int, int]) -> str:
    least, most = bounds
    return str(least) if least == most else f"{least} to {most}"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(reference())
