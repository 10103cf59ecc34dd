"""What opens the repositories that source actions name, when no action of theirs runs."""

from __future__ import annotations

from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.triggers import CODECOMMIT, CONNECTION, GitPlace
from prefect_codepipeline.tasks.git_process import Access
from prefect_codepipeline.tasks.git_source import (
    GitSource,
    access_to,
    find_connection,
    find_named_connection,
    required,
)
from prefect_codepipeline.tasks.providers import codecommit_source, github_source


class Connections:
    """Connections of source actions, each looked up once: many pipelines share one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], GitConnection | ActionFailed] = {}

    def access(self, place: GitPlace) -> Access:
        """The repository that a source action reads, and what opens it.

        Args:
            place: of a definition with its secrets.

        Raises:
            ActionFailed: with code `ConfigurationError`, as the action itself would.
        """
        return access_to(GitSource(self._connection(place), place.repository, place.branch))

    def _connection(self, place: GitPlace) -> GitConnection:
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
        url = codecommit_source.URL_TEMPLATE
        return required(lambda: find_named_connection("codecommit", "default", url=url))
    return required(lambda: find_connection(place.connection or ""))


def _of_github(place: GitPlace) -> GitConnection:
    """Of GitHub's first kind of action, which has a token of its own."""
    wanted = github_source.GitHubSourceConfiguration.model_validate(place.action.configuration)
    return github_source.connection_for(wanted)
