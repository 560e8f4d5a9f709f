"""The farm's certificate: made once, self-signed, pinned by its fingerprint.

No certificate authority can vouch for a machine on a home network. Whoever joins gets the
fingerprint by a way of its own (the join token, a file on the same machine) and accepts nothing
else from then on; names and dates in the certificate are for browsers.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...wire.credentials import write_private

VALID_DAYS = 20 * 365
"""Pinned, so nothing is gained by an end; a farm must not stop on some morning years from now."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key on disk."""

    path: Path
    """PEM with certificate and private key, mode 0600."""
    fingerprint: str
    """SHA-256 of the DER certificate, 64 lower-case hex digits."""

    def server_context(self) -> ssl.SSLContext:
        """Return the TLS settings of the server: TLS 1.2 and newer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.path)
        return context


def load_or_make_certificate(folder: Path) -> Certificate:
    """Return the certificate kept in ``folder``, made at first use. Raises OSError, ValueError."""
    path = folder / "certificate.pem"
    if not path.exists():
        write_private(path, _make())
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Certificate(path, hashlib.sha256(der).hexdigest())


def _make() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname() or "localhost"
    # 64 characters is the most a common name may have (RFC 5280, upper bounds).
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Rendermill {host}"[:64])])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    if host.isascii() and host != "localhost":
        names += [x509.DNSName(host), x509.DNSName(f"{host.split('.')[0]}.local")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A day back: clocks on a home network differ.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
