"""owt.server.certificate: TLS verification by clients."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from certificates import Certificate, make

from owt.errors import ConfigError
from owt.server import Server
from owt.server.certificate import VARIABLE, first_certificate, only, verification

CURRENT = Server.from_url("https://127.0.0.1:9876")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make(tmp_path_factory.mktemp("certificates"), "owt.example.org")


@pytest.fixture(autouse=True)
def _current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "_announced", CURRENT)
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_server_without_tls_needs_no_verification() -> None:
    assert verification(Server.from_url("http://127.0.0.1")) is False
    assert verification(Server.from_url("http+unix://%2Frun%2Fowt")) is False


def test_a_certificate_must_be_signed_for_the_name() -> None:
    context = verification(CURRENT)
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_the_known_certificate_is_accepted_from_its_server_only(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(certificate.certfile))
    known = verification(Server.from_url("https://127.0.0.1:9876/owt"))
    assert isinstance(known, ssl.SSLContext)
    assert (known.verify_mode, known.check_hostname) == (ssl.CERT_REQUIRED, False)
    for url in ("https://127.0.0.1:9877", "https://owt.example.org:9876"):
        other = verification(Server.from_url(url))
        assert isinstance(other, ssl.SSLContext)
        assert other.check_hostname


def agree(client: ssl.SSLContext, message: Certificate) -> None:
    """Do a TLS handshake with a server that has this certificate. Raises `ssl.SSLError`."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(message.certfile, message.keyfile)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there, server_hostname="127.0.0.1")
    answering = server.wrap_bio(there, back, server_side=True)
    waiting = [asking, answering]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)


def test_another_certificate_for_the_same_name_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    agree(only(certificate.certfile), certificate)
    same_name = make(tmp_path, certificate.name)
    with pytest.raises(ssl.SSLCertVerificationError):
        agree(only(certificate.certfile), same_name)


def test_the_signer_of_the_known_certificate_is_not_trusted(certificate: Certificate, tmp_path: Path) -> None:
    both = tmp_path / "chain.pem"
    both.write_text(certificate.authority.read_text() + certificate.certfile.read_text())
    # The first certificate counts, here that of the authority.
    agree(only(both), certificate)
    both.write_text(make(tmp_path, "other").certfile.read_text() + certificate.certfile.read_text())
    with pytest.raises(ssl.SSLCertVerificationError):
        agree(only(both), certificate)


def test_an_error_names_the_certificate_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{VARIABLE}: cannot read .*none"):
        only(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(ConfigError, match=f"^{VARIABLE}: there is no certificate in .*empty"):
        only(empty)


def test_first_certificate_is_the_first_of_the_chain(certificate: Certificate) -> None:
    own = certificate.certfile.read_text()
    assert first_certificate(f"words\n{own}{certificate.authority.read_text()}") == own
    assert first_certificate("words") is None
