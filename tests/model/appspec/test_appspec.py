"""An AppSpec is parsed as CodeDeploy's agent parses it, and everything wrong is reported at once with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.documents.reading import parse_document
from prefect_codepipeline.model.appspec.lifecycle import EVENTS, SCRIPTABLE, events_of_host
from prefect_codepipeline.model.appspec.parsing import parse_appspec
from prefect_codepipeline.model.appspec.parts import AppSpec, Context, FileMapping, Permission, Script
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation import RULES

WHOLE = """\
version: 0.0
os: linux
files:
  - source: /
    destination: /srv/app/
  - source: ./conf//app.conf
    destination: /etc/../etc/app
file_exists_behavior: OVERWRITE
permissions:
  - object: /srv/app
    pattern: "*.sh"
    except: [secret.sh, "x*"]
    owner: deploy
    group: www
    mode: 755
    acls: ["u:bob:rw", "g:staff:5", "m::rx"]
    context: {user: system_u, type: httpd_sys_content_t, range: "s0-s1:c0.c5,c7"}
    type: [file]
hooks:
  BeforeInstall:
    - location: scripts/stop.sh
      timeout: 300
      runas: root
  AfterInstall:
    - location: /scripts/a.sh
      timeout: "60"
      sudo: true
    - location: scripts/b.sh
"""
MINIMAL = "version: 0.0\nos: linux\n"
SEEN: set[str] = set()


def parsed(text: str) -> tuple[AppSpec | None, list[str]]:
    """The AppSpec of a text, and its problems with their places."""
    document = parse_document(text, "appspec.yml")
    spec, problems = parse_appspec(document.content, document.unquoted)
    SEEN.update(problem.rule for problem in problems)
    return spec, [shown(problem, document.place_of(problem.path)) for problem in problems]


def shown(problem: Problem, place: tuple[int, int]) -> str:
    mark = "W " if problem.severity == "warning" else ""
    return f"{place[0]}:{place[1]} {mark}{problem}"


def test_all_parts_are_parsed() -> None:
    spec, problems = parsed(WHOLE)

    assert problems == []
    assert spec == AppSpec(
        files=(FileMapping("", "/srv/app"), FileMapping("conf/app.conf", "/etc/app")),
        file_exists_behavior="OVERWRITE",
        permissions=(
            Permission(
                object="/srv/app",
                pattern="*.sh",
                exceptions=("secret.sh", "x*"),
                owner="deploy",
                group="www",
                mode="755",
                acls=("user:bob:rw-", "group:staff:r-x", "mask::r-x"),
                context=Context("system_u", "httpd_sys_content_t", "s0-s1:c0.c5,c7"),
                types=("file",),
            ),
        ),
        hooks={
            "BeforeInstall": (Script("scripts/stop.sh", 300, "root"),),
            "AfterInstall": (Script("scripts/a.sh", 60, sudo=True), Script("scripts/b.sh")),
        },
    )


def test_the_order_for_a_host_is_plain_json() -> None:
    spec, _ = parsed(WHOLE)
    assert spec
    order = spec.as_order()

    assert json.loads(json.dumps(order)) == order
    assert order["hooks"]["AfterInstall"][1] == {
        "location": "scripts/b.sh",
        "timeout_in_seconds": 3600,
        "runas": None,
        "sudo": False,
    }
    assert order["permissions"][0]["exceptions"] == ["secret.sh", "x*"]


def test_json_is_read_as_yaml_is() -> None:
    text = json.dumps(
        {
            "version": 0.0,
            "os": "linux",
            "files": [{"source": "a", "destination": "/b"}],
            "permissions": [{"object": "/b", "mode": 644}],
            "hooks": {"BeforeInstall": [{"location": "x", "timeout": 5, "sudo": True}]},
        }
    )
    spec, problems = parsed(text)

    assert problems == []
    assert spec
    assert spec.permissions[0].mode == "644"
    assert spec.hooks == {"BeforeInstall": (Script("x", 5, sudo=True),)}


@pytest.mark.parametrize("text", [MINIMAL, MINIMAL + "files:\npermissions:\nhooks:\n"])
def test_files_permissions_and_hooks_may_be_missing_or_empty(text: str) -> None:
    assert parsed(text) == (AppSpec(), [])


WRONG: list[Any] = [
    pytest.param(
        "- a",
        ["1:1 the AppSpec must be a mapping with 'version', 'os' and 'files', found a list: CodeDeploy would fail the deployment"],
        id="no mapping",
    ),
    pytest.param(
        "os: linux",
        ["1:1 version: version (none) is not supported, CodeDeploy would fail the deployment: write 'version: 0.0', without quotes"],
        id="no version",
    ),
    pytest.param(
        "version: '0.0'\nos: linux",
        ["1:1 version: version '0.0' is not supported, CodeDeploy would fail the deployment: write 'version: 0.0', without quotes"],
        id="the version in quotes is a text",
    ),
    pytest.param(
        "version: 0.1\nos: linux",
        ["1:1 version: version '0.1' is not supported, CodeDeploy would fail the deployment: write 'version: 0.0', without quotes"],
        id="another version",
    ),
    pytest.param(
        '{"version": true, "os": "linux"}',
        ["1:2 version: version 'true' is not supported, CodeDeploy would fail the deployment: write 'version: 0.0', without quotes"],
        id="a version that is no number in JSON",
    ),
    pytest.param(
        "version: 0.0",
        ["1:1 os: os (none) is not supported, CodeDeploy would fail the deployment: write 'os: linux'"],
        id="no os",
    ),
    pytest.param(
        "version: 0.0\nos: Linux",
        ["2:1 os: os 'Linux' is not supported, CodeDeploy would fail the deployment: write 'os: linux'"],
        id="the os in upper case",
    ),
    pytest.param(
        "version: 0.0\nos: windows\nfiles:\n  - {source: a, destination: 'c:\\a'}",
        ["2:1 os: os 'windows' is not supported by this engine, which deploys to Linux: CodeDeploy in AWS would deploy it"],
        id="windows",
    ),
    pytest.param(
        "version: 0.0\nResources:\n  - TargetService:\n      Type: AWS::ECS::Service",
        ["1:1 this is the AppSpec of an ECS service, and hosts cannot be deployed with it: use it as AppSpecTemplateArtifact of "
         "an action of type Deploy/AWS/CodeDeployToECS/1"],
        id="ECS",
    ),
    pytest.param(
        '{"version": 0.0, "resources": [{"f": {"type": "AWS::Lambda::Function"}}]}',
        ["1:1 this is the AppSpec of a Lambda function, and hosts cannot be deployed with it: use an action of type "
         "Deploy/AWS/Lambda/1, or give it to CodeDeploy in AWS"],
        id="Lambda",
    ),
    pytest.param(
        MINIMAL + "hook: {}\nfiles: {source: a}",
        ["3:1 W hook: unknown key 'hook' is ignored (did you mean 'hooks'?)",
         "4:1 files: files must be a list of files, found subkeys: CodeDeploy would fail the deployment"],
        id="an unknown key, and a mapping in place of a list",
    ),
    pytest.param(
        MINIMAL + "files:\n  - {source: a, destination: /b, overwrite: yes}",
        ["4:34 W files[0].overwrite: unknown key 'overwrite' is ignored (write 'file_exists_behavior: OVERWRITE' beside 'files')"],
        id="overwrite of a file",
    ),
    pytest.param(
        MINIMAL + "BeforeInstall: []",
        ["3:1 W BeforeInstall: unknown key 'BeforeInstall' is ignored (write events in 'hooks')"],
        id="an event outside of hooks",
    ),
    pytest.param(
        MINIMAL + "files:\n  - source: a\n  - destination: /b\n  -",
        ["4:5 files[0].destination: there is no 'destination': CodeDeploy would fail the deployment",
         "5:5 files[1].source: there is no 'source': CodeDeploy would fail the deployment",
         "6:4 files[2]: files[2] must be filled, found nothing: CodeDeploy would fail the deployment"],
        id="files that lack a part",
    ),
    pytest.param(
        MINIMAL + "files:\n  - {source: a/../../b, destination: srv/app}",
        ["4:6 files[0].source: 'a/../../b' is outside of the bundle: only files of the bundle are deployed; CodeDeploy's agent "
         "would take what is there on the host",
         "4:25 files[0].destination: 'srv/app' is not an absolute path: CodeDeploy's agent would take it below the folder in "
         "which it was started"],
        id="a source outside, and a relative destination",
    ),
    pytest.param(
        MINIMAL + 'files:\n  - {source: "a\\0b", destination: /b}',
        ["4:6 files[0].source: source has a NUL character: CodeDeploy would fail the deployment"],
        id="a NUL in a path",
    ),
    pytest.param(
        MINIMAL + "file_exists_behavior: overwrite",
        ["3:1 file_exists_behavior: file_exists_behavior 'overwrite' is not DISALLOW, OVERWRITE or RETAIN: CodeDeploy would fail "
         "the deployment (did you mean 'OVERWRITE'?)"],
        id="file_exists_behavior in lower case",
    ),
    pytest.param(
        MINIMAL + "permissions:\n  - {mode: 644}\n  - {object: srv}",
        ["4:5 permissions[0].object: there is no 'object': CodeDeploy would fail the deployment",
         "5:6 W permissions[1].object: 'srv' is not an absolute path, and these permissions are ignored: CodeDeploy's agent would "
         "look for it below the folder in which it was started; write where the files are installed"],
        id="a permission without an object, and a relative one",
    ),
    pytest.param(
        MINIMAL + "permissions:\n  - {object: /a, type: [files]}\n  - {object: /b, type: file}",
        ["4:25 permissions[0].type[0]: type 'files' is not 'file' or 'directory': CodeDeploy would fail the deployment (did you "
         "mean 'file'?)",
         "5:18 permissions[1].type: type must be a list of 'file' and 'directory', found the text 'file': CodeDeploy would fail "
         "the deployment"],
        id="types",
    ),
    pytest.param(
        MINIMAL + "permissions:\n  - {object: /a, mode: 0644}\n  - {object: /b, mode: 0755}\n  - {object: /c, mode: u+x}\n"
        "  - {object: /d, mode: 06444}\n  - {object: /e, mode: '00644'}\n  - {object: /f, mode: 888}",
        ["4:18 permissions[0].mode: 0644 without quotes is the number 420 in YAML: CodeDeploy would set mode 420; write '0644' in "
         "quotes",
         "5:18 permissions[1].mode: 0755 without quotes is the number 493 in YAML: CodeDeploy would fail the deployment; write "
         "'0755' in quotes",
         "6:18 permissions[2].mode: mode 'u+x' is not 1 to 4 octal digits, such as '0644': CodeDeploy would fail the deployment",
         "7:18 permissions[3].mode: 06444 without quotes is the number 3364 in YAML: CodeDeploy would set mode 3364; write "
         "'06444' in quotes",
         "8:18 permissions[4].mode: mode '00644' is not 1 to 4 octal digits, such as '0644': CodeDeploy would fail the deployment",
         "9:18 permissions[5].mode: mode '888' is not 1 to 4 octal digits, such as '0644': CodeDeploy would fail the deployment"],
        id="modes",
    ),
    pytest.param(
        MINIMAL + "permissions:\n  - object: /a\n    pattern: '**/*.sh'\n    except: [/a/b]\n  - {object: /b, except: x}",
        ["5:5 W permissions[0].pattern: '**/*.sh' has a slash and matches nothing: it is compared with the names in the folder, "
         "not with paths",
         "6:14 W permissions[0].except[0]: '/a/b' has a slash and matches nothing: it is compared with the names in the folder, "
         "not with paths",
         "7:18 permissions[1].except: except must be a list of names, found the text 'x': CodeDeploy would fail the deployment"],
        id="patterns and exceptions",
    ),
    pytest.param(
        MINIMAL + "permissions:\n  - {object: /a, acls: [rw, 'x:bob:rw', 'u:bob:rwz', 'u::rw', 'g::r', 'o::r', 'm:x:r']}",
        ["4:25 permissions[0].acls[0]: ACL 'rw' is not such as 'u:bob:rw' or 'd:g:staff:r': CodeDeploy would fail the deployment",
         "4:29 permissions[0].acls[1]: ACL 'x:bob:rw' is not such as 'u:bob:rw' or 'd:g:staff:r': CodeDeploy would fail the "
         "deployment",
         "4:41 permissions[0].acls[2]: ACL 'u:bob:rwz' is not such as 'u:bob:rw' or 'd:g:staff:r': CodeDeploy would fail the "
         "deployment",
         "4:54 permissions[0].acls[3]: ACL 'u::rw' has no name and would change what 'mode' sets: CodeDeploy would fail the "
         "deployment; use 'mode'",
         "4:63 permissions[0].acls[4]: ACL 'g::r' has no name and would change what 'mode' sets: CodeDeploy would fail the "
         "deployment; use 'mode'",
         "4:71 permissions[0].acls[5]: ACL 'o::r' has no name and would change what 'mode' sets: CodeDeploy would fail the "
         "deployment; use 'mode'",
         "4:79 permissions[0].acls[6]: ACL 'm:x:r' is not such as 'u:bob:rw' or 'd:g:staff:r': CodeDeploy would fail the "
         "deployment"],
        id="ACLs",
    ),
    pytest.param(
        MINIMAL + "permissions:\n  - {object: /a, type: [file], acls: ['d:u:bob:rw']}",
        ["4:32 permissions[0].acls: ACL 'default:user:bob:rw-' is a default, which files cannot have, and applies to files only: "
         "CodeDeploy would fail Install; write 'type: [directory]'"],
        id="a default ACL for files",
    ),
    pytest.param(
        MINIMAL + "permissions:\n  - {object: /a, context: {user: u}}\n  - {object: /b, context: {type: t, range: s1-s0}}",
        ["4:18 permissions[0].context.type: there is no 'type': CodeDeploy would fail the deployment",
         "5:37 permissions[1].context.range: range 's1-s0' is not an SELinux range such as 's0' or 's0-s1:c0.c5,c7': CodeDeploy "
         "would fail the deployment"],
        id="contexts",
    ),
    pytest.param(
        MINIMAL + "permissions:\n  - {object: /a, mode: 644}\n  - {object: /a/, mode: 755, except: [x]}\n"
        "  - {object: /b, type: [file]}\n  - {object: /b, type: [directory]}",
        ["5:6 permissions[1].object: '/a' has permissions from permissions[0] already: CodeDeploy would fail Install"],
        id="permissions given twice",
    ),
    pytest.param(
        MINIMAL + "hooks:\n  Install:\n    - location: a\n  BeforInstall:\n    - location: b\n  AfterAllowTestTraffic: []",
        ["4:3 W hooks.Install: 'Install' is done by CodeDeploy itself and has no scripts: CodeDeploy would never run its scripts",
         "6:3 W hooks.BeforInstall: 'BeforInstall' is not a lifecycle event of hosts: CodeDeploy would never run its scripts (did "
         "you mean 'BeforeInstall'?)",
         "8:3 W hooks.AfterAllowTestTraffic: 'AfterAllowTestTraffic' is not a lifecycle event of hosts: CodeDeploy would never run "
         "its scripts (did you mean 'AfterAllowTraffic'?)"],
        id="events without scripts, and unknown ones",
    ),
    pytest.param(
        MINIMAL + "hooks:\n  BeforeInstall:\n  AfterInstall:\n    location: a\n  ValidateService:\n    - timeout: 5\n    - location: ../a\n"
        "      user: bob\n    - a.sh",
        ["4:3 hooks.BeforeInstall: BeforeInstall must be a list of scripts, found nothing: CodeDeploy would fail the deployment",
         "5:3 hooks.AfterInstall: AfterInstall must be a list of scripts, found subkeys: CodeDeploy would fail the deployment",
         "8:7 hooks.ValidateService[0].location: there is no 'location': CodeDeploy would fail the deployment",
         "10:7 W hooks.ValidateService[1].user: unknown key 'user' is ignored",
         "9:7 hooks.ValidateService[1].location: '../a' is outside of the bundle: only files of the bundle are deployed; "
         "CodeDeploy's agent would take what is there on the host",
         "11:7 hooks.ValidateService[2]: ValidateService[2] must be a mapping, found the text 'a.sh': CodeDeploy would fail the "
         "deployment",
         "11:7 hooks.ValidateService[2].location: there is no 'location': CodeDeploy would fail the deployment"],
        id="scripts",
    ),
    pytest.param(
        MINIMAL + "hooks:\n  AfterInstall:\n    - {location: a, timeout: 0}\n    - {location: b, timeout: 3601}\n"
        "    - {location: c, timeout: m5}\n    - {location: d, timeout: 0.5}",
        [f"{line}:21 hooks.AfterInstall[{line - 5}].timeout: timeout '{value}' is not a whole number from 1 to 3600: CodeDeploy would "
         "fail the deployment" for line, value in ((5, "0"), (6, "3601"), (7, "m5"), (8, "0.5"))],
        id="timeouts",
    ),
    pytest.param(
        MINIMAL + "hooks:\n  AfterInstall:\n    - {location: c, timeout: 5m}\n    - {location: d, timeout: 1.5}",
        [f"{line}:21 W hooks.AfterInstall[{line - 5}].timeout: timeout '{value}' is read as {seconds} seconds, as by CodeDeploy: only "
         "the digits at the start count" for line, value, seconds in ((5, "5m", 5), (6, "1.5", 1))],
        id="timeouts with a unit",
    ),
    pytest.param(
        MINIMAL + "hooks:\n  AfterInstall:\n    - {location: a, timeout: 1800}\n    - {location: b, timeout: 1801}\n    - {location: c}",
        ["4:3 hooks.AfterInstall: the timeouts of the scripts of AfterInstall are together 3601 seconds: CodeDeploy fails an event "
         "after 3600"],
        id="timeouts of an event",
    ),
    pytest.param(
        MINIMAL + "hooks:\n  AfterInstall:\n    - {location: a, runas: 'bob; rm -rf /'}\n    - {location: b, runas: '-c'}\n"
        "    - {location: c, runas: ''}",
        ["5:21 hooks.AfterInstall[0].runas: runas 'bob; rm -rf /' is not the name of a user: CodeDeploy's agent would give it to a "
         "shell",
         "6:21 hooks.AfterInstall[1].runas: runas '-c' is not the name of a user: CodeDeploy's agent would give it to a shell",
         "7:21 hooks.AfterInstall[2].runas: runas '' is not the name of a user: CodeDeploy's agent would give it to a shell"],
        id="runas",
    ),
    pytest.param(
        MINIMAL + "hooks:\n  AfterInstall:\n    - {location: a, sudo: 'no'}\n    - {location: b, sudo: maybe}",
        ["5:21 hooks.AfterInstall[0].sudo: sudo must be true or false without quotes, found 'no': CodeDeploy would read it as true",
         "6:21 hooks.AfterInstall[1].sudo: sudo must be true or false without quotes, found 'maybe': CodeDeploy would read it as "
         "true"],
        id="sudo",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_everything_wrong_is_reported_with_its_place(text: str, expected: list[str]) -> None:
    spec, problems = parsed(text)

    assert problems == expected
    assert (spec is None) == any(" W " not in problem for problem in problems)


def test_each_rule_of_the_parser_is_tested() -> None:
    for case in WRONG:
        parsed(case.values[0])
    of_bundle = {"source-missing", "two-sources", "file-for-folder", "script-missing", "pattern-on-file"}
    others = {f"appspec-{name}" for name in of_bundle} | {"appspec-repeated-key"}

    assert {rule.name for rule in RULES.values() if rule.subject == "AppSpecs"} - others == SEEN


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("'0644'", "0644"),
        ("644", "644"),
        ("4755", "4755"),
        ("'4755'", "4755"),
        ("0", "0"),
        ("07", "07"),
        ("7", "7"),
    ],
)
def test_modes_that_codedeploy_reads_as_they_look(written: str, mode: str) -> None:
    spec, problems = parsed(MINIMAL + f"permissions:\n  - {{object: /a, mode: {written}}}")

    assert problems == []
    assert spec
    assert spec.permissions[0].mode == mode


@pytest.mark.parametrize(
    ("written", "entry"),
    [
        ("bob:rw", "user:bob:rw-"), ("user:bob:7", "user:bob:rwx"), ("d:bob:rx", "default:user:bob:r-x"),
        ("default:user::rwx", "default:user::rwx"), ("m:r", "mask::r--"), ("d:m:5", "default:mask::r-x"),
        ("d:o:r", "default:other::r--"), ("g:staff:", "group:staff:---"), ("u:bob:-w-", "user:bob:-w-"),
    ],
)  # fmt: skip
def test_acls_of_all_forms_have_one_form_for_the_host(written: str, entry: str) -> None:
    spec, problems = parsed(
        MINIMAL + f"permissions:\n  - {{object: /a, type: [directory], acls: ['{written}']}}"
    )

    assert problems == []
    assert spec
    assert spec.permissions[0].acls == (entry,)


@pytest.mark.parametrize(
    ("written", "fits"),
    [("s0", True), ("s0-s15:c0.c1023", True), ("s0:c1,c3", True), ("s0:c1,c1", False), ("s0:c5.c2", False),
     ("s0:c1024", False), ("0", False), ("s0:", False), ("s" + "9" * 5000, False)],
)  # fmt: skip
def test_ranges_of_contexts(written: str, fits: bool) -> None:
    spec, _ = parsed(
        MINIMAL + f"permissions:\n  - {{object: /a, context: {{name: u, type: t, range: '{written}'}}}}"
    )
    assert (spec is not None) == fits


@pytest.mark.parametrize(
    ("pattern", "exceptions", "name", "applies"),
    [
        ("**", [], "a/b.sh", True),
        ("**", ["b.sh"], "a/b.sh", True),
        ("**", ["b.sh"], "b.sh", False),
        ("*", [], "b.sh", True),
        ("*", [], "a/b.sh", False),
        ("*.sh", [], "b.sh", True),
        ("*.sh", [], "b.shx", False),
        ("a*c*e", [], "abcde", True),
        ("a*a", [], "a", False),
        ("*", ["**"], "b", False),
        ("[ab]", [], "a", False),
        ("a?", [], "ab", False),
    ],
)
def test_a_star_stands_for_what_is_inside_one_name(
    pattern: str, exceptions: list[str], name: str, applies: bool
) -> None:
    assert Permission("/x", pattern, tuple(exceptions)).applies_to(name) is applies


def test_events_of_a_host_with_and_without_traffic() -> None:
    assert events_of_host(has_traffic=True) == EVENTS
    assert events_of_host(has_traffic=False) == (
        "ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService",
    )  # fmt: skip
    assert set(EVENTS) - set(SCRIPTABLE) == {"BlockTraffic", "DownloadBundle", "Install", "AllowTraffic"}


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | st.just("1" * 5000),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["version", "os", "files", "permissions", "hooks", "source", "destination", "object", "mode", "acls",
                 "context", "type", "range", "except", "AfterInstall", "location", "timeout", "runas", "sudo", "Resources"]
            ) | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)  # fmt: skip


@given(_PLAIN)
def test_no_data_makes_the_parser_fail(data: Any) -> None:
    spec, problems = parse_appspec(data)
    assert (spec is None) == any(problem.severity == "error" for problem in problems)
    if spec:
        json.dumps(spec.as_order())


def test_a_hostile_file_takes_no_long_time() -> None:
    spec, problems = parse_appspec(
        {"version": 0.0, "os": "linux", "permissions": [{"object": "/a", "bad" + "x" * 150: 1}] * 10_000}
    )
    assert spec is None
    assert len(problems) == 1000
    assert any(problem.severity == "error" for problem in problems), "warnings must not hide that it is wrong"
