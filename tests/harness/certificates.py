"""A certificate authority and a token issuer of our own, for TLS on loopback and for forging tokens."""

import ipaddress
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from jwt.algorithms import RSAAlgorithm

VALID_FOR = timedelta(days=30)
HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a server's certificate."""

    certificate_file: Path
    key_file: Path


class CertificateAuthority:
    """Signs server certificates; clients trust `ca_file`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("tenantconfig local CA")
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = directory / "ca.crt"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, hosts: tuple[str, ...] = HOSTS) -> Certificate:
        """A server's certificate in `<name>.crt` and `<name>.key`; issuing it again replaces both."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(name), self._name, key.public_key())
            .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = Certificate(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        files.key_file.touch(mode=0o600)
        files.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        files.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return files


class TokenIssuer:
    """An OIDC issuer: a signing key, its JWKS, and tokens of any content."""

    def __init__(self, issuer: str, kid: str = "key-1") -> None:
        self.issuer = issuer
        self.kid = kid
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self) -> dict[str, Any]:
        """What a jwks_uri would answer."""
        public = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]}

    def write_jwks(self, file: Path) -> Path:
        """The same as a file."""
        file.write_text(json.dumps(self.jwks()))
        return file

    def token(
        self, audience: str | list[str], *, lifetime: float = 3600, subject: str = "subject", **claims: Any
    ) -> str:
        """A signed token; `claims` override the usual ones, and a claim of None is left out."""
        now = int(time.time())
        payload = {
            "iss": self.issuer,
            "aud": audience,
            "sub": subject,
            "iat": now,
            "exp": int(now + lifetime),
            **claims,
        }
        present = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(present, self._key, algorithm="RS256", headers={"kid": self.kid})

    def sign(self, text: bytes) -> bytes:
        """An RS256 signature."""
        return self._key.sign(text, padding.PKCS1v15(), hashes.SHA256())

    def with_other_key(self) -> Self:
        """An impostor: same issuer and kid, another key."""
        return type(self)(self.issuer, self.kid)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID_FOR)
    )
