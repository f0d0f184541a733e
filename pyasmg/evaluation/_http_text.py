"""What may be shown of addresses, headers and foreign text: one short line without secrets."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

_QUOTE = 200  # characters of foreign text in an error
_SECRET_NAMES = ("auth", "cookie", "key", "token", "secret", "password", "credential", "signature")
# What this package sets itself, because the body depends on it.
_RESERVED = (
    "content-length",
    "content-type",
    "transfer-encoding",
    "accept-encoding",
    "inference-header-content-length",
)


def one_line(text: str, limit: int = _QUOTE) -> str:
    """Return foreign text on one line of printable characters, cut to ``limit``."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret in it blacked out."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "[hidden]")
    return text


def split_url(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return the URL without user and password, and these.

    Raises
    ------
    ValueError
        If it is no absolute http or https URL; the message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"`url` must be a URL like http://host:port/path; got one that is not ({error}).") from None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        scheme = one_line(parts.scheme, 20)
        raise ValueError(f"`url` must be a URL like http://host:port/path; got scheme {scheme!r} and host {host!r}.")
    login = None
    if parts.username is not None:
        login = unquote(parts.username), unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=_host(parts), fragment="")), login


def public_url(url: str) -> str:
    """Return what may be shown of a URL: without user, password and the values of its query."""
    try:
        parts = urlsplit(url)
        netloc = _host(parts)
    except ValueError:
        return "an invalid address"
    keys = [pair.split("=", 1)[0] for pair in parts.query.split("&") if pair]
    query = "&".join(f"{key}=..." for key in keys)
    return one_line(urlunsplit(parts._replace(netloc=netloc, query=query, fragment="")))


def login_secrets(login: tuple[str, str] | None) -> list[str]:
    """Return the forms in which a password in the URL might come back."""
    if login is None or not login[1]:
        return []
    pair = base64.b64encode(":".join(login).encode()).decode()
    return [login[1], quote(login[1], safe=""), pair]


def query_secrets(url: str) -> list[str]:
    """Return the values in the URL's query that look as if they were secret."""
    pairs = [pair.partition("=") for pair in urlsplit(url).query.split("&")]
    return [form for key, _, value in pairs if _is_secret(key) for form in (value, unquote(value))]


def header_secrets(headers: Mapping[str, str]) -> list[str]:
    """Return the values of headers whose names sound secret."""
    return [value for name, value in headers.items() if _is_secret(name)]


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers as a dict; errors name the header, never its value."""
    result = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not name or not all(c.isalnum() or c in "-_.~!#$%&'*+^`|" for c in name):
            raise ValueError(f"`headers` must have names of letters, digits and '-'; got {one_line(repr(name), 60)}.")
        if not name.isascii() or name.lower() in _RESERVED:
            raise ValueError(f"`headers` must not hold {one_line(name, 60)}: it follows from what is sent.")
        if not isinstance(value, str) or not is_header_value(value):
            raise ValueError(f"`headers` must hold strings of printable ASCII; that of {one_line(name, 60)} is not.")
        result[name] = value
    return result


def is_header_value(value: str) -> bool:
    """Say whether the text can be sent in a header."""
    return value.isascii() and value.isprintable() and value == value.strip()


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


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_NAMES)
