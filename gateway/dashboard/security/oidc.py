"""Sign-in by an identity provider: OpenID Connect Core 1.0, authorization code flow (clause 3.1), PKCE (RFC 7636).

The ID token is checked as clause 3.1.3.7 demands: signature, issuer, audience, expiry, nonce. The state (RFC 6749,
clause 10.12) is known to the browser that has begun, by a cookie, and is used once.

Sign-out at the provider is OpenID Connect RP-Initiated Logout 1.0; a provider that signs a user out itself says so by
OpenID Connect Back-Channel Logout 1.0.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import orjson
import structlog

from drivers.exposure import is_loopback
from drivers.extras import require
from drivers.tls import client_context, revocation_problem
from gateway.common.file_looks import looks_of
from gateway.common.state_log import RepeatLog, StateLog
from gateway.dashboard.security.sessions import is_same
from gateway.model.text import clean_text
from gateway.users.roles import Identity
from gateway.users.users_file import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx2
    from joserfc.jwk import KeySet

    from gateway.settings.dashboard_section import OidcSection
    from gateway.users.users_file import Users

log = structlog.get_logger(__name__)

TIMEOUT = 10.0
"""Seconds for an answer of the provider."""

MOST_BYTES = 2**20
"""Bytes of an answer of the provider."""

FLOW_SECONDS = 600.0
"""Seconds that a person has to sign in at the provider."""

MOST_FLOWS = 1_000
"""Sign-ins under way; the oldest makes room."""

METADATA_SECONDS = 3600.0
"""Seconds after which the provider's metadata and keys are fetched again."""

LEEWAY = 60
"""Seconds that the clocks may differ."""

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures of ID tokens; each has a public key, so that a token without a signature is refused."""

CALLBACK = "/login/oidc/callback"

SIGNED_OUT = "/login/oidc/signed-out"
"""Where the provider sends the browser after a sign-out."""

LONGEST_HINT = 4096
"""Characters of an ID token that is sent back as a hint; servers refuse addresses of more than 8 KiB."""

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
"""The member of `events` that makes a token a logout token (Back-Channel Logout 1.0, clause 2.4)."""

MOST_TOKENS = 10_000
"""Ids of logout tokens that are remembered, so that none is used twice."""

KEYS_SECONDS = 10.0
"""Seconds between two fetches of keys for logout tokens: anybody can send tokens with keys that do not exist."""

SCOPES = "openid profile email"


class ProviderFailed(Exception):
    """The provider does not answer as it must; the text says how. Try again later."""


class NotAccepted(Exception):
    """The provider, or the check of its token, has refused the sign-in; the text says why."""


class NoRole(Exception):
    """A user has signed in, and has no role here; the text is the user's name."""


class Subject(NamedTuple):
    """How the provider names a user (`sub`) and its session (`sid`, may be empty); the ID token if it is short."""

    sub: str
    sid: str
    id_token: str


class SignedIn(NamedTuple):
    """A sign-in that is finished."""

    identity: Identity
    subject: Subject
    after: str


class Flow(NamedTuple):
    """A sign-in under way. `after` is the path to go on to."""

    state: str
    nonce: str
    verifier: str
    redirect_url: str
    after: str
    began: float


class _Provider(NamedTuple):
    """The metadata of the provider (OpenID Connect Discovery 1.0, clause 3), with its keys.

    `end_session` is empty where the provider has no address to sign out at.
    """

    authorization: str
    token: str
    end_session: str
    methods: tuple[str, ...]
    keys: KeySet
    fetched: float


class Oidc:
    """The client of one provider."""

    def __init__(self, section: OidcSection, users: Users, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; no I/O. Raises `MissingExtra` or `MissingSecret`."""
        require("oidc")
        self._section = section
        self._users = users
        self._unknown = RepeatLog(log)
        self._secret = None if section.client_secret is None else section.client_secret.reveal()
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._looks: list[tuple[int, int, int] | None] = []
        self._provider: _Provider | None = None
        self._fetching = asyncio.Lock()
        self._flows: dict[str, Flow] = {}
        self._state = StateLog(log, "oidc.unstable", issuer=section.issuer)
        self._logout_tokens: dict[str, float] = {}  # their ids, and when they expire

    async def begin(self, origin: str, after: str) -> tuple[str, Flow]:
        """Return the URL of the provider to go to, and the flow. `origin` is ours. Raises `ProviderFailed`."""
        from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415 - an extra

        provider = await self._current()
        now = self._clock()
        for state in [state for state, flow in self._flows.items() if now - flow.began > FLOW_SECONDS]:
            del self._flows[state]
        while len(self._flows) >= MOST_FLOWS:
            del self._flows[next(iter(self._flows))]
        redirect_url = self._section.redirect_url or origin + CALLBACK
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        flow = Flow(state, nonce, verifier, redirect_url, after, now)
        self._flows[flow.state] = flow
        query = urlencode({
            "response_type": "code", "client_id": self._section.client_id, "redirect_uri": redirect_url,
            "scope": SCOPES, "state": flow.state, "nonce": flow.nonce,
            "code_challenge": create_s256_code_challenge(flow.verifier), "code_challenge_method": "S256",
        })  # fmt: skip
        return _with_query(provider.authorization, query), flow

    async def finish(self, query: Mapping[str, str], cookie: str) -> SignedIn:
        """Return who has signed in, from the query of the provider's redirect and the cookie of the browser.

        Raises `NotAccepted`, `NoRole` or `ProviderFailed`.
        """
        flow = self._flows.pop(query.get("state", ""), None)
        if flow is None or self._clock() - flow.began > FLOW_SECONDS:
            raise NotAccepted("the state is unknown, or the sign-in took too long")
        if not is_same(cookie, binding(flow)):
            raise NotAccepted("the sign-in was begun by another browser")
        if "error" in query:
            raise NotAccepted(f"the provider says {clean_text(query['error'], 100)}")
        if query.get("iss", self._section.issuer) != self._section.issuer:
            raise NotAccepted("the answer is from another provider")  # RFC 9207
        provider = await self._current()
        tokens = await self._exchange(provider, query.get("code", "")[:4096], flow)
        claims = await self._claims(provider, tokens, flow)
        sid, token = claims.get("sid"), tokens["id_token"]
        subject = Subject(
            str(claims["sub"]), sid if isinstance(sid, str) else "", token if len(token) <= LONGEST_HINT else ""
        )
        await self._users.refresh()
        return SignedIn(self._identity(claims), subject, flow.after)

    async def end_session(self, origin: str, subject: Subject) -> tuple[str, str]:
        """Return the URL at which the provider signs a user out, and the state with which the browser comes back.

        Both are empty where the provider has no such URL. `origin` is ours. Raises `ProviderFailed`.
        """
        provider = await self._current()
        if not provider.end_session:
            return "", ""
        ours = urlsplit(self._section.redirect_url or origin)
        state = secrets.token_urlsafe(32)
        query = {
            "client_id": self._section.client_id, "post_logout_redirect_uri": f"{ours.scheme}://{ours.netloc}{SIGNED_OUT}",
            "state": state,
        }  # fmt: skip
        if subject.id_token:
            query["id_token_hint"] = subject.id_token
        return _with_query(provider.end_session, urlencode(query)), state

    async def signed_out(self, token: str) -> Subject:
        """Return whom the provider has signed out, from a logout token (Back-Channel Logout 1.0, clause 2.6).

        The subject has a `sub` or a `sid`. Raises `NotAccepted` or `ProviderFailed`.
        """
        from joserfc import jwt  # noqa: PLC0415 - an extra
        from joserfc.errors import JoseError  # noqa: PLC0415 - an extra

        provider = await self._current()
        try:
            try:
                decoded = jwt.decode(token, provider.keys, ALGORITHMS)
            except (JoseError, ValueError):
                if self._clock() - provider.fetched < KEYS_SECONDS:
                    raise
                decoded = jwt.decode(token, (await self._current(fresh=True)).keys, ALGORITHMS)
            jwt.JWTClaimsRegistry(
                leeway=LEEWAY, iss={"essential": True, "value": self._section.issuer},
                aud={"essential": True, "value": self._section.client_id}, iat={"essential": True},
                exp={"essential": True}, jti={"essential": True}, events={"essential": True},
            ).validate(decoded.claims)  # fmt: skip
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise NotAccepted(
                f"the logout token is wrong: {clean_text(str(error) or type(error).__name__, 200)}"
            ) from None
        return self._subject_of(decoded.claims)

    def _subject_of(self, claims: Mapping[str, Any]) -> Subject:
        """Return the subject of a logout token whose signature and times are right. Raises `NotAccepted`."""
        events, jti = claims["events"], claims["jti"]
        if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
            raise NotAccepted("the token is not a logout token")
        if "nonce" in claims:
            raise NotAccepted("the token is an ID token: it has a nonce")
        sub, sid = (one if isinstance(one, str) else "" for one in (claims.get("sub"), claims.get("sid")))
        if not sub and not sid:
            raise NotAccepted("the logout token names nobody")
        now = time.time()
        for known in [known for known, expires in self._logout_tokens.items() if expires + LEEWAY < now]:
            del self._logout_tokens[known]
        if not isinstance(jti, str) or jti in self._logout_tokens:
            raise NotAccepted("the logout token was used before")
        while len(self._logout_tokens) >= MOST_TOKENS:
            del self._logout_tokens[next(iter(self._logout_tokens))]
        self._logout_tokens[jti] = float(claims["exp"])
        return Subject(sub, sid, "")

    async def _exchange(self, provider: _Provider, code: str, flow: Flow) -> dict[str, Any]:
        """Return the tokens for a code (clause 3.1.3)."""
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": flow.redirect_url,
            "code_verifier": flow.verifier,
        }  # fmt: skip
        auth = None
        if self._secret is None:
            form["client_id"] = self._section.client_id
        elif "client_secret_basic" in provider.methods:
            auth = self._section.client_id, self._secret
        else:
            form |= {"client_id": self._section.client_id, "client_secret": self._secret}
        status, tokens = await self._fetch(provider.token, form, auth)
        if status != 200 or not isinstance(tokens.get("id_token"), str):  # noqa: PLR2004 - of HTTP
            raise NotAccepted(f"the provider gives no token: {clean_text(str(tokens.get('error', status)), 100)}")
        return tokens

    async def _claims(self, provider: _Provider, tokens: dict[str, Any], flow: Flow) -> dict[str, Any]:
        """Return the claims of an ID token that is right. Keys that the provider has changed are fetched once."""
        from authlib.oidc.core import CodeIDToken  # noqa: PLC0415 - an extra
        from joserfc import jwt  # noqa: PLC0415 - an extra
        from joserfc.errors import JoseError  # noqa: PLC0415 - an extra

        try:
            try:
                token = jwt.decode(tokens["id_token"], provider.keys, ALGORITHMS)
            except (JoseError, ValueError):
                token = jwt.decode(tokens["id_token"], (await self._current(fresh=True)).keys, ALGORITHMS)
            claims = CodeIDToken(
                token.claims, token.header,
                {"iss": {"essential": True, "value": self._section.issuer},
                 "aud": {"essential": True, "value": self._section.client_id},
                 "nonce": {"essential": True, "value": flow.nonce}},
                {"nonce": flow.nonce, "client_id": self._section.client_id,
                 "access_token": tokens.get("access_token")},
            )  # fmt: skip
            claims.validate(leeway=LEEWAY)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise NotAccepted(
                f"the ID token is wrong: {clean_text(str(error) or type(error).__name__, 200)}"
            ) from None
        return dict(claims)

    def _identity(self, claims: dict[str, Any]) -> Identity:
        names = (claims.get(key) for key in ("preferred_username", "email", "sub"))
        name = next(
            (cleaned for one in names if isinstance(one, str) and (cleaned := clean_text(one, LONGEST_NAME))), ""
        )
        role = self._role(claims)
        if not name or role is None:
            raise NoRole(name)
        return Identity(name, role, "oidc", self._users.permissions(role) or frozenset())

    def _role(self, claims: dict[str, Any]) -> str | None:
        """Return the role that permits most of those that the claim gives; of two, the later in the configuration.

        The name of the claim may be a path such as `realm_access.roles`.
        """
        found: Any = claims.get(self._section.role_claim)
        if found is None:
            found = claims
            for step in self._section.role_claim.split("."):
                found = found.get(step) if isinstance(found, dict) else None
        written = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        values = {one for one in written if isinstance(one, str)}
        best, most = None, -1
        for role, names in self._section.roles.items():
            if not values.intersection(names):
                continue
            permissions = self._users.permissions(role)
            if permissions is None:
                hint = (
                    f"correct dashboard.oidc.roles, or add it with lineside users set-role CONFIG {role} PERMISSION"
                )
                self._unknown.warning("oidc.role_unknown", key=role, role=role, hint=hint)
            elif len(permissions) >= most:
                best, most = role, len(permissions)
        return best

    async def _current(self, *, fresh: bool = False) -> _Provider:
        """Return the provider's metadata and keys, fetched when they are needed."""
        known = self._provider
        if known is not None and not fresh and self._clock() - known.fetched < METADATA_SECONDS:
            return known
        async with self._fetching:
            if self._provider is not known and self._provider is not None:
                return self._provider
            try:
                self._provider = await self._discover()
            except ProviderFailed as error:
                self._state.enter("oidc.unavailable", error=str(error))
                raise
            self._state.enter("oidc.available", healthy=True)
            return self._provider

    async def _discover(self) -> _Provider:
        from joserfc.errors import JoseError  # noqa: PLC0415 - an extra
        from joserfc.jwk import KeySet  # noqa: PLC0415 - an extra

        status, found = await self._fetch(self._section.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if status != 200:  # noqa: PLR2004 - of HTTP
            raise ProviderFailed(f"the metadata has the status {status}")
        if found.get("issuer") != self._section.issuer:
            raise ProviderFailed(
                f"the metadata is that of {clean_text(str(found.get('issuer')), 200)}; correct issuer"
            )
        endpoints = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        authorization, token, keys_url = (_checked(found.get(key), key) for key in endpoints)
        _, keys = await self._fetch(keys_url)
        methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        try:
            key_set = KeySet.import_key_set(keys)  # type: ignore[arg-type]  # checked by it
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProviderFailed(f"the keys can't be used: {clean_text(str(error), 200)}") from None
        usable = tuple(one for one in methods if isinstance(one, str)) if isinstance(methods, list) else ()
        return _Provider(
            authorization, token, self._end_session(found.get("end_session_endpoint")), usable, key_set, self._clock()
        )

    def _end_session(self, url: object) -> str:
        """Return the address to sign out at; empty for an address without TLS, which does not stop the sign-in."""
        if url is None:
            return ""
        try:
            return _checked(url, "end_session_endpoint")
        except ProviderFailed as error:
            log.warning("oidc.end_session_refused", issuer=self._section.issuer, error=str(error))
            return ""

    async def _fetch(
        self, url: str, form: dict[str, str] | None = None, auth: tuple[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON object of an answer. Raises `ProviderFailed`."""
        import httpx2  # noqa: PLC0415 - an extra

        try:
            async with asyncio.timeout(TIMEOUT), await self._client() as client:
                method = "GET" if form is None else "POST"
                credentials = None if auth is None else httpx2.BasicAuth(*auth)
                request = client.stream(
                    method, url, data=form, headers={"Accept": "application/json"}, auth=credentials
                )
                async with request as response:
                    content = bytearray()
                    async for chunk in response.aiter_bytes():
                        content += chunk
                        if len(content) > MOST_BYTES:
                            raise ProviderFailed(f"{url}: an answer of more than {MOST_BYTES:,} bytes")
                    data = orjson.loads(content)
        except (httpx2.HTTPError, OSError, TimeoutError, ValueError) as error:
            reason = self._revocation_problem(error) or str(error) or type(error).__name__
            raise ProviderFailed(f"{url}: {reason}") from None
        if not isinstance(data, dict):
            raise ProviderFailed(f"{url}: the answer is not a JSON object")
        return response.status_code, data

    async def _client(self) -> httpx2.AsyncClient:
        import httpx2  # noqa: PLC0415 - an extra

        files = self._section.tls_files
        looks = looks_of(file for file in (files.ca, files.crl) if file is not None)
        if self._context is None or looks != self._looks:
            # reading all authorities of a system takes a tenth of a second: files are read when they have changed
            self._context = await asyncio.to_thread(client_context, files, "dashboard.oidc")
            self._looks = looks
        return httpx2.AsyncClient(verify=self._context, follow_redirects=False, timeout=TIMEOUT)

    def _revocation_problem(self, error: BaseException) -> str:
        """Return why the provider's certificate is refused, if the reason is a revocation or its list; else empty."""
        found: BaseException | None = error
        while found is not None and not isinstance(found, ssl.SSLCertVerificationError):
            found = found.__cause__ or found.__context__
        return "" if found is None else revocation_problem(found, self._section.crl)


def _with_query(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}"


def binding(flow: Flow) -> str:
    """Return the cookie of the browser that has begun a flow."""
    return sha256(f"{flow.state} {flow.nonce}".encode()).hexdigest()


def sign_out_binding(state: str) -> str:
    """Return the cookie of the browser that has begun a sign-out."""
    return sha256(f"sign-out {state}".encode()).hexdigest()


def _checked(url: object, key: str) -> str:
    """Return an endpoint that keeps secrets: by TLS, or of this machine. Raises `ProviderFailed`."""
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or not (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    ):
        raise ProviderFailed(f"the metadata has no {key} with https://")
    return str(url)
