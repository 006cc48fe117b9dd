"""What the client node tells of a soak, one JSON line each: the only thing that the ledger is made from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ready(_Fact):
    """Files are about to be written. origin, remote: ids of endpoints."""

    fact: Literal["ready"] = "ready"
    origin: str
    remote: str | None


class Began(_Fact):
    """A file is about to be uploaded. transferred: whether it goes to the other site too."""

    fact: Literal["began"] = "began"
    file: int
    transferred: bool


class In(_Fact):
    """The storage has acknowledged the file under this path. tries: uploads that it took."""

    fact: Literal["in"] = "in"
    file: int
    path: str
    size: int
    adler32: str
    tries: int


class Refused(_Fact):
    """An upload was refused or got no answer. The next one is under another name: nobody knows what became of it."""

    fact: Literal["refused"] = "refused"
    file: int
    path: str
    reason: str


class Ended(_Fact):
    """A result was written down for a file. id: of the work item."""

    fact: Literal["result"] = "result"
    path: str
    action: str
    status: Literal["ok", "failed"]
    attempts: int


class Dead(_Fact):
    """A dead letter was written for a file."""

    fact: Literal["dead"] = "dead"
    path: str
    action: str
    reason: str


class Copy(_Fact):
    """In the end: the file as an endpoint has it; size None: it is not there."""

    fact: Literal["copy"] = "copy"
    path: str
    endpoint: str
    size: int | None
    adler32: str | None


class Residue(_Fact):
    """In the end: names in the folder of copies that no file has."""

    fact: Literal["residue"] = "residue"
    names: tuple[str, ...]


class Problem(_Fact):
    """The client node cannot go on."""

    fact: Literal["problem"] = "problem"
    message: str
    remedy: str | None


Fact = Annotated[Ready | Began | In | Refused | Ended | Dead | Copy | Residue | Problem, Field(discriminator="fact")]
FACT: TypeAdapter[Fact] = TypeAdapter(Fact)
