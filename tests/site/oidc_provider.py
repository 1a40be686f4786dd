"""A small OpenID Connect provider on loopback, for tests: real HTTP, discovery, RS256 keys, code flow with PKCE.

What it says can be bent: `claims` of the ID token, `userinfo`, the signing key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "good-standing", "a client secret"


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider:
    """Everybody who comes is `person`; what was asked is remembered in `asked`."""

    def __init__(self) -> None:
        self.person: dict[str, Any] = {"sub": "4711", "preferred_username": "vera", "email": "vera@example.com"}
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.calls_itself = ""
        self.key = self.signs_with = _new_key()
        self.asked: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.url = ""

    def sign_with_a_stolen_name(self) -> None:
        """Sign with a key that is not published, under the name of the one that is."""
        self.signs_with = _new_key()

    def answer(self, method: str, path: str, query: dict[str, str], form: dict[str, str], bearer: str) -> Any:
        """(status, body or Location)."""
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.calls_itself or self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "userinfo_endpoint": f"{self.url}/userinfo",
                "jwks_uri": f"{self.url}/keys",
            }
        if path == "/keys":
            told = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return 200, {"keys": [{**told, "kid": "one", "alg": "RS256", "use": "sig"}]}
        if path == "/authorize":
            self.asked.append(query)
            code = secrets.token_urlsafe(16)
            self._codes[code] = query
            return 302, f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
        if path == "/token" and method == "POST":
            return self._token(form)
        if path == "/userinfo" and bearer == "an access token":
            return 200, {**self.person, **self.userinfo}
        return 404, {"error": "not found"}

    def _token(self, form: dict[str, str]) -> Any:
        begun = self._codes.pop(form.get("code", ""), None)
        if begun is None or (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return 400, {"error": "invalid_grant"}
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if begun.get("code_challenge_method") != "S256" or begun.get("code_challenge") != challenge:
            return 400, {"error": "invalid_grant", "error_description": "PKCE"}
        if begun["redirect_uri"] != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        ours = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": begun["nonce"]}
        claims = {**ours, "sub": self.person["sub"], **self.claims}
        token = jwt.encode(
            {name: value for name, value in claims.items() if value is not None},
            self.signs_with,
            algorithm="RS256",
            headers={"kid": "one"},
        )
        return 200, {"access_token": "an access token", "token_type": "Bearer", "id_token": token}


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider that answers on loopback until the end of the block."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            one = lambda text: {name: values[0] for name, values in parse_qs(text).items()}  # noqa: E731
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, told = provider.answer(self.command, parts.path, one(parts.query), one(body), bearer)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", told)
                told = {}
            data = json.dumps(told).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
