"""One build of a CodeBuild project, with the variables, the secrets and the environment from its block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from prefect_codepipeline.actions.codebuild.build.artifacts import Outputs
from prefect_codepipeline.actions.codebuild.build.cache import CachePlace, cache_place
from prefect_codepipeline.actions.codebuild.build.running import Build, BuildResult, run_build
from prefect_codepipeline.actions.codebuild.build.runtimes import runtimes_of
from prefect_codepipeline.actions.codebuild.build.secrets import SecretSource, WantedSecret, resolve_secrets
from prefect_codepipeline.actions.codebuild.wanted_build import WantedBuild
from prefect_codepipeline.actions.commands.containers import Compute, ContainerOptions, container_engine
from prefect_codepipeline.actions.git.process import Access
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject, ProjectVariable
from prefect_codepipeline.model.buildspec.parts import Buildspec
from prefect_codepipeline.model.definition.action_settings import ActionSettings

# Gives git the credentials in the build's environment, only for the host that they are for.
_HELPER = (
    '!send() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$CODEBUILD_GIT_USERNAME" "$CODEBUILD_GIT_TOKEN"; }; send'
)


@dataclass(frozen=True)
class SingleBuild:
    """One build of a project; for a batch, the common part of its builds."""

    wanted: WantedBuild
    project: CodeBuildProject
    spec: Buildspec
    context: ActionContext
    own_variables: Mapping[str, str]
    access: Access | None

    def run(self, outputs: Outputs, more: Mapping[str, str] = MappingProxyType({})) -> BuildResult:
        """Run the build. The variables in `more` override all others."""
        build, context, options = self.prepared(outputs, more)
        with container_engine(context, Compute(), options) as engine:
            return run_build(build, context, engine)

    def prepared(
        self, outputs: Outputs, more: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[Build, ActionContext, ContainerOptions]:
        """The arguments for `run_build` and `container_engine`. Raises `ActionFailed` as `resolve_secrets` does."""
        project, context = self.project, self.context
        variables, secrets = self._variables(more)
        own, token = self._git_credentials()
        build = Build(
            spec=self.spec,
            variables=variables,
            secrets=[*secrets, *token],
            own_variables={**self.own_variables, **own},
            outputs=outputs,
            cache=self._cache(),
        )
        options = ContainerOptions(
            privileged=project.privileged,
            docker_socket=project.docker_socket,
            registry_credentials=project.registry_credentials,
            as_root=True,
            fall_back=project.where != "docker",
        )
        settings = _with_runtime_image(context.settings, self.spec, project)
        return build, replace(context, settings=settings), options

    def _cache(self) -> CachePlace | None:
        if self.project.cache != "local":
            return None
        return cache_place(self.wanted.project_name, self.project.cache_location)

    def _variables(self, more: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
        """The declared variables (the action's override the project's, those the buildspec's); and the secrets."""
        env = self.spec.env
        declared = [
            *_plain(env.variables),
            *_declared("PARAMETER_STORE", env.parameter_store),
            *_declared("SECRETS_MANAGER", env.secrets_manager),
            *self.project.environment_variables,
            *self.wanted.variables,
            *_plain(more),
        ]
        last = {each.name: each for each in declared}
        wanted = [
            WantedSecret(each.name, each.type, each.value)
            for each in last.values()
            if each.type != "PLAINTEXT"
        ]
        secrets = resolve_secrets(wanted, self._secret_source()) if wanted else {}
        values = {name: secrets.get(name, each.value) for name, each in last.items()}
        return values, list(secrets.values())

    def _secret_source(self) -> SecretSource:
        project, context = self.project, self.context
        return SecretSource(
            project.secrets_from,
            project.aws_region or context.action.region,
            project.aws_profile,
            project.aws_role_arn,
            context.settings.aws,
        )

    def _git_credentials(self) -> tuple[dict[str, str], list[str]]:
        """The variables that give the build's git access to its source, if the buildspec wants that; and the secret."""
        if not self.spec.env.git_credential_helper:
            return {}, []
        access = self.access
        if not access or not access.token or not access.origin:
            self.context.logger.warning(
                "git-credential-helper: the build gets no credentials, because its source is not a full clone "
                "(CODEBUILD_CLONE_REF) of a repository whose connection has a token"
            )
            return {}, []
        token = access.token.get_secret_value()
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"credential.{access.origin}.helper",
            "GIT_CONFIG_VALUE_0": _HELPER,
            "CODEBUILD_GIT_USERNAME": access.username,
            "CODEBUILD_GIT_TOKEN": token,
        }, [token]


def _plain(variables: Mapping[str, str]) -> Iterator[ProjectVariable]:
    return _declared("PLAINTEXT", variables)


def _declared(
    type: Literal["PLAINTEXT", "PARAMETER_STORE", "SECRETS_MANAGER"], variables: Mapping[str, str]
) -> Iterator[ProjectVariable]:
    for name, value in variables.items():
        # Not validated, unlike those of a block: a buildspec may declare a variable that is overridden anyway.
        yield ProjectVariable.model_construct(name=name, value=value, type=type)


def _with_runtime_image(
    settings: ActionSettings, spec: Buildspec, project: CodeBuildProject
) -> ActionSettings:
    """The settings with the image that the block maps to a runtime of the buildspec, if there is one."""
    mapped = (project.image_for(name, version) for name, version in runtimes_of(spec).items())
    image = next(filter(None, mapped), None)
    return settings.model_copy(update={"image": image}) if image else settings
