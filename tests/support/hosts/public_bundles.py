"""Bundles of the shapes that public repositories have: those of the corpus with own scripts and files, and own ones.

`VERSION` in names and contents is the version of the release. The programs that scripts call are those of `own_machine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CORPUS = Path(__file__).parents[2] / "data" / "appspec"


@dataclass(frozen=True)
class PublicBundle:
    """A bundle, and what it does on a host.

    Args:
        appspec: its text, or the file of the corpus.
        scripts: the body of each script by its path.
        files: all other files.
        place: the folder, or glob, in which `installed` is: in each line mode, owner and group, and paths in the folder or
            absolute ones. `-` is the user who deploys.
        runs: the calls of tools, with event and user; those in ApplicationStop are of the release before.
        also: another place.
        acls: of installed files.
        there: what is on the host before, by its path.
        refused: the event that fails if ec2-user deploys it, and why. Without it that user can deploy it, too.
        name: of the file.
        top: the only folder of the artifact, in which everything is.
    """

    appspec: str
    scripts: Mapping[str, str]
    files: Mapping[str, str]
    place: str
    installed: str
    runs: str
    also: str = ""
    acls: Mapping[str, str] = field(default_factory=dict)
    there: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, str] | None = None
    name: str = "appspec.yml"
    top: str = ""

    def write(self, folder: Path, version: str) -> Path:
        """Write the artifact of a version."""
        root = folder / self.top
        root.mkdir(parents=True)
        text = self.appspec if "\n" in self.appspec else (CORPUS / self.appspec).read_text()
        content = {self.name: text, **self.files}
        content |= {path: f"#!/bin/sh -e\n{body}\n" for path, body in self.scripts.items()}
        for path, body in content.items():
            file = root / path.replace("VERSION", version)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(body.replace("VERSION", version))
            # Scripts come without their mode, as from many zip files: they are made executable.
            file.chmod(0o644)
        return folder

    def shown(self, version: str, user: str) -> list[str]:
        """What `OwnMachine.installed` is to show."""
        found = []
        for line in self.installed.replace("VERSION", version).splitlines():
            mode, owner, *paths = line.split()
            owner = owner.replace("-:-", f"{user}:{user}")
            for path in paths:
                whole = path if path.startswith("/") else f"{self.place}/{path}".removesuffix("/.")
                found.append(f"{mode} {owner} {whole}")
        return sorted(found, key=lambda line: line.split(" ", 2)[2])

    def calls(self, version: str, before: str | None, user: str) -> list[str]:
        """What `OwnMachine.calls` is to show for a release that follows another."""
        found = []
        for line in self.runs.splitlines():
            event, own, call = line.split(" ", 2)
            of = before if event == "ApplicationStop" else version
            if of:
                found.append(f"{event} {user if own == '-' else own} {call}".replace("VERSION", of))
        return found


def _not_root(event: str, script: str) -> tuple[str, str]:
    """The refusal of a script that is to run as root."""
    message = (
        f"Script at specified location: {script} run as user root failed: the deployment runs as user ec2-user, and only "
        "root can become another user. Deploy as root, or set `sudo: true` beside `runas` in the AppSpec"
    )
    return event, message


def denied(folder: str) -> tuple[str, str]:
    """The refusal to make a folder where only root may."""
    return "Install", f"The deployment failed because the folder {folder} cannot be made: Permission denied"


OF_CORPUS = {
    "calculator": PublicBundle(
        "aws-samples+aws-codebuild-samples__appspec.yml",
        scripts={
            "deploy_scripts/install.sh": "java -version",
            "deploy_scripts/stop.sh": "systemctl --user stop calculator-VERSION",
            "deploy_scripts/start.sh": "systemctl --user start calculator-VERSION",
            "deploy_scripts/validate.sh": "curl --fail localhost:8080/VERSION",
        },
        files={"target/calculator-VERSION.jar": "release VERSION"},
        place="/home/ec2-user/calculator",
        installed="""\
0755 ec2-user:ec2-user . deploy_scripts deploy_scripts/install.sh target
0644 ec2-user:ec2-user appspec.yml deploy_scripts/start.sh deploy_scripts/stop.sh deploy_scripts/validate.sh
0644 ec2-user:ec2-user target/calculator-VERSION.jar
""",
        runs="""\
ApplicationStop ec2-user systemctl --user stop calculator-VERSION
BeforeInstall ec2-user java -version
ApplicationStart ec2-user systemctl --user start calculator-VERSION
ValidateService ec2-user curl --fail localhost:8080/VERSION
""",
    ),
    "resources": PublicBundle(
        "aws-samples+aws-codedeploy-github-actions-deployment__appspec.yml",
        scripts={
            "aws/scripts/application-stop.sh": "service httpd stop",
            "aws/scripts/before-install.sh": "yum install -y httpd-VERSION",
            "aws/scripts/after-install.sh": "aws s3 cp s3://shop/VERSION /usr/local/codedeployresources/page --quiet",
            "aws/scripts/application-start.sh": "service httpd start",
            "aws/scripts/validate-service.sh": "curl --fail localhost/VERSION",
        },
        files={"aws/httpd-VERSION.conf": "release VERSION", "pom.xml": "not deployed"},
        place="/usr/local/codedeployresources",
        installed="""\
0755 -:- . scripts scripts/before-install.sh
0644 -:- httpd-VERSION.conf scripts/application-stop.sh scripts/after-install.sh
0644 -:- scripts/application-start.sh scripts/validate-service.sh
""",
        runs="""\
ApplicationStop root service httpd stop
BeforeInstall root yum install -y httpd-VERSION
AfterInstall root aws s3 cp s3://shop/VERSION /usr/local/codedeployresources/page --quiet
ApplicationStart root service httpd start
ValidateService root curl --fail localhost/VERSION
""",
        refused=_not_root("BeforeInstall", "aws/scripts/before-install.sh"),
    ),
    "jobworker": PublicBundle(
        "awslabs+aws-codepipeline-custom-job-worker__src~main~resources~codedeploy~appspec.yml",
        scripts={
            "scripts/application-stop.sh": "service aws-codepipeline-jobworker stop",
            "scripts/before-install.sh": "yum -y install jsvc",
            "scripts/application-start.sh": "chkconfig --add aws-codepipeline-jobworker\nservice aws-codepipeline-jobworker start",
        },
        files={
            "init.d/aws-codepipeline-jobworker": "release VERSION",
            "app/jsvc": "release VERSION",
            "app/lib/worker-VERSION.jar": "release VERSION",
        },
        place="/opt/aws-codepipeline-jobworker",
        also="/etc/init.d/aws-codepipeline-jobworker*",
        installed="""\
0755 -:- . lib
0751 -:- jsvc /etc/init.d/aws-codepipeline-jobworker
0644 -:- lib/worker-VERSION.jar
""",
        runs="""\
ApplicationStop root service aws-codepipeline-jobworker stop
BeforeInstall root yum -y install jsvc
ApplicationStart root chkconfig --add aws-codepipeline-jobworker
ApplicationStart root service aws-codepipeline-jobworker start
""",
        refused=_not_root("BeforeInstall", "scripts/before-install.sh"),
    ),
    "server": PublicBundle(
        "awslabs+aws-deployment-framework__samples~sample-ec2-java-app-codedeploy~appspec.yml",
        scripts={
            "stop.sh": "systemctl --user stop server-VERSION",
            # The usual way to start a server: it outlives the script, and its output is somewhere else.
            "start.sh": "nohup java -jar /home/ec2-user/server/server-VERSION.jar >/tmp/server.log 2>&1 &",
            "validate.sh": "until grep -q server-VERSION.jar /var/log/calls; do sleep 0.02; done\ncurl localhost/VERSION",
        },
        files={"server-VERSION.jar": "release VERSION", "src/main/App.java": "release VERSION"},
        place="/home/ec2-user/server",
        installed="""\
0755 ec2-user:ec2-user . src src/main
0644 ec2-user:ec2-user appspec.yml server-VERSION.jar src/main/App.java start.sh stop.sh validate.sh
""",
        runs="""\
ApplicationStop ec2-user systemctl --user stop server-VERSION
ApplicationStart ec2-user java -jar /home/ec2-user/server/server-VERSION.jar
ValidateService ec2-user curl localhost/VERSION
""",
    ),
    "bianca": PublicBundle(
        "slampenny+bianca-app__packages~backend~devops~codedeploy~appspec.yml",
        scripts={
            "scripts/application_stop.sh": "docker-compose -p bianca-VERSION down",
            "scripts/before_install.sh": "docker system prune -f",
            "scripts/after_install.sh": "cd /opt/bianca-deployment\ndocker-compose -f compose-VERSION.yml pull",
            "scripts/application_start.sh": "docker-compose -p bianca-VERSION up -d",
            "scripts/validate_service.sh": "curl -fsS localhost:3000/health",
        },
        files={"compose-VERSION.yml": "release VERSION", ".env": "release VERSION"},
        place="/opt/bianca-deployment",
        installed="""\
0755 -:- . scripts scripts/before_install.sh
0644 -:- .env appspec.yml compose-VERSION.yml scripts/after_install.sh scripts/application_start.sh
0644 -:- scripts/application_stop.sh scripts/validate_service.sh
""",
        runs="""\
ApplicationStop root docker-compose -p bianca-VERSION down
BeforeInstall root docker system prune -f
AfterInstall root docker-compose -f compose-VERSION.yml pull
ApplicationStart root docker-compose -p bianca-VERSION up -d
ValidateService root curl -fsS localhost:3000/health
""",
        refused=_not_root("BeforeInstall", "scripts/before_install.sh"),
    ),
    "containers": PublicBundle(
        "smbdevops+ec2-codedeploy-docker__codedeploy~appspec.yml",
        scripts={
            "pull-images.sh": "docker pull shop:VERSION",
            "stop-and-start-containers.sh": "docker stop shop\ndocker run -d --name shop shop:VERSION",
            "validate-service-and-prune.sh": "docker ps\ndocker image prune -f",
        },
        files={"environment-VERSION": "release VERSION"},
        place="/var/current-deployment",
        installed="""\
0755 -:- .
0644 -:- appspec.yml environment-VERSION pull-images.sh stop-and-start-containers.sh validate-service-and-prune.sh
""",
        runs="""\
AfterInstall root docker pull shop:VERSION
ApplicationStart root docker stop shop
ApplicationStart root docker run -d --name shop shop:VERSION
ValidateService root docker ps
ValidateService root docker image prune -f
""",
        refused=denied("/var/current-deployment"),
    ),
    "website": PublicBundle(
        "stelligent+devops-essentials__samples~ec2~appspec.yml",
        scripts={
            "scripts/install_dependencies": "yum install -y httpd",
            "scripts/start_server": "service httpd start",
            "scripts/stop_server": "service httpd stop",
        },
        files={"html/index-VERSION.html": "release VERSION", "html/css/site.css": "release VERSION"},
        place="/var/www/css",
        also="/var/www/index*",
        installed="""\
0755 -:- .
0644 -:- site.css /var/www/index-VERSION.html
""",
        runs="""\
ApplicationStop root service httpd stop
AfterInstall root yum install -y httpd
AfterInstall root service httpd start
""",
        refused=denied("/var/www/css"),
    ),
    "tomcat": PublicBundle(
        "stelligent+devops-essentials__samples~training~appspec.yml",
        scripts={
            "scripts/stop_application": "service tomcat stop",
            "scripts/install_dependencies": "yum install -y tomcat",
            "scripts/write_codedeploy_config.sh": "aws configure set codedeploy.release VERSION",
            "scripts/start_application": "cd /tmp/codedeploy-deployment-staging-area\nxsltproc *.xsl server.xml\nservice tomcat start",
            "scripts/basic_health_check.sh": "curl --fail localhost/SampleMavenTomcatApp",
        },
        files={
            "target/SampleMavenTomcatApp.war": "release VERSION",
            "scripts/configure_http_port.xsl": "release VERSION",
        },
        place="/tmp/codedeploy-deployment-staging-area",
        installed="""\
0755 -:- .
0644 -:- SampleMavenTomcatApp.war configure_http_port.xsl
""",
        runs="""\
ApplicationStop - service tomcat stop
BeforeInstall - yum install -y tomcat
ApplicationStart - aws configure set codedeploy.release VERSION
ApplicationStart - xsltproc configure_http_port.xsl server.xml
ApplicationStart - service tomcat start
ValidateService - curl --fail localhost/SampleMavenTomcatApp
""",
    ),
}
