"""The page of the sign-in: plain HTML that works without JavaScript, in the language of the browser."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import HTMLResponse

from gateway.dashboard.texts.text import _

if TYPE_CHECKING:
    from gateway.dashboard.texts.text import Text


PROBLEMS = {
    "wrong": _("The user name or the password is wrong."),
    "throttled": _("Too many attempts. Try again in {seconds} seconds."),
    "busy": _("The server is busy. Try again in a moment."),
    "origin": _("The form is from another page. Try again here."),
    "provider": _("The company account can't be checked now. Try again later, or ask your administrator."),
    "refused": _("The company account was not accepted."),
    "no-role": _("The company account has no role here. Ask your administrator."),
    "notice": _("Read the notice of use, and accept it."),
    "link": _("The link does not count any more: the page was started again, or has users now."),
}
"""The texts of problems."""

SIGNED_OUT = {
    "here": _(
        "You are signed out here, and may still be signed in with the company account. Sign out there too if others "
        "use this computer."
    ),
    "everywhere": _("You are signed out, also from the company account."),
}
"""The texts after a sign-out."""

_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}<title>{title} - Lineside</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/css/login.css">
</head>
<body>
<main>
<h1>Lineside</h1>
{body}</main>
</body>
</html>
"""

_USE = """<section aria-labelledby="use-title">
<h2 id="use-title">{title}</h2>
<p class="use" id="use">{text}</p>
</section>
"""

_FORM = """<form method="post" action="/login">
<h2>{title}</h2>
<label for="name">{name}</label>
<input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64"
 required{focus} value="{value}"{described}>
<label for="password">{password}</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="256"
 required{described}>
<input type="hidden" name="next" value="{next}">
<button type="submit"{accepted}>{button}</button>
</form>
"""

_LINK = """<section>
<h2>{title}</h2>
<p>{text}</p>
<pre>lineside dashboard CONFIG --link</pre>
</section>
"""

_LINK_FORM = """<form method="post" action="/login/link">
<input type="hidden" name="next" value="{next}">
<button type="submit"{accepted}>{button}</button>
</form>
"""

_ACCEPTED = ' name="accepted" value="yes" aria-describedby="use"'
"""The button that accepts the notice of use."""


def _html(language: str, text: Text) -> str:
    """Return a text in a language, as HTML."""
    return escape(text.into(language))


def login_page(
    language: str, *, status: int = 200, problem: str = "", seconds: int = 0, name: str = "", after: str = "/",
    signed_out: str = "", with_passwords: bool = True, with_oidc: bool = False, notice: str | None = None,
    by_link: bool = False, with_link: bool = False,
) -> HTMLResponse:  # fmt: skip
    """Return the page with its form, and with the text of a problem, or of a sign-out.

    `notice` is the notice of use: its reader accepts it by each of the buttons. `by_link` is of a page without users,
    to which a link signs in; `with_link` of a browser that has come by it.
    """
    title = _html(language, _("Sign in"))
    body = ""
    if problem:
        text = _html(language, PROBLEMS[problem].given(seconds=seconds))
        body += f'<p class="problem" id="problem" role="alert">{text}</p>\n'
    if signed_out:
        body += f'<p class="notice" role="status">{_html(language, SIGNED_OUT[signed_out])}</p>\n'
    if notice is not None:
        body += _USE.format(title=_html(language, _("Notice of use")), text=escape(notice))
    if with_oidc:
        # a link: a form must not lead to another server by the content security policy
        target = f"/login/oidc?{urlencode({'next': after} | ({} if notice is None else {'accepted': 'yes'}))}"
        account = (
            _("Sign in with the company account") if notice is None
            else _("Accept, and sign in with the company account")
        )  # fmt: skip
        body += f'<p><a class="button" href="{escape(target)}">{_html(language, account)}</a></p>\n'
    if with_link:
        button = _html(language, _("Accept, and sign in"))
        body += _LINK_FORM.format(next=escape(after), button=button, accepted=_ACCEPTED)
    elif by_link:
        how = _("This page has no users yet. A link signs in. This command shows it, on the machine of the page:")
        body += _LINK.format(title=title, text=_html(language, how))
    if with_passwords:
        described = ' aria-describedby="problem" aria-invalid="true"' if problem else ""
        body += _FORM.format(
            title=title, name=_html(language, _("User name")), password=_html(language, _("Password")),
            value=escape(name), next=escape(after), described=described,
            button=title if notice is None else _html(language, _("Accept, and sign in")),
            accepted="" if notice is None else _ACCEPTED,
            focus=" autofocus" if notice is None else "",  # or a long notice is scrolled out of sight
        )  # fmt: skip
    return HTMLResponse(_PAGE.format(language=language, head="", title=title, body=body), status)


def continue_page(language: str, after: str) -> HTMLResponse:
    """Return a page that goes on to a path of this server at once.

    A browser sends a cookie with SameSite=Strict for a link of this page, and not for the page of somebody else.
    """
    return _forward(language, after, _("Sign in"))


def leave_page(language: str, url: str) -> HTMLResponse:
    """Return a page that goes on to the provider at once, to sign out there.

    The answer to a form must not lead to another server by the content security policy.
    """
    return _forward(language, url, _("Sign out"))


def _forward(language: str, url: str, heading: Text) -> HTMLResponse:
    target, title = escape(url), _html(language, heading)
    head = f'<meta http-equiv="refresh" content="0; url={target}">\n'
    body = f'<p><a href="{target}">{_html(language, _("Continue"))}</a></p>\n'
    return HTMLResponse(_PAGE.format(language=language, head=head, title=title, body=body))
