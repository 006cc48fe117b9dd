"""`/namespaces/{ns}/packages`: folders of actions, and bindings to them."""

from __future__ import annotations

import time
from typing import Any

from . import bodies, messages, queries
from .controller import Controller
from .entities import (
    FIRST_VERSION,
    Action,
    Document,
    Package,
    Parameter,
    Parameters,
    merge,
    next_version,
    shown,
)
from .names import split
from .store import Change
from .web import Refused, Reply, Request, document


def list_(controller: Controller, request: Request, namespace: str) -> Reply:
    """GET of the collection; of another namespace, the published ones."""
    page = queries.page(request, "packages")
    packages = controller.catalogue.listed(Package, namespace)
    if namespace != request.user.namespace:
        packages = [package for package in packages if package.publish]
    return page.cut([package.summary() for package in packages], "packages")


def get(controller: Controller, request: Request, name: str) -> Reply:
    """GET of one package with its actions; of a binding, with those it is bound to."""
    catalogue = controller.catalogue
    if name.partition("/")[0] == request.user.namespace and catalogue.find(Package, name) is None:
        raise Refused(404, messages.missing(name))
    package, provider = controller.resolver.package(request.user, name)
    parameters = merge(provider.parameters, package.parameters)
    actions = catalogue.listed(Action, provider.full_name)
    found = package.document(parameters)
    return document(found | {"actions": [_entry(action) for action in actions], "feeds": []})


async def put(controller: Controller, request: Request, name: str) -> Reply:
    """PUT: create, or with `overwrite=true` change a package or a binding."""
    overwrite = request.flag("overwrite")
    catalogue, namespace = controller.catalogue, request.user.namespace
    said = bodies.package(await request.json(controller.config.limits.body), controller.config, namespace)
    path, own_name = split(name)
    if own_name == "default":
        raise Refused(400, messages.reserved(own_name))
    async with catalogue.changing:
        old = catalogue.find(Package, name)
        if old is not None and not overwrite:
            raise Refused(409, messages.EXISTS)
        binding = _binding(controller, request, said, old)
        package = Package(
            path=path,
            name=own_name,
            annotations=_annotations(said, old, binding),
            publish=said.publish if said.publish is not None else bool(old and old.publish),
            version=next_version(old.version) if old else FIRST_VERSION,
            updated=int(time.time() * 1000),
            parameters=said.parameters if said.parameters is not None else old.parameters if old else (),
            binding=binding,
        )
        await catalogue.apply(Change(name, package))
    return document(package.document())


async def delete(controller: Controller, request: Request, name: str) -> Reply:
    """DELETE; with `force=true` with its actions."""
    force = request.flag("force")
    catalogue = controller.catalogue
    async with catalogue.changing:
        package = catalogue.get(Package, name)
        actions = catalogue.listed(Action, name)
        if actions and not force:
            raise Refused(409, messages.not_empty(len(actions)))
        await catalogue.apply(Change(name, None), *(Change(action.full_name, None) for action in actions))
    return document(package.document())


def _binding(
    controller: Controller, request: Request, said: bodies.PackagePut, old: Package | None
) -> tuple[str, str] | None:
    """What the package is bound to. Raises Refused 400 or 403."""
    if not said.binding:
        return old.binding if old else None
    if old is not None and old.binding is None:
        raise Refused(409, messages.BINDING_OF_PACKAGE)
    bound = "/".join(said.binding)
    if said.binding[0] == request.user.namespace and controller.catalogue.package(bound) is None:
        raise Refused(400, messages.BINDING_MISSING)
    package, _ = controller.resolver.package(request.user, bound)
    if package.binding:
        raise Refused(400, messages.BINDING_TO_BINDING)
    return package.path, package.name


def _annotations(said: bodies.PackagePut, old: Package | None, binding: tuple[str, str] | None) -> Parameters:
    annotations = said.annotations if said.annotations is not None else old.annotations if old else ()
    if binding is None:
        return annotations
    target = {"namespace": binding[0], "name": binding[1]}
    return merge(annotations, (Parameter("binding", target),))


def _entry(action: Action) -> Document:
    """An action as its package shows it."""
    entry: dict[str, Any] = {"annotations": shown(action.annotations), "name": action.name}
    return entry | {"version": action.version}
