"""A certificate authority and a certificate of this machine signed by it, valid for an hour."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.weather.servers import HOST

VALID = timedelta(hours=1)


def issue(folder: Path) -> dict[str, str]:
    """Writes `ca.pem`, `server.pem` and `server.key`; returns the options with which a server uses them."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = _named("The harbour's authority"), _named(HOST)
    ca = _builder(ca_name, ca_name, ca_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    leaf = _builder(name, ca_name, key).add_extension(address, critical=False)
    files = {"tls-ca-cert-file": folder / "ca.pem", "tls-cert-file": folder / "server.pem"}
    for path, certificate in zip(files.values(), (ca, leaf), strict=True):
        path.write_bytes(certificate.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files["tls-key-file"] = folder / "server.key"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    files["tls-key-file"].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return {option: str(path) for option, path in files.items()}


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - VALID, now + VALID
    )
