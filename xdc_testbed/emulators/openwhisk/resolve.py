"""From the name in a request to what runs: the action, through packages and bindings, with its merged
parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import messages
from .catalogue import Catalogue
from .config import User
from .entities import Action, Package, Parameters, merge
from .names import split
from .web import Refused

FORBIDDEN = 403
_IN_PACKAGE = 3


@dataclass(frozen=True, slots=True)
class Runnable:
    """An action and what every activation of it starts from. binding: the package that the caller named."""

    action: Action
    parameters: Parameters
    arguments: dict[str, Any]
    environment: dict[str, Any]
    binding: str | None


class Resolver:
    """Resolves full names; remembers until an entity changes."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._generation = -1
        self._known: dict[tuple[str, str], Runnable] = {}

    def runnable(self, user: User, full_name: str) -> Runnable:
        """What `namespace/[package/]action` runs for this user. Raises Refused 403, 404 or 409."""
        if self._generation != self._catalogue.generation:
            self._known.clear()
            self._generation = self._catalogue.generation
        key = user.namespace, full_name
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._resolve(user, full_name)
        return found

    def package(self, user: User, full_name: str) -> tuple[Package, Package]:
        """A package and the one that holds its actions: itself, or what it is bound to. Raises Refused."""
        package = self._catalogue.package(full_name)
        if package is None:
            if full_name.partition("/")[0] != user.namespace:
                raise Refused(FORBIDDEN, messages.forbidden(full_name))
            raise Refused(404, messages.NOT_FOUND)
        if package.target is None:
            readable = package.publish or package.path == user.namespace
            provider: Package | None = package
        else:
            provider = self._catalogue.package(package.target)
            mine = package.publish or package.path == user.namespace
            readable = mine and provider is not None and (provider.publish or provider.path == user.namespace)
        if not readable or provider is None:
            raise Refused(FORBIDDEN, messages.forbidden(full_name))
        return package, provider

    def _resolve(self, user: User, full_name: str) -> Runnable:
        path, name = split(full_name)
        if full_name.count("/") + 1 < _IN_PACKAGE:
            if path != user.namespace:
                raise Refused(FORBIDDEN, messages.forbidden(full_name))
            action = self._catalogue.get(Action, full_name)
            return _runnable(action, action.parameters, None)
        try:
            package, provider = self.package(user, path)
        except Refused as refused:
            if refused.status == FORBIDDEN and path.partition("/")[0] != user.namespace:
                raise Refused(FORBIDDEN, messages.forbidden(full_name)) from None
            raise
        action = self._catalogue.get(Action, f"{provider.full_name}/{name}")
        bound = package.parameters if package is not provider else ()
        parameters = merge(provider.parameters, bound, action.parameters)
        return _runnable(action, parameters, package.full_name if package is not provider else None)


def _runnable(action: Action, parameters: Parameters, binding: str | None) -> Runnable:
    hidden = {"_actions"} if action.exec.kind == "sequence" else set()
    arguments = {one.key: one.value for one in parameters if not one.init and one.key not in hidden}
    environment = {parameter.key: parameter.value for parameter in parameters if parameter.init}
    return Runnable(action, parameters, arguments, environment, binding)
