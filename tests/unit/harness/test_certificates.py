"""Certificates that TLS accepts, tokens that verify against the JWKS only."""

import socket
import ssl
import threading
from pathlib import Path

import jwt
import pytest

from harness.certificates import Certificate, CertificateAuthority, TokenIssuer


def _handshake(certificate: Certificate, ca_file: Path, host: str) -> None:
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate.certificate_file, certificate.key_file)
    left, right = socket.socketpair()

    def serve() -> None:
        try:
            server_side.wrap_socket(left, server_side=True).close()
        except ssl.SSLError:
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        ssl.create_default_context(cafile=ca_file).wrap_socket(right, server_hostname=host).close()
    finally:
        right.close()
        thread.join()


def test_a_certificate_is_good_for_its_hosts_under_its_ca(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    certificate = authority.issue("server")
    _handshake(certificate, authority.ca_file, "localhost")
    _handshake(certificate, authority.ca_file, "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(certificate, authority.ca_file, "elsewhere")
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(certificate, CertificateAuthority(tmp_path / "other").ca_file, "localhost")


def test_tokens_verify_against_the_jwks_of_their_issuer() -> None:
    issuer = TokenIssuer("https://issuer.example")
    key = jwt.PyJWKSet.from_dict(issuer.jwks())[issuer.kid].key
    claims = jwt.decode(issuer.token("ours", tenant="acme"), key, algorithms=["RS256"], audience="ours")
    assert claims["tenant"] == "acme"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(issuer.with_other_key().token("ours"), key, algorithms=["RS256"], audience="ours")
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(issuer.token("ours", lifetime=-60), key, algorithms=["RS256"], audience="ours")
