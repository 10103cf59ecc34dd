"""Which files of a build become which artifact, said as people say it in their buildspecs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from prefect_codepipeline.actions.codebuild.build.artifacts import artifact_texts, collect_artifacts
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.buildspec.parsing import parse_buildspec

FILES = (
    "template.yml", "params/dev.json", "params/dev.yml", "target/app.jar", "target/lib/dep.jar", ".env",
    "dist-a/index.html", "dist-a/.hidden", "dist-b/app.js", "src/x/y.py", "src/.git/config",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        place = tmp_path / "source" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
    return tmp_path / "source"


@pytest.fixture
def collect(root, tmp_path):
    """The relative names in each artifact; what was warned of is in `collect.warnings`."""

    def collect_from(artifacts: str, outputs=("Out",), texts=None):
        content = {"version": "0.2", "phases": {"build": {"commands": ["x"]}}}
        if artifacts:
            content["artifacts"] = yaml.load(artifacts, yaml.BaseLoader)
        spec, problems = parse_buildspec(content)
        assert spec, problems
        collect_from.warnings = []
        trees = collect_artifacts(
            spec, outputs, root, texts or {}, tmp_path / "scratch", collect_from.warnings.append
        )
        return {name: _names(tree) for name, tree in trees.items()}

    return collect_from


def _names(tree) -> list[str]:
    if tree.files is not None:
        return list(tree.files)
    found = (path for path in tree.directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(tree.directory).as_posix() for path in found)


@pytest.mark.parametrize(
    ("artifacts", "expected"),
    [
        pytest.param("{files: ['**/*']}", sorted(FILES), id="everything"),
        pytest.param("{files: '**/*'}", sorted(FILES), id="a text for a list"),
        pytest.param("{files: [template.yml, 'params/*.json']}", ["params/dev.json", "template.yml"], id="some"),
        pytest.param("{files: [target/*.jar]}", ["target/app.jar"], id="of one directory"),
        pytest.param("{files: ['target/*']}", ["target/app.jar"], id="no directory below"),
        pytest.param("{files: ['target/**/*']}", ["target/app.jar", "target/lib/dep.jar"], id="and below"),
        pytest.param("{files: [target]}", ["target/app.jar", "target/lib/dep.jar"], id="a directory's name"),
        pytest.param("{files: ['**/*.jar'], base-directory: target}", ["app.jar", "lib/dep.jar"], id="base"),
        pytest.param("{files: ['**/*'], base-directory: ./target/}", ["app.jar", "lib/dep.jar"], id="dot base"),
        pytest.param("{files: ['**/*'], base-directory: 'dist-*'}", [".hidden", "app.js", "index.html"], id="bases"),
        pytest.param("{files: [target/**/*], discard-paths: yes}", ["app.jar", "dep.jar"], id="no paths"),
        pytest.param("{files: ['src/**/*'], exclude-paths: ['**/.*/**']}", ["src/x/y.py"], id="excluded"),
        pytest.param("{files: ['**/*'], exclude-paths: ['src/**/*', target, 'dist*/**/*', '**/.*']}",
                     ["params/dev.json", "params/dev.yml", "template.yml"], id="much excluded"),
        pytest.param("{files: ['{source}/template.yml']}", ["template.yml"], id="absolute"),
        pytest.param("{files: ['*.yml'], base-directory: '{source}/params'}", ["dev.yml"], id="absolute base"),
    ],
)  # fmt: skip
def test_files_are_taken_as_codebuild_takes_them(collect, root, artifacts, expected):
    assert collect(artifacts.replace("{source}", str(root))) == {"Out": expected}


def test_one_output_is_the_whole_and_several_are_the_secondary_ones(collect):
    artifacts = "{files: ['*.yml'], secondary-artifacts: {A: {files: [params/*]}, B: {files: [src/x/y.py]}, C: {files: [no]}}}"

    assert collect(artifacts) == {"Out": ["template.yml"]}
    assert collect(artifacts, ("A", "B")) == {"A": ["params/dev.json", "params/dev.yml"], "B": ["src/x/y.py"]}
    assert collect(artifacts, ()) == {}
    assert collect("", ("A", "B")) == {}
    with pytest.raises(
        ActionFailed, match="no secondary-artifacts for 'my-app'; it has: A, B, C; CodeBuild allows"
    ):
        collect(artifacts, ("A", "my-app"))


def test_secondary_artifacts_alone_are_enough(collect):
    """The CDK writes them so, and CodeBuild takes them."""
    artifacts = (
        "{secondary-artifacts: {Main: {base-directory: target, files: '**/*'}, Test: {files: 'params/*'}}}"
    )

    expected = {"Main": ["app.jar", "lib/dep.jar"], "Test": ["params/dev.json", "params/dev.yml"]}
    assert collect(artifacts, ("Main", "Test")) == expected
    assert collect(artifacts, ("Test",)) == {"Test": expected["Test"]}
    assert collect(artifacts, None) == expected
    assert collect(artifacts, ()) == {}
    with pytest.raises(ActionFailed, match=r"an output artifact, but .* no secondary-artifacts for 'Out'"):
        collect(artifacts)


def test_texts_with_variables_are_expanded_by_the_shell(collect, root):
    artifacts = "{files: ['$DIR/*.jar', plain], base-directory: '${CODEBUILD_SRC_DIR}'}"
    spec, _ = parse_buildspec(
        {"version": "0.2", "phases": {"build": {"commands": ["x"]}}, "artifacts": yaml.safe_load(artifacts)}
    )

    assert artifact_texts(spec) == {"0-files-0": "$DIR/*.jar", "0-base": "${CODEBUILD_SRC_DIR}"}
    assert collect(artifacts, texts={"0-files-0": "target/*.jar", "0-base": str(root)}) == {
        "Out": ["target/app.jar"]
    }
    assert collect.warnings == ["artifact 'Out': no file matches 'plain'"]
    with pytest.raises(ActionFailed, match="could not expand"):
        collect(artifacts, texts={"0-base": str(root)})


@pytest.mark.parametrize(
    ("artifacts", "message", "code"),
    [
        ("{files: ['*.none', other]}", "no matching artifact paths found: '\\*.none', 'other' match", "JobFailed"),
        ("{files: ['**/*'], exclude-paths: ['**/*']}", "no matching artifact paths found: .* after exclude-paths is applied", "JobFailed"),
        ("{files: ['**/*'], base-directory: nowhere}", "no matching base directory path found for 'nowhere'", "JobFailed"),
        ("{files: ['**/*'], base-directory: ../..}", "it is outside the source", "ConfigurationError"),
        ("{files: ['**/*'], base-directory: /etc}", "it is outside the source", "ConfigurationError"),
        ("{files: ['**/*'], base-directory: out}", "it leads out of the source", "ConfigurationError"),
        ("{files: ['../x']}", "it is outside the source", "ConfigurationError"),
        ("{files: [/etc/passwd]}", "it is outside the source", "ConfigurationError"),
        ("{files: ['a[']}", "is not a pattern", "ConfigurationError"),
        ("{files: ['links/*']}", "links/passwd is a link that leads out of the source, to /etc/passwd", "JobFailed"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused(collect, root, artifacts, message, code):
    (root / "out").symlink_to("/etc")
    (root / "links").mkdir()
    (root / "links/passwd").symlink_to("/etc/passwd")

    with pytest.raises(ActionFailed, match=message) as caught:
        collect(artifacts)

    assert caught.value.code == code


def test_a_link_out_of_the_artifact_becomes_what_it_leads_to(collect, root, tmp_path):
    (root / "dist-a/jar").symlink_to("../target/app.jar")
    (root / "dist-a/lib").symlink_to("../target/lib")
    (root / "dist-a/page").symlink_to("index.html")
    (root / "dist-a/dangling").symlink_to("../nothing")

    names = collect("{files: ['**/*'], base-directory: dist-a}")["Out"]

    assert names == [".hidden", "index.html", "jar", "lib/dep.jar", "page"]
    assert (tmp_path / "scratch/artifact-0/jar").read_text() == "target/app.jar"
    assert collect.warnings == ["artifact 'Out': dangling is a broken link and is left out"]


def test_links_that_stay_in_the_artifact_are_links(collect, root):
    (root / "target/link").symlink_to("app.jar")

    assert collect("{files: ['target/**/*']}") == {
        "Out": ["target/app.jar", "target/lib/dep.jar", "target/link"]
    }
    assert os.readlink(root / "target/link") == "app.jar"


def test_of_two_files_of_one_name_the_last_stays_and_that_is_said(collect, root, tmp_path):
    (root / "src/x/app.jar").write_text("other")

    assert collect("{files: ['src/**/*.jar', 'target/*'], discard-paths: yes}") == {"Out": ["app.jar"]}
    assert collect.warnings == ["artifact 'Out': target/app.jar replaced another file with the same name"]


def test_bases_that_are_merged_write_nothing_outside(collect, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "target/lib/evil").symlink_to(outside)
    (root / "dist-a/lib").symlink_to("../target/lib")
    (root / "dist-b/lib/evil").mkdir(parents=True)
    (root / "dist-b/lib/evil/file").write_text("x")

    with pytest.raises(
        ActionFailed, match="needs the folder 'evil', which is a file or a link in another base directory"
    ):
        collect("{files: ['**/*'], base-directory: 'dist-*'}")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "artifacts", "message"),
    [
        (lambda root: (root / "loop").symlink_to("loop"), "{files: ['**/*']}", None),
        (
            lambda root: None,
            "{files: ['**/*'], base-directory: 'a**b'}",
            "no matching base directory path found",
        ),
        (
            lambda root: (root / "dist-b/index.html").mkdir(),
            "{files: ['**/*'], base-directory: 'dist-*'}",
            None,
        ),
        (lambda root: None, "{files: ['']}", "no matching artifact paths found"),
    ],
    ids=["a link to itself", "stars", "an empty folder", "an empty pattern"],
)
def test_odd_trees_and_patterns_end_in_a_sentence(collect, root, make, artifacts, message):
    make(root)
    if message:
        with pytest.raises(ActionFailed, match=message):
            collect(artifacts)
    else:
        assert collect(artifacts)


def test_a_file_here_and_a_folder_there_cannot_be_merged(collect, root):
    (root / "dist-b/index.html").mkdir()
    (root / "dist-b/index.html/x").write_text("x")

    with pytest.raises(ActionFailed, match=r"index\.html"):
        collect("{files: ['**/*'], base-directory: 'dist-*'}")


def test_an_absolute_link_becomes_what_it_leads_to(collect, root, tmp_path):
    (root / "target/absolute").symlink_to(root / "target/app.jar")
    (root / "target/lib/link").symlink_to("dep.jar")

    assert collect("{files: ['target/**/*']}")["Out"] == [
        "target/absolute",
        "target/app.jar",
        "target/lib/dep.jar",
        "target/lib/link",
    ]
    laid = tmp_path / "scratch/artifact-0/target"
    assert (laid / "absolute").read_text() == "target/app.jar"
    assert not (laid / "absolute").is_symlink()
    assert os.readlink(laid / "lib/link") == "dep.jar"
