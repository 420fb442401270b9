"""Sign-in, roles, sessions and protection of the page.

    request ─▶ headers ─▶ limits ─▶ host ─▶ origin ─▶ session ─▶ login, logout, /api/session, or the application

| file | contains |
|---|---|
| `headers.py` | the headers of every answer: content security policy, HSTS, caching |
| `limits.py` | the sizes of headers and bodies |
| `origin.py` | the hosts and origins that a request may come by |
| `sessions.py` | sessions on the server, their expiry, their cookies |
| `access.py` | for routes: `identity_of`, `require`, `describe`, `records_itself` |
| `link.py` | the link that signs in to a page without users |
| `login.py` | sign-in, sign-out, and the session as JSON |
| `login_page.py` | the page of the sign-in, without JavaScript |
| `oidc.py` | sign-in by an identity provider |
| `tls.py` | the certificate |
| `gate.py` | `secure`: all of it around an application |
"""

from gateway.dashboard.security.access import CLIENT, describe, identity_of, needs, records_itself, require
from gateway.dashboard.security.gate import secure

__all__ = ["CLIENT", "describe", "identity_of", "needs", "records_itself", "require", "secure"]
