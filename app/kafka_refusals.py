"""Why no broker let us in, and what to do about it.

aiokafka logs what it met at each address, and raises only that it met something at all: asked again, one by one, the
addresses say why.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from agents.errors import Outage
from app.settings import Settings

PART = "Kafka"
_ASK_WITHIN_S = 3.0
_WRONG_NAME = (62, 64)  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH


class Refusal(Outage):
    """A broker is there and does not let us in: it is the settings that need mending, its own or ours.

    Args:
        detail: what was seen, without secrets.
        what_to_do: one sentence that names the settings.
    """

    def __init__(self, detail: str, what_to_do: str) -> None:
        super().__init__(PART, detail)
        self.what_to_do = what_to_do


async def first_reason(error: BaseException, options: Mapping[str, Any]) -> BaseException:
    """What stands behind a client's error: the most telling answer of all addresses, else the error itself.

    ``options`` are those of the client that has failed.
    """
    if not isinstance(error, KafkaConnectionError):
        return error
    connection = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    addresses = collect_hosts(options["bootstrap_servers"], randomize=False)
    answers = await asyncio.gather(*(_answer(host, port, connection) for host, port, _ in addresses))
    return min((answer for answer in answers if answer is not None), key=_vagueness, default=error)


def explained(reason: BaseException, settings: Settings) -> Outage:
    """The outage in words: a ``Refusal`` where a broker has answered and settings are wrong."""
    where = f"({settings.kafka_bootstrap})"
    match reason:
        case SaslAuthenticationFailed():
            said = f": {reason.args[0]}" if reason.args and reason.args[0] else ""
            return Refusal(
                f"does not let in user {settings.kafka_sasl_username!r} with this password, "
                f"by {settings.kafka_sasl_mechanism}{said} {where}",
                "Correct CLEARCALL_KAFKA_SASL_USERNAME and CLEARCALL_KAFKA_SASL_PASSWORD; the broker may also know "
                "this user by another CLEARCALL_KAFKA_SASL_MECHANISM.",
            )
        case UnsupportedSaslMechanismError():
            return Refusal(
                f"does not offer the SASL mechanism {settings.kafka_sasl_mechanism} {where}",
                "Set CLEARCALL_KAFKA_SASL_MECHANISM to one that the broker offers.",
            )
        case ssl.SSLCertVerificationError() if reason.verify_code in _WRONG_NAME:
            return Refusal(
                f"has a certificate for another name: {reason.verify_message} {where}",
                "Name the broker in CLEARCALL_KAFKA_BOOTSTRAP as its certificate does, or give it a certificate for "
                "this name.",
            )
        case ssl.SSLCertVerificationError():
            return Refusal(
                f"has a certificate that is not trusted: {reason.verify_message} {where}",
                f"Set CLEARCALL_KAFKA_CA_FILE (now {settings.kafka_ca_file or 'unset: the system decides'}) to the PEM "
                "file of the authority that signed the broker's certificate.",
            )
        case IllegalSaslStateError() | ssl.SSLError() | ConnectionResetError():
            return Refusal(
                f"hangs up on who speaks {settings.kafka_security_protocol} {where}",
                f"If the broker is up, set CLEARCALL_KAFKA_SECURITY_PROTOCOL (now {settings.kafka_security_protocol}) "
                "to what this listener speaks: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
            )
    return Outage(PART, f"{str(reason).strip() or type(reason).__name__} {where}")


async def _answer(host: str, port: int, options: Mapping[str, Any]) -> BaseException | None:
    """What this address does not like; None where it is content."""
    try:
        async with asyncio.timeout(_ASK_WITHIN_S):
            connection = await create_conn(host, port, **options)
            try:
                # A listener that asks for a password answers all that comes before this.
                await connection.send(MetadataRequest([]))
            finally:
                await connection.close()
    except KafkaConnectionError as error:
        return ConnectionResetError(str(error))
    except (KafkaError, OSError) as error:
        return error
    return None


def _vagueness(answer: BaseException) -> int:
    """Sort a broker that says no before one that hangs up, and both before an address where nothing answers."""
    if isinstance(answer, KafkaError | ssl.SSLError):
        return 0
    return 1 if isinstance(answer, ConnectionResetError) else 2
