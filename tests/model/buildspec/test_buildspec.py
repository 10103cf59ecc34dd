"""A buildspec as plain data: what is read from it, what is refused or ignored, and which phase follows which."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.model.buildspec.parsing import parse_buildspec, parse_on_failure
from prefect_codepipeline.model.buildspec.parts import (
    ArtifactFiles,
    BatchEnv,
    BuildEnv,
    Cache,
    OnFailure,
    ReportGroup,
    next_phase,
)
from prefect_codepipeline.model.validation import RULES

BUILD = {"build": {"commands": ["make"]}}


def _spec(**more: Any) -> dict[str, Any]:
    return {
        "version": "0.2",
        "phases": BUILD,
        **{key.replace("_", "-"): value for key, value in more.items()},
    }


def _phase(**more: Any) -> dict[str, Any]:
    keys = {key.replace("_", "-"): value for key, value in more.items()}
    return _spec(phases={"build": {"commands": ["make"], **keys}})


def _read(data: object) -> Any:
    spec, problems = parse_buildspec(data)
    assert spec, problems
    assert not problems
    return spec


# -- what is read


def test_phases_are_in_the_order_in_which_they_run() -> None:
    phases = {
        "post_build": {"commands": "a", "run-as": "me", "on-failure": "CONTINUE"},
        "build": {"commands": ["b", 1, True]},
        "install": {"finally": ["c"], "runtime-versions": {"python": "3.12", "nodejs": 18}},
    }
    spec = _read(_spec(phases=phases, run_as="root"))

    assert [(phase.name, phase.commands, phase.finally_commands) for phase in spec.phases] == [
        ("install", (), ("c",)),
        ("build", ("b", "1", "true"), ()),
        ("post_build", ("a",), ()),
    ]
    assert spec.phases[0].runtime_versions == {"python": "3.12", "nodejs": "18"}
    assert (spec.run_as, spec.phases[2].run_as, spec.phases[2].on_failure) == (
        "root",
        "me",
        OnFailure("CONTINUE"),
    )


@pytest.mark.parametrize("version", ["0.1", "0.2", 0.1, 0.2, " 0.2 "])
def test_versions_are_texts_or_numbers(version: object) -> None:
    assert _read({"version": version, "phases": BUILD}).version == str(version).strip()


def test_version_0_1_names_variables_otherwise() -> None:
    spec = _read({"version": "0.1", "environment_variables": {"plaintext": {"A": "1"}}, "phases": BUILD})
    assert spec.env.variables == {"A": "1"}


def test_env() -> None:
    env = {
        "shell": "bash",
        "variables": {"A": "$PATH", "EMPTY": None, "N": 1},
        "parameter-store": {"P": "/a/b"},
        "secrets-manager": {
            "S": "id:key:AWSCURRENT",
            "T": "arn:aws:secretsmanager:eu-west-1:1:secret:s-abc:key::id",
        },
        "exported-variables": ["A", "B"],
        "git-credential-helper": "yes",
    }
    assert _read(_spec(env=env)).env == BuildEnv(
        "bash",
        {"A": "$PATH", "EMPTY": "", "N": "1"},
        {"P": "/a/b"},
        {"S": "id:key:AWSCURRENT", "T": "arn:aws:secretsmanager:eu-west-1:1:secret:s-abc:key::id"},
        ("A", "B"),
        True,
    )


@pytest.mark.parametrize(
    ("files", "meaning"),
    [(["a", "b/**/*"], ("a", "b/**/*")), ("**/*", ("**/*",)), ("a.zip, b.txt", ("a.zip", "b.txt"))],
)
def test_files_are_a_list_or_a_text(files: object, meaning: tuple[str, ...]) -> None:
    assert _read(_spec(artifacts={"files": files})).artifacts == ArtifactFiles(meaning)


def test_artifacts() -> None:
    artifacts = {
        "files": ["a"], "name": "n-$(date)", "discard-paths": "yes", "base-directory": "out*", "exclude-paths": ["**/.*"],
        "enable-symlinks": True, "s3-prefix": "p", "secondary-artifacts": {"two": {"files": ["b"], "discard-paths": "no"}},
    }  # fmt: skip
    spec = _read(_spec(artifacts=artifacts))
    assert spec.artifacts == ArtifactFiles(("a",), "n-$(date)", True, "out*", ("**/.*",), True, "p")
    assert spec.secondary_artifacts == {"two": ArtifactFiles(("b",))}


def test_cache_and_reports() -> None:
    cache = {"paths": ["/root/.m2/**/*"], "key": "k", "fallback-keys": ["f"], "action": "save"}
    reports = {
        "arn:aws:codebuild:eu-west-1:1:report-group/r": {"files": ["**/*"]},
        "r": {"files": "a.xml", "file-format": "CucumberJson", "base-directory": "d", "discard-paths": "yes"},
    }
    spec = _read(_spec(cache=cache, reports=reports))
    assert spec.cache == Cache(("/root/.m2/**/*",), "k", ("f",), "save")
    assert spec.reports == (
        ReportGroup("arn:aws:codebuild:eu-west-1:1:report-group/r", ("**/*",)),
        ReportGroup("r", ("a.xml",), "d", True, "CUCUMBERJSON"),
    )


# -- batches


def test_a_list_of_builds() -> None:
    builds = [
        {"identifier": "a", "buildspec": "a.yml", "ignore-failure": "true", "debug-session": False},
        {"identifier": "b", "env": {"compute-type": "BUILD_GENERAL1_SMALL", "image": "i", "privileged-mode": "true",
                                    "type": "LINUX_CONTAINER", "variables": {"V": 1}}},
    ]  # fmt: skip
    batch = _read(_spec(batch={"fast-fail": True, "build-list": builds})).batch
    assert (batch.kind, batch.fast_fail) == ("build-list", True)
    assert [(b.identifier, b.buildspec, b.ignore_failure) for b in batch.builds] == [
        ("a", "a.yml", True),
        ("b", None, False),
    ]
    assert batch.builds[1].env == BatchEnv("BUILD_GENERAL1_SMALL", "i", True, "LINUX_CONTAINER", {"V": "1"})


def test_a_graph_of_builds_with_buildspecs_of_their_own_needs_no_phases() -> None:
    builds = [
        {"identifier": "last", "buildspec": "a.yml", "depend-on": ["first"]},
        {"identifier": "first", "buildspec": "b.yml"},
    ]
    spec = _read({"version": 0.2, "batch": {"build-graph": builds}})
    assert spec.phases == ()
    assert [build.depend_on for build in spec.batch.builds] == [("first",), ()]


def test_a_matrix_is_the_product_of_what_varies() -> None:
    matrix = {
        "static": {
            "ignore-failure": "true",
            "env": {"type": "ARM_CONTAINER", "privileged-mode": "false", "variables": {"V": "0", "X": "x"}},
        },
        "dynamic": {
            "buildspec": ["one.yml", "two.yml"],
            "env": {"image": ["i"], "compute-type": "c", "variables": {"V": ["1", "2"], "W": ["3"]}},
        },
    }
    batch = _read(_spec(batch={"build-matrix": matrix})).batch
    assert [(b.identifier, b.buildspec, b.env.variables, b.ignore_failure) for b in batch.builds] == [
        ("build_1", "one.yml", {"V": "1", "W": "3", "X": "x"}, True),
        ("build_2", "one.yml", {"V": "2", "W": "3", "X": "x"}, True),
        ("build_3", "two.yml", {"V": "1", "W": "3", "X": "x"}, True),
        ("build_4", "two.yml", {"V": "2", "W": "3", "X": "x"}, True),
    ]
    assert {(b.env.image, b.env.compute_type, b.env.type, b.env.privileged_mode) for b in batch.builds} == {
        ("i", "c", "ARM_CONTAINER", False)
    }


def test_a_fanout_is_as_many_equal_builds() -> None:
    batch = _read(_spec(batch={"build-fanout": {"parallelism": 3, "ignore-failure": "yes"}})).batch
    assert [build.identifier for build in batch.builds] == ["build_1", "build_2", "build_3"]
    assert all(build.ignore_failure for build in batch.builds)


# -- what is wrong


def _list(*builds: Any, kind: str = "build-list") -> dict[str, Any]:
    return _spec(batch={kind: list(builds)})


# The rule, a buildspec that breaks it, the place, a part of what is said.
CASES: list[tuple[str, object, str, str]] = [
    ("buildspec-shape", [], "", "Expected the buildspec to be a mapping with 'version' and 'phases': found a list"),
    ("buildspec-shape", None, "", "found nothing"),
    ("buildspec-shape", _spec(env=["A"]), "env", "Expected env to be a mapping: found a list instead"),
    ("buildspec-shape", _spec(phases="make"), "phases", "found the text 'make'"),
    ("buildspec-shape", _spec(phases={"build": ["make"]}), "phases.build", "found a list"),
    ("buildspec-shape", _spec(env={"variables": {"A": ["b"]}}), "env.variables.A", "to be of string type"),
    ("buildspec-shape", _list(kind="build-list") | _spec(batch={"build-list": "a"}), "batch.build-list", "a list"),
    ("buildspec-version", {"version": "0.3", "phases": BUILD}, "version", "'0.3' is not supported"),
    ("buildspec-version", {"phases": BUILD}, "version", "(none)"),
    ("buildspec-phases", {"version": "0.2"}, "phases", "wrong number of container tags, expected 1"),
    ("buildspec-phases", {"version": "0.2", "batch": {"build-fanout": {"parallelism": 2}}}, "phases", "no phases"),
    ("buildspec-phase-name", _spec(phases={**BUILD, "prebuild": {}}), "phases.prebuild",
     "Invalid buildspec phase name: prebuild. Expecting: build,install,post_build,pre_build (did you mean 'pre_build'?)"),
    ("buildspec-phase-name", _spec(phases={**BUILD, "artifacts": {}}), "phases.artifacts", "belongs beside 'phases'"),
    ("buildspec-command", _spec(phases={"build": {"commands": ["a", {"echo 1": "2"}]}}), "phases.build.commands[1]",
     "Expected Commands[1] to be of string type: found subkeys instead (put quotes around the command"),
    ("buildspec-command", _phase(finally_=[]) | _spec(phases={"install": {"finally": [["a"]]}}),
     "phases.install.finally[0]", "found a list"),
    ("buildspec-command", _spec(phases={"build": {"commands": {"a": 1, "b": 2}}}), "phases.build.commands", "subkeys"),
    ("buildspec-commands", _spec(phases={"pre_build": {}}), "phases.pre_build.commands", "are required"),
    ("buildspec-commands", _spec(phases={"build": {"finally": ["a"]}}), "phases.build.commands", "are required"),
    ("buildspec-no-commands", _spec(phases={"build": {"commands": None}}), "phases.build.commands",
     "No commands found for phase name: build"),
    ("buildspec-no-commands", _spec(phases={"build": {"commands": []}}), "phases.build.commands", "build"),
    ("buildspec-no-commands", _spec(phases={"build": None}), "phases.build.commands", "build"),
    ("buildspec-on-failure", _phase(on_failure="RETRY-101"), "phases.build.on-failure", "'RETRY-101'"),
    ("buildspec-on-failure", _phase(on_failure="abort"), "phases.build.on-failure", "did you mean 'ABORT'?"),
    ("buildspec-runtime-versions", _phase(runtime_versions={"java": "8"}), "phases.build.runtime-versions", "install"),
    ("buildspec-unknown-key", _spec(artefacts={}), "artefacts", "did you mean 'artifacts'?"),
    ("buildspec-unknown-key", _spec(env={"variable": {}}), "env.variable", "did you mean 'variables'?"),
    ("buildspec-unknown-key", _phase(command=["a"]), "phases.build.command", "did you mean 'commands'?"),
    ("buildspec-unknown-key", _spec(build={}), "build", "write phases in 'phases'"),
    ("buildspec-unknown-key", _spec() | {"environment_variables": {}}, "environment_variables", "use 'variables' in 'env'"),
    ("buildspec-unknown-key", _spec(proxy={"log": "yes"}), "proxy.log", "'logs'"),
    ("buildspec-unknown-key", _spec(artifacts={"files": "a", "type": "zip"}), "artifacts.type", "is ignored"),
    ("buildspec-unknown-key", _spec(cache={"paths": ["a"], "keys": "b"}), "cache.keys", "'key'"),
    ("buildspec-unknown-key", _spec(reports={"r": {"files": "a", "format": "b"}}), "reports.r.format", "'file-format'"),
    ("buildspec-unknown-key", _list({"identifier": "a", "depend-on": ["b"]}), "batch.build-list[0].depend-on", ""),
    ("buildspec-flag", _spec(artifacts={"files": "a", "discard-paths": "maybe"}), "artifacts.discard-paths", "yes or no"),
    ("buildspec-reserved-variable", _spec(env={"variables": {"CODEBUILD_X": "1"}}), "env.variables.CODEBUILD_X", ""),
    ("buildspec-variable-name", _spec(env={"variables": {"A-B": "1"}}), "env.variables.A-B", "'A-B'"),
    ("buildspec-shell", _spec(env={"shell": "zsh"}), "env.shell", "'zsh'"),
    ("buildspec-secret", _spec(env={"secrets-manager": {"S": "i:k:s:v"}}), "env.secrets-manager.S", "not both"),
    ("buildspec-secret", _spec(env={"secrets-manager": {"S": "i:k:s::x"}}), "env.secrets-manager.S", "more than"),
    ("buildspec-secret", _spec(env={"secrets-manager": {"S": ":k"}}), "env.secrets-manager.S", "no secret-id"),
    ("buildspec-secret", _spec(env={"secrets-manager": {"S": "arn:aws:secretsmanager:r:1:secret:s:k:a:b"}}),
     "env.secrets-manager.S", "not both"),
    ("buildspec-empty-reference", _spec(env={"parameter-store": {"P": None}}), "env.parameter-store.P", "the reference is empty"),
    ("buildspec-exported-variable", _spec(env={"exported-variables": ["A", "AWS_X"]}), "env.exported-variables[1]", ""),
    ("buildspec-artifact-files", _spec(artifacts={"name": "n"}), "artifacts.files", "required"),
    ("buildspec-only-secondary-artifacts", _spec(artifacts={"secondary-artifacts": {"a": {"files": "b"}}}),
     "artifacts.files", "AWS's reference requires these"),
    ("buildspec-artifact-files", _spec(artifacts={"files": "a", "secondary-artifacts": {"a": None}}),
     "artifacts.secondary-artifacts.a.files", "required"),
    ("buildspec-artifact-identifier", _spec(artifacts={"files": "a", "secondary-artifacts": {"a-b": {"files": "c"}}}),
     "artifacts.secondary-artifacts.a-b", "'a-b'"),
    ("buildspec-cache-paths", _spec(cache={"key": "k"}), "cache.paths", "no paths"),
    ("buildspec-fallback-keys", _spec(cache={"paths": "a", "key": "k", "fallback-keys": list("abcdef")}),
     "cache.fallback-keys", "6"),
    ("buildspec-fallback-without-key", _spec(cache={"paths": "a", "fallback-keys": ["b"]}), "cache.fallback-keys", ""),
    ("buildspec-cache-action", _spec(cache={"paths": "a", "action": "saves"}), "cache.action", "did you mean 'save'?"),
    ("buildspec-report-format", _spec(reports={"r": {"files": "a", "file-format": "JUNIT"}}), "reports.r.file-format",
     "did you mean 'JUNITXML'?"),
    ("buildspec-report-files", _spec(reports={"r": {}}), "reports.r.files", "required"),
    ("buildspec-report-groups", _spec(reports={f"r{n}": {"files": "a"} for n in range(6)}), "reports", "6 report groups"),
    ("buildspec-batch-kind", _spec(batch={"fast-fail": "true"}), "batch", "found none"),
    ("buildspec-batch-kind", _spec(batch={"build-list": [], "build-graph": []}), "batch", "build-list and build-graph"),
    ("buildspec-batch-identifier", _list({"buildspec": "a"}), "batch.build-list[0].identifier", "is required"),
    ("buildspec-batch-identifier", _list({"identifier": "a-b"}), "batch.build-list[0].identifier", "'a-b'"),
    ("buildspec-batch-identifier", _list({"identifier": "a"}, {"identifier": "a"}), "batch.build-list[1].identifier",
     "earlier build"),
    ("buildspec-batch-dependency", _list({"identifier": "one", "depend-on": ["tow"]}, {"identifier": "two"},
                                         kind="build-graph"), "batch.build-graph[0].depend-on[0]", "did you mean 'two'?"),
    ("buildspec-batch-dependency", _list({"identifier": "a", "depend-on": "a"}, kind="build-graph"),
     "batch.build-graph[0].depend-on[0]", "not another build"),
    ("buildspec-batch-cycle", _list({"identifier": "a", "depend-on": ["c"]}, {"identifier": "b", "depend-on": ["a"]},
                                    {"identifier": "c", "depend-on": ["b"]}, {"identifier": "d"}, kind="build-graph"),
     "batch.build-graph", "a, b, c"),
    ("buildspec-batch-size", _list(), "batch.build-list", "0 builds"),
    ("buildspec-batch-size", _list(*[{"identifier": f"b{n}"} for n in range(101)]), "batch.build-list", "101 builds"),
    ("buildspec-batch-size", _spec(batch={"build-matrix": {"dynamic": {"env": {"variables": {
        name: list("0123456789") for name in "ABCDEFGH"}}}}}), "batch.build-matrix.dynamic", "100000000 builds"),
    ("buildspec-batch-size", _spec(batch={"build-matrix": {}}), "batch.build-matrix.dynamic", "0 builds"),
    ("buildspec-batch-parallelism", _spec(batch={"build-fanout": {"parallelism": "many"}}),
     "batch.build-fanout.parallelism", "'many'"),
    ("buildspec-batch-parallelism", _spec(batch={"build-fanout": {"parallelism": 101}}),
     "batch.build-fanout.parallelism", "'101'"),
    ("buildspec-batch-compute", _list({"identifier": "a", "env": {"fleet": "f", "compute-type": "c"}}),
     "batch.build-list[0].env", "not both"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "data", "path", "said"), CASES, ids=[f"{index}-{case[0]}" for index, case in enumerate(CASES)]
)
def test_what_is_wrong_is_found_at_its_place(rule: str, data: object, path: str, said: str) -> None:
    spec, problems = parse_buildspec(data)

    assert [(problem.rule, problem.path) for problem in problems] == [(rule, path)]
    assert said in str(problems[0])
    assert (spec is None) == (problems[0].severity == "error")
    assert problems[0].severity == RULES[rule].severity


def test_every_rule_has_a_case() -> None:
    of_buildspecs = {name for name, rule in RULES.items() if rule.subject == "Buildspecs"}
    # A mapping has each key once: that one stands twice is seen in files only.
    assert {case[0] for case in CASES} == of_buildspecs - {"buildspec-repeated-key"}


def test_what_is_ignored_is_not_in_the_buildspec() -> None:
    spec, _ = parse_buildspec(
        _phase(runtime_versions={"java": "8"})
        | {"env": {"exported-variables": ["AWS_X", "A"]}, "cache": {"paths": ["p"], "fallback-keys": ["f"]}}
    )
    assert spec
    assert spec.phases[0].runtime_versions == {}
    assert spec.env.exported_variables == ("A",)
    assert spec.cache == Cache(("p",))


def test_all_problems_are_found_at_once_and_not_too_many() -> None:
    spec, problems = parse_buildspec({"phases": {f"phase{n}": {} for n in range(5000)}, "env": [], "x": 1})
    assert spec is None
    assert len(problems) == 1000
    assert {problem.rule for problem in problems} == {
        "buildspec-version", "buildspec-unknown-key", "buildspec-phase-name",
    }  # fmt: skip


# -- what never happens

KEYS = st.sampled_from([
    "version", "phases", "build", "install", "commands", "finally", "on-failure", "env", "variables", "shell",
    "secrets-manager", "artifacts", "files", "secondary-artifacts", "reports", "r", "cache", "paths", "fallback-keys",
    "batch", "build-list", "build-graph", "build-matrix", "build-fanout", "identifier", "depend-on", "static", "dynamic",
    "parallelism", "buildspec", "image", "fleet", "action", "key",
])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | KEYS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=30,
)


@given(VALUES | st.builds(lambda data: {"version": "0.2", **data}, st.dictionaries(KEYS, VALUES)))
def test_no_data_makes_it_raise(data: object) -> None:
    spec, problems = parse_buildspec(data)
    assert (spec is None) == any(problem.severity == "error" for problem in problems)
    assert all(problem.rule in RULES and str(problem) for problem in problems)


def test_a_number_of_thousands_of_digits_is_but_a_text() -> None:
    assert _read(_spec(env={"variables": {"A": 10**5000}})).env.variables["A"].startswith("0x")


@given(st.text() | st.from_regex(r"RETRY-.*"))
def test_no_text_makes_on_failure_raise(text: str) -> None:
    parse_on_failure(text)


def test_a_large_buildspec_takes_no_time() -> None:
    builds = [{"identifier": f"b{n}", "depend-on": [f"b{n - 1}", "x" * 50]} for n in range(20_000)]
    data = _list(*builds, kind="build-graph") | {f"unknown-{n}": "x" for n in range(20_000)}
    start = time.process_time()
    parse_buildspec(data)
    assert time.process_time() - start < 1


# -- phases

ON_FAILURE: list[tuple[str, OnFailure | None]] = [
    ("ABORT", OnFailure("ABORT")),
    ("CONTINUE", OnFailure("CONTINUE")),
    ("RETRY", OnFailure("RETRY", 3, ".*")),
    ("RETRY-0", OnFailure("RETRY", 0, ".*")),
    ("RETRY-1", OnFailure("RETRY", 1, ".*")),
    ("RETRY-100", OnFailure("RETRY", 100, ".*")),
    ("RETRY-.*time-out.*", OnFailure("RETRY", 3, ".*time-out.*")),
    ("RETRY-5xx", OnFailure("RETRY", 3, "5xx")),
    ("RETRY-2-.*time-out.*", OnFailure("RETRY", 2, ".*time-out.*")),
    ("RETRY-2-5", OnFailure("RETRY", 2, "5")),
    ("RETRY-101", None),
    ("RETRY-" + "9" * 5000, None),
    ("RETRY-(", None),
    ("RETRY-a{99999999999999}", None),
    ("RETRY-" + "(a|b)" * 100_000, None),
    ("RETRY-2-(", None),
    ("RETRY-", None),
    ("retry", None),
    ("STOP", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "meaning"), ON_FAILURE, ids=[text[:20] for text, _ in ON_FAILURE])
def test_on_failure_has_these_forms(text: str, meaning: OnFailure | None) -> None:
    assert parse_on_failure(text) == meaning


# Every cell of the table of transitions, with each form of `on-failure`: the phase, then what follows its success,
# its failure without `on-failure`, and its failure with ABORT, CONTINUE, and RETRY that has no retry left.
TRANSITIONS = [
    ("SUBMITTED", "QUEUED", "COMPLETED", "COMPLETED", "COMPLETED", "COMPLETED"),
    ("QUEUED", "PROVISIONING", "COMPLETED", "COMPLETED", "COMPLETED", "COMPLETED"),
    ("PROVISIONING", "DOWNLOAD_SOURCE", "COMPLETED", "COMPLETED", "COMPLETED", "COMPLETED"),
    ("DOWNLOAD_SOURCE", "INSTALL", "FINALIZING", "FINALIZING", "FINALIZING", "FINALIZING"),
    ("INSTALL", "PRE_BUILD", "FINALIZING", "FINALIZING", "PRE_BUILD", "FINALIZING"),
    ("PRE_BUILD", "BUILD", "FINALIZING", "FINALIZING", "BUILD", "FINALIZING"),
    ("BUILD", "POST_BUILD", "POST_BUILD", "FINALIZING", "POST_BUILD", "FINALIZING"),
    ("POST_BUILD", "UPLOAD_ARTIFACTS", "UPLOAD_ARTIFACTS", "FINALIZING", "UPLOAD_ARTIFACTS", "FINALIZING"),
    ("UPLOAD_ARTIFACTS", "FINALIZING", "FINALIZING", "FINALIZING", "FINALIZING", "FINALIZING"),
    ("FINALIZING", "COMPLETED", "COMPLETED", "COMPLETED", "COMPLETED", "COMPLETED"),
]


@pytest.mark.parametrize(
    ("phase", "success", "failure", "abort", "goes_on", "retried"),
    TRANSITIONS,
    ids=[row[0] for row in TRANSITIONS],
)
def test_which_phase_follows(
    phase: str, success: str, failure: str, abort: str, goes_on: str, retried: str
) -> None:
    for _, on_failure in [("", None), *ON_FAILURE]:
        assert next_phase(phase, True, on_failure) == success
    assert next_phase(phase, False) == failure
    for text, on_failure in ON_FAILURE:
        if on_failure:
            expected = {"ABORT": abort, "CONTINUE": goes_on, "RETRY": retried}[on_failure.action]
            assert next_phase(phase, False, on_failure) == expected, text


def test_many_warnings_do_not_hide_an_error() -> None:
    data = {"version": "0.2", **{f"key{number}": "" for number in range(1100)}}
    spec, problems = parse_buildspec(data)

    assert spec is None
    assert len(problems) == 1000
    assert [problem.path for problem in problems if problem.severity == "error"] == ["phases"]
