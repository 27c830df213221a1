"""Lists that a registry sends in pages.

Source: OCI Distribution Specification 1.1, "Listing Tags"; RFC 8288 (the header `Link`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from enginecrate.errors import ImageInvalid
from enginecrate.image.transports.registry.responses import Answer

__all__ = ["pages"]

_MOST_PAGES = 200
_NEXT = re.compile(r'<([^<>]+)>[^,]*;\s*rel="?next"?', re.IGNORECASE)


def pages(get: Callable[[str], Answer], path: str) -> Iterator[Answer]:
    """Every page, from `path` on. Pages on other hosts are not followed.

    Raises:
        ImageInvalid: there are too many, or one leads elsewhere.
    """
    seen: set[str] = set()
    while path not in seen and len(seen) < _MOST_PAGES:
        seen.add(path)
        answer = get(path)
        yield answer
        following = _NEXT.search(answer.headers.get("link", ""))
        if answer.status != 200 or following is None:
            return
        url = answer.url.join(following[1])
        if (url.host, url.port) != (answer.url.host, answer.url.port):
            raise ImageInvalid(f"{answer.url.host} continues a list on another host")
        path = str(url)
    raise ImageInvalid(f"a list of more than {_MOST_PAGES} pages, or one that begins again")
