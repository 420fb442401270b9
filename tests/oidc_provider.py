"""An identity provider on the loopback: OpenID Connect over real HTTP, with faults on request."""

from __future__ import annotations

import hmac
import json
import time
from base64 import b64decode, urlsafe_b64encode
from hashlib import sha256
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

CLIENT, SECRET = "lineside", "s3cret-of-the-client"


class Provider:
    """A provider whose user is signed in already: `/authorize` returns a code at once.

    `claims` are added to those of the ID token; `fault` names one thing that is wrong. `returns` are the addresses
    that a browser may come back to after a sign-out; `signed_out` has the query of each sign-out.
    """

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.claims: dict[str, Any] = {"sub": "42", "preferred_username": "olga", "roles": ["shift-leads"]}
        self.fault = ""
        self.returns: set[str] = set()
        self.signed_out: list[dict[str, str]] = []
        self.requests: list[str] = []
        self._key = _key("first")
        self._codes: dict[str, dict[str, str]] = {}
        self._issued: set[str] = set()

    def rotate(self) -> None:
        """Sign with another key from now on."""
        self._key = _key("second")

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
                Route("/end-session", self._end_session),
            ]
        )

    async def _metadata(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        if self.fault == "down":
            return PlainTextResponse("bad gateway", 502)
        if self.fault == "huge":
            return PlainTextResponse("[" + "1," * 2**20 + "1]")
        issuer = "https://evil.example" if self.fault == "other issuer" else self.issuer
        token = "http://evil.example/token" if self.fault == "open token endpoint" else f"{self.issuer}/token"
        metadata = {
            "issuer": issuer, "authorization_endpoint": f"{self.issuer}/authorize", "token_endpoint": token,
            "jwks_uri": f"{self.issuer}/keys", "end_session_endpoint": f"{self.issuer}/end-session",
        }  # fmt: skip
        if self.fault == "no sign-out":
            del metadata["end_session_endpoint"]
        if self.fault == "open sign-out":
            metadata["end_session_endpoint"] = "http://evil.example/end-session"
        return JSONResponse(metadata)

    async def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT)
        assert query["code_challenge_method"] == "S256"
        answer = {"state": query["state"], "iss": self.issuer}
        if self.fault == "denied":
            return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer | {'error': 'access_denied'})}", 303)
        code = f"code-{len(self._codes)}"
        self._codes[code] = query
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer | {'code': code})}", 303)

    async def _keys(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        return JSONResponse(KeySet([self._key]).as_dict(private=False))

    async def _end_session(self, request: Request) -> Response:
        """Sign the user out (RP-Initiated Logout 1.0, clauses 2 and 3)."""
        query = dict(request.query_params)
        if query["client_id"] != CLIENT or query.get("id_token_hint", "") not in self._issued | {""}:
            return PlainTextResponse("the hint is not an ID token of this provider", 400)
        if query["post_logout_redirect_uri"] not in self.returns:
            return PlainTextResponse("the address is not registered", 400)
        self.signed_out.append(query)
        return RedirectResponse(f"{query['post_logout_redirect_uri']}?{urlencode({'state': query['state']})}", 303)

    def logout_token(self, **changes: Any) -> str:
        """Return a token that signs the user out (Back-Channel Logout 1.0, clause 2.4); None removes a claim."""
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": token_hex(8), "sub": "42",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        } | changes  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": self._key.kid, "typ": "logout+jwt"}, claims, self._key)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        basic = b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        query = self._codes.pop(form["code"], None)
        challenge = _base64url(sha256(form["code_verifier"].encode()).digest())
        right = query is not None and basic == f"{CLIENT}:{SECRET}" and form["redirect_uri"] == query["redirect_uri"]
        if not right or query is None or challenge != query["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        token = self._id_token(query["nonce"])
        self._issued.add(token)
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": token})

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": nonce} | self.claims
        match self.fault:
            case "wrong nonce":
                claims["nonce"] = "another"
            case "no nonce":
                del claims["nonce"]
            case "wrong audience":
                claims["aud"] = "another"
            case "wrong issuer":
                claims["iss"] = "https://evil.example"
            case "expired":
                claims["exp"] = now - 3600
            case "other key":
                return jwt.encode({"alg": "RS256", "kid": "first"}, claims, _key("first", fresh=True))
            case "shared key":
                content = f"{_json64({'alg': 'HS256', 'kid': 'first'})}.{_json64(claims)}"
                digest = hmac.digest(self._key.as_pem(private=False), content.encode(), "sha256")
                return f"{content}.{_base64url(digest)}"
            case "no signature":
                token = jwt.encode({"alg": "RS256", "kid": "first"}, claims, self._key)
                return f"{_json64({'alg': 'none'})}.{token.split('.')[1]}."
            case "no token":
                return "x"
        return jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, self._key)


_KEYS: dict[str, RSAKey] = {}


def _key(name: str, *, fresh: bool = False) -> RSAKey:
    if fresh or name not in _KEYS:
        made = RSAKey.generate_key(2048, {"kid": name})
        if fresh:
            return made
        _KEYS[name] = made
    return _KEYS[name]


def _json64(value: object) -> str:
    return _base64url(json.dumps(value).encode())


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
