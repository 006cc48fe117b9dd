"""The entities of all namespaces, in memory, written through to the store before anyone sees a change."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from . import messages
from .entities import Action, Entity, Package
from .store import Change, Store
from .web import Refused

_E = TypeVar("_E", bound=Entity)
_CODES = 64  # code of this many actions is kept in memory, for cold starts
_CODE_LENGTH = 1 << 20


class Catalogue:
    """Look up by full name, and change. `generation` counts changes, for whoever caches what follows from
    entities."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entities: dict[str, Entity] = {}
        self._codes: dict[str, str] = {}
        self.generation = 0
        self.changing = asyncio.Lock()
        """Held from the reading of what a change depends on to its writing."""

    async def load(self) -> None:
        """Read what the store has kept."""
        self._entities = {entity.full_name: entity for entity in await self._store.entities()}

    def find(self, kind: type[_E], full_name: str) -> _E | None:
        """The entity, or None. Raises Refused 409 when the name belongs to another collection."""
        entity = self._entities.get(full_name)
        if entity is None or isinstance(entity, kind):
            return entity
        raise Refused(409, messages.OTHER_COLLECTION)

    def get(self, kind: type[_E], full_name: str) -> _E:
        """The entity. Raises Refused 404, or 409 when the name belongs to another collection."""
        entity = self.find(kind, full_name)
        if entity is None:
            raise Refused(404, messages.NOT_FOUND)
        return entity

    def package(self, full_name: str) -> Package | None:
        """A package, or None; a name of another collection counts as none."""
        entity = self._entities.get(full_name)
        return entity if isinstance(entity, Package) else None

    def listed(self, kind: type[_E], path: str) -> list[_E]:
        """Entities in a namespace or a package, and for a namespace also those in its packages; latest change
        first."""
        inside = f"{path}/"
        found = [
            entity for name, entity in self._entities.items() if isinstance(entity, kind) and name.startswith(inside)
        ]
        return sorted(found, key=lambda entity: entity.updated, reverse=True)

    async def code(self, action: Action) -> str:
        """The code of an action."""
        name = action.full_name
        code = self._codes.get(name)
        if code is None:
            code = await self._store.code(name)
            if len(code) <= _CODE_LENGTH:
                self._codes[name] = code
                if len(self._codes) > _CODES:
                    del self._codes[next(iter(self._codes))]
        return code

    async def apply(self, *changes: Change) -> None:
        """Make changes durable, then visible. The caller holds `changing`."""
        await self._store.apply(changes)
        for name, entity, _ in changes:
            self._codes.pop(name, None)
            if entity is None:
                self._entities.pop(name, None)
            else:
                self._entities[name] = entity
        self.generation += 1
