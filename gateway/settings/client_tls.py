"""TLS as a client: what is trusted and what is shown, from files that are checked where they are named."""

from __future__ import annotations

import ssl


def client_context(ca: str | None, certificate: str | None, key: str | None, *, verify: bool) -> ssl.SSLContext:
    """Make a context from files in PEM; raises ValueError, which names the file and shows nothing of it.

    Without a *ca* of its own those of the system are trusted. TLS 1.2 is the least, HTTP/1.1 the only protocol.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # An SSLError is one.
        raise ValueError(f"{ca} cannot be used ({_reason(error)}); expected certificates in PEM") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        files = certificate if key is None else f"{certificate} and {key}"
        try:
            # Without a password of ours OpenSSL would ask for one at the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{files} cannot be used ({_reason(error)}); expected a certificate with its chain and the private key "
                "that belongs to it, both in PEM, the key not encrypted"
            ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return str(error.strerror)
    return "not valid"
