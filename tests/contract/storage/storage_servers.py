"""Real XRootD servers for tests, configured by the templates of the roles: storage sites and a cache."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import jinja2
import yaml
from storage_rig import (
    HOST,
    ROOT,
    Authority,
    Process,
    TokenIssuer,
    free_port,
    give_away,
    listening,
    unprivileged,
    until,
)

from xdc_testbed.clients.tls import tls_context
from xdc_testbed.clients.webdav import WebDav
from xdc_testbed.clients.xroot import Xroot
from xdc_testbed.testbed import secrets


class Server:
    """A real XRootD server in the foreground, configured by a role's templates."""

    role = "xrootd"

    def __init__(
        self, home: Path, authority: Authority, issuer: TokenIssuer, site: str, more: Mapping[str, Any]
    ) -> None:
        self.home = home
        self.authority = authority
        self.issuer = issuer
        self.https_port, self.root_port = free_port(), free_port()
        self.https = f"https://{HOST}:{self.https_port}"
        self.root = f"root://{HOST}:{self.root_port}"
        for name in ("admin", "store", "etc", "cache"):
            (home / name).mkdir(exist_ok=True)
        authority.host(home / "etc")
        self._render({**self._variables(site), **more})
        self._trust_issuer()
        give_away(home)
        self.start()

    def _variables(self, site: str) -> dict[str, Any]:
        role = self.role
        etc = self.home / "etc"
        return {
            f"{role}_site_name": site,
            f"{role}_root_port": self.root_port,
            f"{role}_https_port": self.https_port,
            f"{role}_issuer": self.issuer.url,
            f"{role}_audience": self.https,
            f"{role}_store": self.home / "store",
            f"_{role}_admin_dir": self.home / "admin",
            f"_{role}_run_dir": etc,
            f"_{role}_config_dir": etc,
            f"_{role}_ca_dir": self.authority.hashed,
        }

    def _render(self, variables: Mapping[str, Any]) -> None:
        """Write the configuration files as Ansible would: the role's defaults, then what is given here."""
        role = ROOT / "roles" / self.role
        files = (ROOT / "inventory/group_vars/all" / f"{self.role}.yml", role / "defaults/main.yml")
        known = {key: value for file in files for key, value in yaml.safe_load(file.read_text()).items()}
        known |= variables
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(role / "templates"),
            trim_blocks=True,
            keep_trailing_newline=True,
            undefined=jinja2.StrictUndefined,
            autoescape=False,  # noqa: S701  configuration files, not pages
        )
        for template in sorted((role / "templates").glob("*.j2")):
            if not template.name.endswith(".service.j2"):
                text = environment.get_template(template.name).render(known)
                (self.home / "etc" / template.stem).write_text(text)

    def _trust_issuer(self) -> None:
        """Put the issuer's key where libscitokens keeps fetched keys: it takes an authority only from the system."""
        cache = self.home / "cache" / "scitokens"
        cache.mkdir()
        with httpx2.Client(verify=tls_context(self.authority.ca)) as client:
            jwks = client.get(f"{self.issuer.url}/jwks").json()
        keys = json.dumps({"jwks": jwks, "next_update": 2**40, "expires": 2**40})
        with contextlib.closing(sqlite3.connect(cache / "scitokens_cpp.sqllite")) as database, database:
            database.execute("CREATE TABLE keycache (issuer text UNIQUE PRIMARY KEY NOT NULL, keys text NOT NULL)")
            database.execute("INSERT INTO keycache VALUES (?, ?)", (self.issuer.url, keys))

    def stop(self) -> None:
        self.process.stop()

    def start(self) -> None:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "X509_USER_PROXY": str(self.home / "etc" / "hostproxy.pem"),
            "X509_CERT_DIR": str(self.authority.hashed),
            "XRD_CONNECTIONWINDOW": "3",
            "XRD_CONNECTIONRETRY": "3",
            "XRD_STREAMERRORWINDOW": "0",
            "XRD_REQUESTTIMEOUT": "10",
            "RES_OPTIONS": "timeout:1 attempts:5",  # a lost reverse look-up costs one second, not five
        }
        arguments = ["xrootd", "-I", "v4", "-c", str(self.home / "etc" / f"{self.role}.cfg"), "-n", self.role]
        if os.geteuid() == 0:
            user = unprivileged()
            arguments = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", *arguments]
        self.process = Process(arguments, self.home / "server.log", environment, self.home)
        both = (self.https_port, self.root_port)
        try:
            until(lambda: all(map(listening, both)), f"{self.role} answers", alive=self.process.ended)
        except AssertionError:
            self.stop()
            raise

    def webdav(self, *, token: str | None = None, user: str | None = None) -> WebDav:
        """A client with a token, with the certificate of a user, or with nothing."""
        return WebDav(
            self.https,
            ca_file=self.authority.ca,
            token=None if token is None else lambda: token,
            cert=None if user is None else self.authority.user(user),
            timeout=30.0,
        )

    def xroot(self, *, token: str | None = None, user: str | None = None) -> Xroot:
        """Like `webdav`, over root://."""
        return Xroot(
            self.root,
            ca_directory=self.authority.hashed,
            token=None if token is None else lambda: token,
            cert=None if user is None else self.authority.user(user),
            timeout=30.0,
        )


class Site(Server):
    """An XRootD storage site with its journal of changes."""

    def __init__(self, home: Path, authority: Authority, issuer: TokenIssuer, site: str) -> None:
        journal = home / "journal"
        (home / "store").mkdir()
        for export in ("data", "pub"):
            (home / "store" / export).mkdir()
        (home / "etc").mkdir()
        secret = secrets.ensure(home / "secrets.yml", [site])["macaroon"][site]
        (home / "etc" / "macaroon.secret").write_text(secret)
        program = home / "etc" / "xdc-xrootd-journal"  # the server's user may not be able to read the checkout
        shutil.copy(ROOT / "roles/xrootd/files/xdc_xrootd_journal.py", program)
        program.chmod(0o755)
        super().__init__(
            home,
            authority,
            issuer,
            site,
            {
                "xrootd_users": [
                    {"name": "tester", "subjects": ["/DC=test/DC=xdc/CN=tester"], "rights": ["/ a"]},
                    {"name": "xcache", "subjects": [f"/DC=test/DC=xdc/CN={HOST}"], "rights": ["/data rl", "/pub rl"]},
                ],
                "_xrootd_journal_program": program,
                "xrootd_journal": journal,
            },
        )

    @property
    def origin(self) -> str:
        """How a cache in front of it names it."""
        return f"{HOST}:{self.root_port}"

    def stored(self, path: str) -> Path:
        """Where a file of the site lies on this machine."""
        return self.home / "store" / path.lstrip("/")

    def notices(self, path: str) -> list[str]:
        """The kinds of changes to a path, in order, as the journal has them."""
        lines = self.journal()
        return [line["ev"] for line in lines if path in (line["lfn"], line.get("lfn2"))]

    def journal(self) -> list[dict[str, Any]]:
        """All complete lines of the journal."""
        complete, _, _ = (self.home / "journal").read_text().rpartition("\n")
        return [json.loads(line) for line in complete.splitlines()]


class Cache(Server):
    """An XRootD cache in front of a site. origin: as the configuration names it, host:port or an https URL."""

    role = "xcache"

    def __init__(self, home: Path, authority: Authority, issuer: TokenIssuer, origin: str) -> None:
        super().__init__(
            home,
            authority,
            issuer,
            "CACHE",
            {
                "_xcache_origin": origin,
                "xcache_users": [
                    {"name": "tester", "subjects": ["/DC=test/DC=xdc/CN=tester"], "rights": ["/data rl", "/pub rl"]},
                ],
            },
        )
