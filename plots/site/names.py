"""File names of the site's pages: safe on every disk and in every address, and the same each
night."""

import hashlib
import re

LETTERS = 48  # of a name that stay readable
DIGITS = 10  # of its digest, which keeps names apart that look alike


def slug(*parts: str) -> str:
    """Small letters, digits and hyphens for any texts; different texts get different names."""
    words = "-".join(re.findall("[a-z0-9]+", " ".join(parts).lower()))[:LETTERS].strip("-")
    text = "\0".join(parts).encode(errors="surrogatepass")
    digest = hashlib.sha256(text).hexdigest()[:DIGITS]
    return f"{words}-{digest}" if words else digest


def series(key: tuple) -> str:
    """The page of a series, from the site's root."""
    return f"series/{slug(*key)}.html"


def session(name: str) -> str:
    """The page of a session, from the site's root."""
    return f"sessions/{slug(name)}.html"


def node(name: str) -> str:
    """The page of a node, from the site's root."""
    return f"nodes/{slug(name)}.html"
