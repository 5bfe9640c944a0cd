"""The listeners of the tests' Kafka that ask for TLS, for a password, or for both."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from tests.support.certificates import Authority
from tests.support.ports import LOOPBACK, free_port

PROTOCOLS = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-512")
_JAAS = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


class KafkaSecurity:
    """One listener a protocol, one user, and the authority that has signed the broker's certificate.

    The certificate is made out to 127.0.0.1 and to no name, so that ``localhost`` reaches a broker that cannot prove
    who it is. Raises ``PartMissingError`` where certificates cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.username = "clearcall"
        # With the characters that have a meaning in addresses, properties and log formats.
        self.password = f"p:@/%s+{secrets.token_hex(8)}"
        self.ports = {protocol: free_port() for protocol in PROTOCOLS}
        authority = Authority.make(folder, "clearcall-tests")
        self.ca_file = authority.certificate
        self.stranger_ca_file = Authority.make(folder, "stranger").certificate
        self._keystore = authority.server_pem(folder, "broker", subject=f"IP:{LOOPBACK}")

    def bootstrap(self, protocol: str) -> str:
        """The address of the listener that speaks the protocol."""
        return f"{LOOPBACK}:{self.ports[protocol]}"

    def settings(self, protocol: str = "SASL_SSL", mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """The ``CLEARCALL_KAFKA_*`` settings of a client that is let in."""
        told = {"BOOTSTRAP": self.bootstrap(protocol), "SECURITY_PROTOCOL": protocol}
        if "SASL" in protocol:
            told |= {
                "SASL_MECHANISM": mechanism,
                "SASL_USERNAME": self.username,
                "SASL_PASSWORD": self.password,
            }
        if "SSL" in protocol:
            told["CA_FILE"] = str(self.ca_file)
        return {f"CLEARCALL_KAFKA_{name}": value for name, value in told.items()}

    @property
    def listeners(self) -> Mapping[str, str]:
        """Address by listener; a listener has its protocol's name."""
        return {protocol: self.bootstrap(protocol) for protocol in PROTOCOLS}

    @property
    def properties(self) -> dict[str, str]:
        """What ``server.properties`` says of these listeners."""
        told = {}
        for listener in (protocol.lower() for protocol in PROTOCOLS):
            prefix = f"listener.name.{listener}."
            if "ssl" in listener:
                told[f"{prefix}ssl.keystore.type"] = "PEM"
                told[f"{prefix}ssl.keystore.location"] = str(self._keystore)
            if "sasl" in listener:
                told[f"{prefix}sasl.enabled.mechanisms"] = ",".join(MECHANISMS)
                plain = f'{_JAAS["PLAIN"]} required user_{self.username}="{self.password}";'
                told[f"{prefix}plain.sasl.jaas.config"] = plain
                told[f"{prefix}scram-sha-512.sasl.jaas.config"] = f"{_JAAS['SCRAM-SHA-512']} required;"
        return told

    @property
    def format_arguments(self) -> list[str]:
        """What the storage is formatted with: SCRAM users live in the cluster's metadata."""
        return ["--add-scram", f"SCRAM-SHA-512=[name={self.username},password={self.password}]"]
