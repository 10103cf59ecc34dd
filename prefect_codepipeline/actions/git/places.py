"""Access to the repositories of source actions, for callers outside of an action."""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.actions.git.connections import (
    CODECOMMIT_URL_TEMPLATE,
    GitHubSourceConfiguration,
    connection_for,
)
from prefect_codepipeline.actions.git.process import Access
from prefect_codepipeline.actions.git.source import (
    GitSource,
    access_to,
    find_connection,
    find_named_connection,
)
from prefect_codepipeline.actions.work import required
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.triggers.matching import CODECOMMIT, CONNECTION, GitPlace, git_places
from prefect_codepipeline.prefect_api.block_documents import fields_by_name


class Connections:
    """Connections of source actions, each read once: many pipelines share a connection."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], GitConnection | ActionFailed] = {}
        self._listed: dict[str, dict[str, Any]] | None = None

    def access(self, place: GitPlace) -> Access:
        """The repository that a source action reads, with its credentials.

        Args:
            place: from a definition with its secrets.

        Raises:
            ActionFailed: with code `ConfigurationError`, as the action itself would.
        """
        return access_to(GitSource(self.connection(place), place.repository, place.branch))

    def name(self, place: GitPlace) -> str | None:
        """The name of the GitConnection block that a source action uses, or None if it uses none.

        Raises:
            PrefectUnavailable: Prefect does not respond.
        """
        known = self._blocks()
        if place.provider == CONNECTION and (place.connection or "").startswith("arn:"):
            names = [name for name, data in known.items() if data.get("connection_arn") == place.connection]
            return names[0] if len(names) == 1 else None
        wanted = {CONNECTION: (place.connection,), CODECOMMIT: ("codecommit", "default")}
        names = [name for name in wanted.get(place.provider, ("github", "default")) if name in known]
        return names[0] if names else None

    def has_webhook(self, place: GitPlace) -> bool:
        """Whether the host sends webhooks for the action's repository, so that it needs no polling."""
        name = self.name(place)
        return name is not None and bool(self._blocks()[name].get("webhook_secret"))

    def _blocks(self) -> dict[str, dict[str, Any]]:
        """The fields of each connection block, with masked secrets."""
        if self._listed is None:
            self._listed = fields_by_name(GitConnection)
        return self._listed

    def connection(self, place: GitPlace) -> GitConnection:
        """The connection that a source action uses. Raises as `access` does."""
        if place.provider not in (CONNECTION, CODECOMMIT):
            return _of_github(place)
        key = (place.provider, place.connection or "")
        if key not in self._known:
            try:
                self._known[key] = _look_up(place)
            except ActionFailed as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, ActionFailed):
            raise found
        return found


def _look_up(place: GitPlace) -> GitConnection:
    if place.provider == CODECOMMIT:
        return required(lambda: find_named_connection("codecommit", "default", url=CODECOMMIT_URL_TEMPLATE))
    return required(lambda: find_connection(place.connection or ""))


def _of_github(place: GitPlace) -> GitConnection:
    """The connection of a GitHub version 1 action, which has its own token."""
    return connection_for(GitHubSourceConfiguration.model_validate(place.action.configuration))


def triggers_without_webhook(declaration: PipelineDeclaration) -> list[str]:
    """One sentence for each trigger of a pipeline that needs a webhook and has none."""
    known = Connections()
    asking = {
        trigger.git_configuration.source_action_name
        for trigger in declaration.triggers or []
        if trigger.git_configuration.pull_request
    }
    return [
        f"pull requests of {place.repository} start no execution: they need a webhook; set one up with: "
        f"codepipeline connection pushes {known.name(place) or 'NAME'}"
        for place in git_places(declaration)
        if place.action.name in asking and not known.has_webhook(place)
    ]
