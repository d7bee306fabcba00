"""The certificates of one listener: which one a client gets, and how new files take the place of old ones.

Every handshake takes the context that is current at that moment, so that connections that are open never notice. Files
that cannot be used change nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from gateway.settings.tls import load_authorities, load_pair
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.settings.tls import CertificatePair, Tls
    from gateway.telemetry.telemetry import Telemetry

PROTOCOLS: Final = ("http/1.1",)
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Read:
    """One version of the files: the first certificate, all by their names, and when those of each file end."""

    first: ssl.SSLContext
    by_name: dict[str, ssl.SSLContext]
    ends: dict[str, float]


class Certificates:
    """Reads the files that *tls* names, for the *listener* of that name."""

    def __init__(self, tls: Tls, listener: str, telemetry: Telemetry) -> None:
        """Read all of them; raises ValueError when one cannot be used."""
        self._tls = tls
        self._listener = listener
        self._telemetry = telemetry
        self._seen = self._state()
        self._use(self._read())
        self.context = self._context(tls)
        self.context.sni_callback = self._choose

    async def look(self) -> None:
        """Read the files again if one has changed since the last look."""
        state = await asyncio.to_thread(self._state)
        if state == self._seen:
            return
        self._seen = state
        try:
            self._use(await asyncio.to_thread(self._read))
        except (ValueError, OSError) as error:
            log.warning("certificate refused", listener=self._listener, reason=str(error))
            self._telemetry.set(metrics.CERTIFICATES_READ, 0, self._listener)
        else:
            log.info("certificates changed", listener=self._listener, certificate=str(self._tls.certificate))

    def _use(self, read: _Read) -> None:
        self._current = read
        for name, end in read.ends.items():
            self._telemetry.set(metrics.CERTIFICATE_EXPIRY, end, name)
        self._telemetry.set(metrics.CERTIFICATES_READ, 1, self._listener)

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        """Give the certificate for a *name*, a wildcard's where there is no exact one (the handshake calls this)."""
        current, wanted = self._current, "" if name is None else name.lower()
        by_name = current.by_name
        connection.context = by_name.get(wanted) or by_name.get(f"*.{wanted.partition('.')[2]}") or current.first

    def _read(self) -> _Read:
        contexts: list[ssl.SSLContext] = []
        by_name: dict[str, ssl.SSLContext] = {}
        ends: dict[str, float] = {}
        for pair in (self._tls, *self._tls.further):
            context = self._context(pair)
            contexts.append(context)
            leaf = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
            ends[str(pair.certificate)] = leaf.not_valid_after_utc.timestamp()
            for name in _names(leaf):
                by_name.setdefault(name.lower(), context)
        return _Read(contexts[0], by_name, ends)

    def _context(self, pair: CertificatePair) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self._tls.minimum_version]
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(list(PROTOCOLS))
        load_pair(context, pair.certificate, pair.key)
        if self._tls.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            load_authorities(context, self._tls.client_ca)
        return context

    def _state(self) -> list[tuple[int, int, int] | None]:
        """Say what tells one version of the files from the next."""
        pairs = (self._tls, *self._tls.further)
        paths = [path for pair in pairs for path in (pair.certificate, pair.key)]
        if self._tls.client_ca is not None:
            paths.append(self._tls.client_ca)
        return [_version(path) for path in paths]


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _names(leaf: x509.Certificate) -> Iterator[str]:
    """Give the names that a certificate is for; the common name where it has no others, as old ones do."""
    try:
        extension = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        yield from (str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
        return
    assert isinstance(extension.value, x509.SubjectAlternativeName)
    yield from extension.value.get_values_for_type(x509.DNSName)
