"""TLS on a listener: certificates and their keys, checked where they are named."""

from __future__ import annotations

import ssl
from pathlib import Path  # noqa: TC003  # pydantic reads the annotations
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from gateway.settings.fields import Section


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load a certificate with its chain, and its key; raises ValueError, which says what is wrong with which file."""
    for path in (certificate, key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}); expected a readable file in PEM") from None
    try:
        # Without a password of ours OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError):
        raise ValueError(
            f"{certificate} and {key} cannot be used; expected a certificate with its chain and the private key that "
            "belongs to it, both in PEM, the key not encrypted"
        ) from None


def load_authorities(context: ssl.SSLContext, path: Path) -> None:
    """Load certificate authorities to trust; raises ValueError, which says what is wrong."""
    try:
        context.load_verify_locations(path)
    except OSError as error:  # An SSLError is one.
        reason = error.strerror or error.args[-1]
        raise ValueError(f"{path} cannot be used ({reason}); expected certificates in PEM") from None


def _authorities(path: Path) -> Path:
    load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), path)
    return path


def _quoted(value: object) -> object:
    return str(value) if isinstance(value, float) else value


class CertificatePair(Section):
    """A certificate and its key."""

    certificate: Path
    """The file with the certificate and its chain, in PEM. It is read again when it changes."""
    key: Path
    """The file with the certificate's private key, in PEM, not encrypted. It is read again when it changes."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.certificate, self.key)
        return self


class Tls(CertificatePair):
    """TLS of a listener."""

    further: tuple[CertificatePair, ...] = ()
    """Further certificates. A client gets the one for the name that it asks for, and the first for any other."""
    minimum_version: Annotated[Literal["1.2", "1.3"], BeforeValidator(_quoted)] = "1.2"
    """The oldest version of TLS that is spoken."""
    client_ca: Annotated[Path, AfterValidator(_authorities)] | None = None
    """A file with certificate authorities, in PEM. With it only clients with a certificate from one of them come in,
    and need a key all the same. By default clients need no certificate. It is read again when it changes."""
