"""What an AppSpec would do with a bundle is checked before a host is touched."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_codepipeline.documents.reading import parse_document
from prefect_codepipeline.model.appspec.parsing import parse_appspec
from prefect_codepipeline.model.appspec.plan import Kind, problems_with_bundle

BUNDLE: dict[str, Kind] = {
    "appspec.yml": "file",
    "app": "directory",
    "app/run": "file",
    "app/lib": "directory",
    "app/lib/a.so": "file",
    "more": "directory",
    "more/run": "file",
    "more/lib": "file",
    "scripts": "directory",
    "scripts/stop.sh": "file",
}


def problems(body: str) -> list[str]:
    document = parse_document("version: 0.0\nos: linux\n" + body, "appspec.yml")
    spec, found = parse_appspec(document.content, document.unquoted)
    assert not any(problem.severity == "error" for problem in found), found
    assert spec
    return [str(problem) for problem in problems_with_bundle(spec, BUNDLE)]


FITS = [
    pytest.param("files:\n  - {source: /, destination: /srv}", id="everything"),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\n  - {source: more/run, destination: /srv/bin}", id="a file and a folder"
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\n  - {source: more/run, destination: /srv/lib}", id="into its folder"
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\n"
        "permissions:\n  - {object: /srv/run, mode: 755}\n  - {object: /srv/lib, mode: 644}",
        id="a file and a folder with permissions",
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\n"
        "permissions:\n  - {object: /srv, pattern: '*.sh'}\n  - {object: /srv, pattern: 'r*', type: [file]}",
        id="patterns that have nothing in common",
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\n"
        "permissions:\n  - {object: /srv, except: [run], type: [file]}\n  - {object: /srv/run, type: [file]}",
        id="an exception of one is the object of another",
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\n"
        "permissions:\n  - {object: /srv/run, type: [directory], pattern: '*'}\n  - {object: /else, pattern: '*'}",
        id="a permission that nothing gets",
    ),
    pytest.param("hooks:\n  ApplicationStop:\n    - location: scripts/stop.sh", id="a script"),
]  # fmt: skip


@pytest.mark.parametrize("body", FITS)
def test_what_fits_has_no_problems(body: str) -> None:
    assert problems(body) == []


WRONG: list[Any] = [
    pytest.param(
        "files:\n  - {source: /dist/app.war, destination: /srv}",
        ["files[0].source: the bundle has no 'dist/app.war': CodeDeploy would fail Install"],
        id="a source that is not there",
    ),
    pytest.param(
        "files:\n  - {source: /*, destination: /srv}",
        ["files[0].source: the bundle has no '*': CodeDeploy would fail Install (a source is no pattern; '/' is all of the bundle)"],
        id="a source that is a pattern",
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\n  - {source: more/run, destination: /srv}",
        ["files[1]: 'app/run' and 'more/run' are both for '/srv/run': CodeDeploy would fail Install"],
        id="two sources for one destination",
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\n  - {source: more, destination: /srv}",
        ["files[1]: '/srv/lib' would be the file 'more/lib' and a folder: CodeDeploy would fail Install",
         "files[1]: 'app/run' and 'more/run' are both for '/srv/run': CodeDeploy would fail Install"],
        id="a file where a folder goes",
    ),
    pytest.param(
        "files:\n  - {source: more/run, destination: /srv}\n  - {source: app, destination: /srv/run/below}",
        ["files[1]: '/srv/run' would be the file 'more/run' and a folder: CodeDeploy would fail Install"],
        id="a folder below a file",
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\npermissions:\n  - {object: /srv/run, pattern: '*', except: [x]}",
        ["permissions[0].pattern: '/srv/run' is a file, which takes no 'pattern': CodeDeploy would fail Install",
         "permissions[0].except: '/srv/run' is a file, which takes no 'except': CodeDeploy would fail Install"],
        id="a pattern on a single file",
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\npermissions:\n  - {object: /srv, acls: ['d:u:bob:r']}",
        ["permissions[0].acls: ACL 'default:user:bob:r--' is a default, which files cannot have, and applies to the file "
         "'/srv/run': CodeDeploy would fail Install; write 'type: [directory]'"],
        id="a default ACL on a file",
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\npermissions:\n  - {object: /srv}\n  - {object: /srv/lib, pattern: '*'}",
        ["permissions[1].object: '/srv/lib/a.so' has permissions from permissions[0] already: CodeDeploy would fail Install"],
        id="permissions given twice for a file",
    ),
    pytest.param(
        "files:\n  - {source: app, destination: /srv}\n"
        "permissions:\n  - {object: /srv, type: [directory]}\n  - {object: /srv, pattern: 'l*'}",
        ["permissions[1].object: '/srv/lib' has permissions from permissions[0] already: CodeDeploy would fail Install"],
        id="permissions given twice for a folder",
    ),
    pytest.param(
        "hooks:\n  ValidateService:\n    - location: scripts/test.sh\n    - location: scripts",
        ["hooks.ValidateService[0].location: the bundle has no file 'scripts/test.sh': ValidateService fails with ScriptMissing",
         "hooks.ValidateService[1].location: the bundle has no file 'scripts': ValidateService fails with ScriptMissing"],
        id="scripts that are not there",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), WRONG)
def test_what_cannot_be_deployed_is_listed(body: str, expected: list[str]) -> None:
    assert sorted(problems(body)) == sorted(expected)
