"""What a provider requires of its action or rule, for types that AWS does not know: only their providers check them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from prefect_codepipeline.model.validation import Problem, problems_of

if TYPE_CHECKING:  # providers import Prefect
    from prefect_codepipeline.actions.type_registry import Provider


@dataclass(frozen=True)
class Provided:
    """An action or a rule in a definition, for the messages about it. `exception` is the one that AWS would raise."""

    noun: Literal["Action", "Rule"]
    name: str
    path: str
    exception: str

    def check_count(
        self, what: Literal["input", "output"], count: int, limits: tuple[int, int]
    ) -> Iterator[Problem]:
        """Check a number of artifacts against the smallest and the largest that the provider declares."""
        declares = f"{self.noun} {self.name} declares {count} {what} artifacts which"
        where, (least, most) = f"{self.path}.{what}Artifacts", limits
        if count < least:
            yield Problem(where, f"{declares} is less than the minimum count ({least})", self.exception)
        if count > most:
            yield Problem(where, f"{declares} exceeds the maximum count ({most})", self.exception)

    def check_configuration(
        self, provider: Provider, configuration: Mapping[str, str]
    ) -> Iterator[tuple[str, Problem]]:
        """What the provider's model finds: the key, empty if it concerns several, and the problem.

        The path of a problem is that in the configuration, because the caller decides where the file shows it.
        """
        try:
            provider.configuration.model_validate(configuration)
        except ValidationError as error:
            for problem, details in zip(
                problems_of(error, provider.configuration), error.errors(), strict=False
            ):
                key = str(details["loc"][0]) if details["loc"] else ""
                message = self._message(key, details["type"], problem.message)
                yield key, Problem(problem.path, message, self.exception, hint=problem.hint)

    def _message(self, key: str, kind: str, message: str) -> str:
        of = f"{self.noun} configuration for {self.noun.lower()} '{self.name}'"
        if kind == "missing":
            return f"{of} is missing required configuration '{key}'"
        if kind == "extra_forbidden":
            return f"{of} contains unknown configuration '{key}'"
        return message
