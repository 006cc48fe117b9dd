"""The testbed's own authority: what OpenSSL thinks of it, and when certificates are made anew."""

from __future__ import annotations

import datetime
import shutil
import stat
from pathlib import Path

import pytest
from cryptography import x509

from xdc_testbed.errors import WrongUsage
from xdc_testbed.processes import run
from xdc_testbed.testbed import pki

HOSTS = {"desy-storage": ("desy-storage.xdc.test", "10.89.77.33")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority with one host and its users. Read only."""
    folder = tmp_path_factory.mktemp("pki")
    pki.ensure(folder, testbed_id="0123456789", hosts=HOSTS)
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "pki"))


def content(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def openssl(*words: str | Path) -> str:
    """What openssl says."""
    return run(["openssl", *words], timeout=30).text


def test_openssl_takes_the_host_certificate_for_a_server_of_its_names(made: Path) -> None:
    leaf = made / "hosts" / "desy-storage.pem"
    for check in (("-verify_hostname", "desy-storage.xdc.test"), ("-verify_ip", "10.89.77.33")):
        assert openssl("verify", "-CAfile", made / "ca.pem", "-purpose", "sslserver", *check, leaf).endswith(": OK")


@pytest.mark.parametrize("user", pki.USERS)
def test_openssl_takes_a_user_certificate_for_a_client(made: Path, user: str) -> None:
    leaf = made / "users" / f"{user}.pem"
    assert openssl("verify", "-CAfile", made / "ca.pem", "-purpose", "sslclient", leaf).endswith(": OK")


def test_a_user_certificate_is_not_good_for_a_server(made: Path) -> None:
    done = run(
        ["openssl", "verify", "-CAfile", made / "ca.pem", "-purpose", "sslserver", made / "users" / "tester.pem"],
        timeout=30,
        check=False,
    )
    assert done.returncode != 0


def test_each_key_belongs_to_its_certificate(made: Path) -> None:
    for key in made.rglob("*.key"):
        public = openssl("pkey", "-in", key, "-pubout")
        assert openssl("x509", "-in", key.with_suffix(".pem"), "-noout", "-pubkey") == public


def test_the_users_subject_is_the_one_that_roles_map(made: Path) -> None:
    subject = openssl("x509", "-in", made / "users" / "tester.pem", "-noout", "-subject", "-nameopt", "compat")
    assert subject.replace(" ", "") == "subject=/DC=test/DC=xdc/CN=tester"


def test_the_authority_has_the_hash_that_openssl_looks_for(made: Path) -> None:
    assert (made / "ca.hash").read_text() == openssl("x509", "-hash", "-noout", "-in", made / "ca.pem") + "\n"


def test_the_signing_policy_names_the_authority(made: Path) -> None:
    policy = (made / "ca.signing_policy").read_text()
    assert "access_id_CA X509 '/DC=test/DC=xdc/OU=0123456789/CN=xdc-testbed authority'" in policy


def test_private_keys_are_for_their_owner_and_certificates_for_all(made: Path) -> None:
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in made.rglob("*") if path.is_file()}
    assert modes == {".key": 0o600, ".pem": 0o644, ".hash": 0o644, ".signing_policy": 0o644}


def test_a_second_run_changes_nothing(own: Path) -> None:
    before = content(own)
    pki.ensure(own, testbed_id="0123456789", hosts=HOSTS)
    assert content(own) == before


def test_a_changed_address_gets_a_new_certificate_from_the_same_authority(own: Path) -> None:
    before = content(own)
    pki.ensure(own, testbed_id="0123456789", hosts={"desy-storage": ("desy-storage.xdc.test", "10.89.77.40")})
    after = content(own)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"hosts/desy-storage.pem", "hosts/desy-storage.key"}
    leaf = own / "hosts" / "desy-storage.pem"
    assert openssl("verify", "-CAfile", own / "ca.pem", "-verify_ip", "10.89.77.40", leaf).endswith(": OK")


def test_a_certificate_that_ends_within_a_week_is_made_anew(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own / "users" / "tester.pem"
    before = x509.load_pem_x509_certificate(path.read_bytes())
    later = before.not_valid_after_utc - datetime.timedelta(days=6)
    monkeypatch.setattr(pki, "_now", lambda: later)
    pki.ensure(own, testbed_id="0123456789", hosts={})
    assert x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc > before.not_valid_after_utc


def test_another_testbeds_authority_does_not_vouch_for_our_hosts(made: Path, tmp_path: Path) -> None:
    pki.ensure(tmp_path, testbed_id="another", hosts={})
    done = run(
        ["openssl", "verify", "-CAfile", tmp_path / "ca.pem", made / "hosts" / "desy-storage.pem"],
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert (tmp_path / "ca.hash").read_text() != (made / "ca.hash").read_text()


def test_authorities_of_external_services_are_in_the_bundle_and_named_by_their_hash(tmp_path: Path) -> None:
    pki.ensure(tmp_path / "other", testbed_id="other", hosts={})
    other = (tmp_path / "other" / "ca.pem").read_text()
    pki.ensure(tmp_path / "own", testbed_id="own", hosts={}, trusted=[tmp_path / "other" / "ca.pem"])
    assert (tmp_path / "own" / "bundle.pem").read_text() == (tmp_path / "own" / "ca.pem").read_text() + other
    name = (tmp_path / "other" / "ca.hash").read_text().strip()
    trusted = tmp_path / "own" / "trusted"
    assert sorted(path.name for path in trusted.iterdir()) == [f"{name}.0", f"{name}.signing_policy"]
    assert "cond_subjects globus '\"*\"'" in (trusted / f"{name}.signing_policy").read_text()


def test_an_authority_that_is_no_longer_named_is_no_longer_trusted(tmp_path: Path) -> None:
    pki.ensure(tmp_path / "other", testbed_id="other", hosts={})
    pki.ensure(tmp_path / "own", testbed_id="own", hosts={}, trusted=[tmp_path / "other" / "ca.pem"])
    pki.ensure(tmp_path / "own", testbed_id="own", hosts={})
    assert (tmp_path / "own" / "bundle.pem").read_bytes() == (tmp_path / "own" / "ca.pem").read_bytes()
    assert list((tmp_path / "own" / "trusted").iterdir()) == []


def test_a_file_without_a_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(WrongUsage, match=r"no\.pem holds no certificate in PEM"):
        pki.ensure(tmp_path / "own", testbed_id="own", hosts={}, trusted=[tmp_path / "no.pem"])
