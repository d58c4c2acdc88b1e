"""Certificates of an authority of the tests' own."""

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
        """What `owt serve` is given to use it."""
        return "--certfile", str(self.certfile), "--keyfile", str(self.keyfile)

    def believing(self) -> ssl.SSLContext:
        """What a client is given that believes the authority."""
        return ssl.create_default_context(cafile=self.authority)


def make(folder: Path, name: str) -> Certificate:
    """A new certificate for a host name or an address, of a new authority."""
    authority = trustme.CA()
    issued = authority.issue_cert(name)
    made = Certificate(name, folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.ca.pem")
    made.certfile.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(made.keyfile)
    authority.cert_pem.write_to_path(made.authority)
    return made
