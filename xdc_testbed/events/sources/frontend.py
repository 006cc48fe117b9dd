"""Where a storage is asked about its files, and who asks: the `[frontend]` table of dCache, the `[webdav]` table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xdc_testbed.clients.dcache import Credential, Dcache
from xdc_testbed.clients.tokens import TokenSource
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.errors import WrongUsage


class _Access(BaseModel):
    """A URL and one credential, in files that only their owner may read (0600).

    token_file: a bearer token, read again for every request; basic_file: `user:password`; certificate and key: PEM;
    or client_id and secret_file at an issuer, with scope. ca_file: of the storage and of the issuer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://[^/ ]+(/api/v1)?/?$")
    ca_file: Path | None = None
    token_file: Path | None = None
    basic_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    issuer: str | None = None
    client_id: str | None = None
    secret_file: Path | None = None
    scope: str = "storage.read:/"
    timeout: float = Field(default=5.0, gt=0)

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        given = [self.token_file, self.basic_file, self.certificate, self.issuer]
        if sum(each is not None for each in given) != 1:
            raise ValueError("give one of token_file, basic_file, certificate with key, issuer with client_id")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.issuer is not None and (self.client_id is None or self.secret_file is None):
            raise ValueError("issuer needs client_id and secret_file")
        return self

    def _token(self) -> Callable[[], str] | None:
        if self.issuer is None or self.client_id is None or self.secret_file is None:
            return Credential.from_files(token_file=self.token_file).token
        try:
            secret = self.secret_file.read_text().strip()
        except OSError as error:
            raise WrongUsage(f"{self.secret_file}: {error.strerror}", remedy="give a readable file") from None
        return TokenSource(self.issuer, self.client_id, secret, self.ca_file, self.scope).token


class FrontendTable(_Access):
    """The `[frontend]` table: dCache's REST interface. parallel: look-ups at a time; patience: seconds after which an
    event is told without what could not be looked up, unless `required` says to wait for it for ever.
    """

    parallel: int = Field(default=16, ge=1, le=256)
    patience: float = Field(default=10.0, gt=0)
    required: bool = False

    def open(self) -> Dcache:
        """A client. Raises WrongUsage when a file cannot be used."""
        if self.basic_file is not None or self.certificate is not None:
            credential = Credential.from_files(basic_file=self.basic_file, certificate=self.certificate, key=self.key)
        else:
            credential = Credential(token=self._token())
        return Dcache(self.url, ca_file=self.ca_file, credential=credential, timeout=self.timeout)


class WebDavTable(_Access):
    """The `[webdav]` table: a storage that lists by PROPFIND. Not by user and password."""

    parallel: int = Field(default=4, ge=1, le=64)

    @model_validator(mode="after")
    def _not_basic(self) -> Self:
        if self.basic_file is not None:
            raise ValueError("basic_file is not possible here")
        return self

    def open(self) -> WebDav:
        """A client. Raises WrongUsage when a file cannot be used."""
        pair = None
        if self.certificate is not None and self.key is not None:
            pair = Credential.from_files(certificate=self.certificate, key=self.key).certificate
        token = None if pair is not None else self._token()
        return WebDav(self.url, ca_file=self.ca_file, token=token, cert=pair, timeout=self.timeout)
