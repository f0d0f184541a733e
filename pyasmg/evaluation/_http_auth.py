"""What proves to the server who asks: sent with each request, and shown nowhere."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

from ._http_text import is_header_value

_SECRET_NAMES = ("auth", "cookie", "key", "token", "secret", "password", "credential", "signature")


class Auth:
    """A secret from the environment, and all other secrets that requests hold.

    Parameters
    ----------
    variable : str or None
        Environment variable with the secret.
    header, scheme : str
        How it is sent.
    url : str
        With secrets in its query, perhaps.
    login : tuple of two str or None
        User and password.
    headers : mapping
        The user's own, with secrets in them, perhaps.
    """

    def __init__(
        self,
        variable: str | None,
        *,
        header: str,
        scheme: str,
        url: str,
        login: tuple[str, str] | None,
        headers: Mapping[str, str],
    ) -> None:
        self.variable = variable
        self._header, self._scheme = header, scheme
        self._others = [*_login_secrets(login), *_query_secrets(url)]
        self._others += [value for name, value in headers.items() if _is_secret(name)]

    def header(self) -> dict[str, str]:
        """Return the header to send now; raises ValueError like :func:`read_secret`."""
        if self.variable is None:
            return {}
        return {self._header: f"{self._scheme} {read_secret(self.variable)}".strip()}

    def secrets(self) -> list[str]:
        """Return all that must not be shown."""
        secret = os.environ.get(self.variable, "").strip() if self.variable is not None else ""
        return [text for text in (*self._others, secret) if text]


def read_secret(variable: str) -> str:
    """Return the value of an environment variable that can be sent in a header.

    Raises
    ------
    ValueError
        If it is not set or holds what no header may hold; the message names the variable, never its value.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ValueError(f"the environment variable {variable} must hold the secret to send; it is not set or empty.")
    if not is_header_value(value):
        raise ValueError(f"the environment variable {variable} must hold one line of printable ASCII characters.")
    return value


def _login_secrets(login: tuple[str, str] | None) -> list[str]:
    """Return the forms in which a password in the URL might come back."""
    if login is None or not login[1]:
        return []
    pair = base64.b64encode(":".join(login).encode()).decode()
    return [login[1], quote(login[1], safe=""), pair]


def _query_secrets(url: str) -> list[str]:
    """Return the values in the URL's query that look as if they were secret."""
    pairs = [pair.partition("=") for pair in urlsplit(url).query.split("&")]
    return [form for key, _, value in pairs if _is_secret(key) for form in (value, unquote(value))]


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_NAMES)
