"""Certificates of the tests' own making: authorities, and what they sign. Made by the ``openssl`` program."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.artifacts import PartMissingError

_VALID_DAYS = "2"
_CERTIFICATE_REQUEST = ("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
# What strict verification (Python 3.13 and newer) asks of an authority and of what it signs.
_AUTHORITY = """[req]
distinguished_name = name
x509_extensions = authority
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
_SERVER = """[req]
distinguished_name = name
[name]
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {subject}
"""


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority; ``certificate`` is the PEM file that its friends trust."""

    certificate: Path
    _key: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> "Authority":
        """Make one; raises ``PartMissingError`` without openssl."""
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(certificate=folder / f"{name}.pem", _key=folder / f"{name}.key")
        config = folder / "authority.cnf"
        config.write_text(_AUTHORITY)
        _openssl(
            [*_CERTIFICATE_REQUEST, "-subj", f"/CN={name}", "-x509", "-days", _VALID_DAYS],
            {"-config": config, "-keyout": made._key, "-out": made.certificate},
        )
        return made

    def server_pem(self, folder: Path, name: str, *, subject: str) -> Path:
        """Make a server's private key and signed certificate, in one PEM file; ``subject`` as ``IP:127.0.0.1``."""
        request, key, certificate, config = (
            folder / f"{name}.{kind}" for kind in ("csr", "key", "crt", "cnf")
        )
        config.write_text(_SERVER.format(subject=subject))
        _openssl(
            [*_CERTIFICATE_REQUEST, "-subj", f"/CN={name}"],
            {"-config": config, "-keyout": key, "-out": request},
        )
        _openssl(
            ["x509", "-req", "-days", _VALID_DAYS, "-set_serial", "1", "-extensions", "server"],
            {
                "-extfile": config,
                "-in": request,
                "-CA": self.certificate,
                "-CAkey": self._key,
                "-out": certificate,
            },
        )
        both = folder / f"{name}.pem"
        both.touch(mode=0o600)
        both.write_text(key.read_text() + certificate.read_text())
        return both


def _openssl(arguments: list[str], files: Mapping[str, Path]) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise PartMissingError(
            "Kafka over TLS needs certificates (`openssl`); nothing of that name is on the PATH"
        )
    named = [str(word) for option in files.items() for word in option]
    done = subprocess.run(  # noqa: S603 - fixed commands
        [program, *arguments, *named], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode != 0:
        raise PartMissingError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
