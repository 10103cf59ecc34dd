"""A registry of providers by type. There are two: of action types and of rule types."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel

from prefect_codepipeline.errors import ActionFailed


@dataclass(frozen=True)
class Provider:
    """What a provider of an action type and one of a rule type have in common.

    `inputs` are the smallest and the largest number of input artifacts. `secrets` are configuration keys whose values
    are never displayed.
    """

    configuration: type[BaseModel]
    run: Callable[..., Any]
    inputs: tuple[int, int]
    timeout_in_minutes: int
    secrets: frozenset[str]


TypeT = TypeVar("TypeT", bound=Hashable)
ProviderT = TypeVar("ProviderT", bound=Provider)
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class TypeRegistry(Generic[TypeT, ProviderT]):
    """The providers of one kind, by the type that they provide.

    Args:
        what: the kind of type, for messages: `action type`.
        built_in: the package whose modules register this project's own providers.
        plugins: the entry-point group in which other packages name theirs.
        why_unknown: the message about a type without a provider. Its arguments are the type and the registered types,
            sorted and separated by commas.
    """

    def __init__(
        self, what: str, built_in: str, plugins: str, why_unknown: Callable[[TypeT, str], str]
    ) -> None:
        self._what = what
        self._built_in = built_in
        self._plugins = plugins
        self._why_unknown = why_unknown
        self._registered: dict[TypeT, ProviderT] = {}
        self._is_loaded = False

    def register(
        self, provided: TypeT, make: Callable[[type[Any], FunctionT], ProviderT]
    ) -> Callable[[FunctionT], FunctionT]:
        """A decorator that registers a function as the provider of a type.

        `make` returns the provider. Its arguments are the configuration class, which is the annotation of the
        function's first parameter, and the function.

        Raises:
            ValueError: another function is registered for the type.
        """

        def decorate(function: FunctionT) -> FunctionT:
            if provided in self._registered:
                taken_by = self._registered[provided].run.__module__
                raise ValueError(f"{self._what} {provided} has a provider already, in {taken_by}")
            configuration = next(iter(get_type_hints(function).values()))
            self._registered[provided] = make(configuration, function)
            return function

        return decorate

    def all(self) -> Mapping[TypeT, ProviderT]:
        """The providers of all types that can run here, read only."""
        if not self._is_loaded:
            import_module(self._built_in)
            for entry_point in entry_points(group=self._plugins):
                entry_point.load()
            self._is_loaded = True  # only now, so that another thread does not see a part of the providers
        return MappingProxyType(self._registered)

    def get(self, wanted: TypeT) -> ProviderT:
        """The provider of a type.

        Raises:
            ActionFailed: with code `ConfigurationError`, there is none; names the registered types.
        """
        try:
            return self.all()[wanted]
        except KeyError:
            raise ActionFailed(self.why_unknown(wanted), code="ConfigurationError") from None

    def why_unknown(self, wanted: TypeT) -> str:
        """Why a type cannot run here, and which types can."""
        return self._why_unknown(wanted, ", ".join(sorted(map(str, self.all()))))
