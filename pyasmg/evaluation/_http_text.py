"""What may be shown of addresses, headers and foreign text: one short line without secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

_QUOTE = 200  # characters of foreign text in an error
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


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
