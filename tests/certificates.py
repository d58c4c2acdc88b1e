"""Certificates of an authority that the tests create."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """A certificate for `name`, its key, and the certificate of the authority that signed it."""

    name: str
    certfile: Path
    keyfile: Path
    authority: Path

    @property
    def options(self) -> tuple[str, ...]:
        """Options of `owt serve` for this certificate."""
        return "--certfile", str(self.certfile), "--keyfile", str(self.keyfile)

    def trusting_context(self) -> ssl.SSLContext:
        """Return a TLS context that trusts the authority."""
        return ssl.create_default_context(cafile=self.authority)


def make(folder: Path, name: str) -> Certificate:
    """Create a certificate for a host name or an address, signed by a new authority."""
    authority = trustme.CA()
    issued = authority.issue_cert(name)
    certificate = Certificate(name, folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.ca.pem")
    certificate.certfile.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(certificate.keyfile)
    authority.cert_pem.write_to_path(certificate.authority)
    return certificate
