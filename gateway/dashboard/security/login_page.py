"""The page of the sign-in: plain HTML that works without JavaScript, in the language of the browser."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from gateway.settings.dashboard_section import Language

TEXTS = {
    "en": {
        "title": "Sign in",
        "name": "User name",
        "password": "Password",
        "submit": "Sign in",
        "oidc": "Sign in with the company account",
        "wrong": "The user name or the password is wrong.",
        "throttled": "Too many attempts. Try again in {seconds} seconds.",
        "busy": "The server is busy. Try again in a moment.",
        "origin": "The form is from another page. Try again here.",
        "provider": "The company account can't be checked now. Try again later, or ask your administrator.",
        "refused": "The company account was not accepted.",
        "no-role": "The company account has no role here. Ask your administrator.",
        "continue": "Continue",
    },
    "de": {
        "title": "Anmelden",
        "name": "Benutzername",
        "password": "Passwort",
        "submit": "Anmelden",
        "oidc": "Mit dem Firmenkonto anmelden",
        "wrong": "Der Benutzername oder das Passwort ist falsch.",
        "throttled": "Zu viele Versuche. Versuchen Sie es in {seconds} Sekunden wieder.",
        "busy": "Der Server ist ausgelastet. Versuchen Sie es gleich noch einmal.",
        "origin": "Das Formular kam von einer anderen Seite. Versuchen Sie es hier noch einmal.",
        "provider": "Das Firmenkonto kann jetzt nicht geprüft werden. Versuchen Sie es später, oder fragen Sie Ihre "
        "Administratoren.",
        "refused": "Das Firmenkonto wurde nicht angenommen.",
        "no-role": "Das Firmenkonto hat hier keine Rolle. Fragen Sie Ihre Administratoren.",
        "continue": "Weiter",
    },
    "zh": {
        "title": "登录",
        "name": "用户名",
        "password": "密码",
        "submit": "登录",
        "oidc": "使用企业账号登录",
        "wrong": "用户名或密码错误。",
        "throttled": "尝试次数过多。请在 {seconds} 秒后重试。",
        "busy": "服务器繁忙，请稍后重试。",  # noqa: RUF001 - a comma of Chinese
        "origin": "表单来自其他页面。请在此处重试。",
        "provider": "目前无法验证企业账号。请稍后重试，或联系管理员。",  # noqa: RUF001 - a comma of Chinese
        "refused": "企业账号未被接受。",
        "no-role": "企业账号在此没有角色。请联系管理员。",
        "continue": "继续",
    },
}
"""The texts by language."""

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

_FORM = """<form method="post" action="/login">
<h2>{title}</h2>
<label for="name">{name}</label>
<input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64"
 required autofocus value="{value}"{described}>
<label for="password">{password}</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="256"
 required{described}>
<input type="hidden" name="next" value="{next}">
<button type="submit">{submit}</button>
</form>
"""

_MOST_LANGUAGES = 20
"""Languages of a browser that are looked at."""


def language_of(accepted: str, configured: Language | None) -> str:
    """Return the language of a page: as configured, or the first that is accepted (RFC 9110, clause 12.5.4)."""
    if configured is not None:
        return str(configured)
    for one in accepted[:1000].split(",")[:_MOST_LANGUAGES]:
        language = one.partition(";")[0].strip().lower().partition("-")[0]
        if language in TEXTS:
            return language
    return "en"


def login_page(
    language: str, *, status: int = 200, problem: str = "", seconds: int = 0, name: str = "", after: str = "/",
    with_passwords: bool = True, with_oidc: bool = False,
) -> HTMLResponse:  # fmt: skip
    """Return the page with its form, and with the text of a problem."""
    texts = TEXTS[language]
    body = ""
    if problem:
        body += f'<p class="problem" id="problem" role="alert">{escape(texts[problem].format(seconds=seconds))}</p>\n'
    if with_oidc:
        # a link: a form must not lead to another server by the content security policy
        target = escape(f"/login/oidc?{urlencode({'next': after})}")
        body += f'<p><a class="button" href="{target}">{escape(texts["oidc"])}</a></p>\n'
    if with_passwords:
        described = ' aria-describedby="problem" aria-invalid="true"' if problem else ""
        body += _FORM.format(
            title=texts["title"], name=texts["name"], password=texts["password"], submit=texts["submit"],
            value=escape(name), next=escape(after), described=described,
        )  # fmt: skip
    return HTMLResponse(_PAGE.format(language=language, head="", title=texts["title"], body=body), status)


def continue_page(language: str, after: str) -> HTMLResponse:
    """Return a page that goes on to a path of this server at once.

    A browser sends a cookie with SameSite=Strict for a link of this page, and not for the page of somebody else.
    """
    target = escape(after)
    head = f'<meta http-equiv="refresh" content="0; url={target}">\n'
    body = f'<p><a href="{target}">{escape(TEXTS[language]["continue"])}</a></p>\n'
    return HTMLResponse(_PAGE.format(language=language, head=head, title=TEXTS[language]["title"], body=body))
