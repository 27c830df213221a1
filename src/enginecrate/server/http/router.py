"""The route table: paths with `{parameters}`, found by comparing segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from enginecrate.errors import MethodNotAllowed, RouteUnknown, nearest
from enginecrate.server.http.head import RequestHead
from enginecrate.server.http.messages import Handler, Request, Response, shown
from enginecrate.server.scheduling.client import Client

__all__ = ["Admit", "Match", "Route", "RouteTable"]

Admit = Callable[[RequestHead, Client], None]
"""Refuses a request whose head is there; whatever it raises is the answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row: `GET` also answers `HEAD`. A last segment `{name*}` takes the rest of the path.

    admit: called when the head is there, before the body is read; an error is the answer.
    quick: answers in the event loop, or `None`: then `handler` does.
    """

    method: str
    pattern: str
    handler: Handler
    admit: Admit | None = None
    quick: Callable[[Request], Response | None] | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that the row answers."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


@dataclass(frozen=True, slots=True)
class Match:
    """The route that was found, and the values of its parameters."""

    route: Route
    params: Mapping[str, str]


class RouteTable:
    """Finds the route for a method and a path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._fixed: dict[str, list[Match]] = {}
        self._patterns: dict[int, list[_Pattern]] = {}
        self._open: list[_Pattern] = []
        for route in self.routes:
            if "{" not in route.pattern:
                self._fixed.setdefault(route.pattern, []).append(Match(route, {}))
                continue
            pattern = _Pattern(route)
            if pattern.is_open:
                self._open.append(pattern)
            else:
                self._patterns.setdefault(pattern.length, []).append(pattern)

    def match(self, method: str, path: str) -> Match:
        """Find a route.

        Args:
            method: as sent.
            path: as sent: still percent-encoded, so that an encoded slash parts nothing.

        Raises:
            RouteUnknown: no route has this path.
            MethodNotAllowed: routes have this path, none with this method.
        """
        known = False
        for match in self._matches(path):
            known = True
            if method in match.route.methods:
                return match
        if not known:
            raise RouteUnknown(f"there is no path {shown(path)}{self._advice(path)}")
        raise MethodNotAllowed(
            f"{shown(path)} does not take {shown(method, 20)}; use {self.allowed(path)}"
        )

    def allowed(self, path: str) -> str:
        """The methods that a path takes, as for the header `Allow`."""
        methods = {method for match in self._matches(path) for method in match.route.methods}
        return ", ".join(sorted(methods))

    def _matches(self, path: str) -> Iterator[Match]:
        yield from self._fixed.get(path, ())
        segments = path.split("/")
        for pattern in (*self._patterns.get(len(segments), ()), *self._open):
            params = pattern.compare(segments)
            if params is not None:
                yield Match(pattern.route, params)

    def _advice(self, path: str) -> str:
        shorter = path.rstrip("/")
        if shorter != path and next(self._matches(shorter), None) is not None:
            return f"; leave out the slash at its end: {shown(shorter)}"
        return nearest(path[:200], self._fixed) or "; GET /docs lists every path"


class _Pattern:
    """A route's pattern, taken apart once."""

    def __init__(self, route: Route) -> None:
        self.route = route
        segments = route.pattern.split("/")
        self.length = len(segments)
        self.is_open = segments[-1].endswith("*}")
        self._names = [(n, s.strip("{*}")) for n, s in enumerate(segments) if s[:1] == "{"]
        self._words = [(n, s) for n, s in enumerate(segments) if s[:1] != "{"]

    def compare(self, segments: list[str]) -> dict[str, str] | None:
        """The parameters, percent-decoded; `None` when the path is another one."""
        if self.is_open:
            last = self.length - 1
            segments = [*segments[:last], "/".join(segments[last:])]
        if len(segments) != self.length:
            return None
        for position, word in self._words:
            if segments[position] != word:
                return None
        params = {name: unquote(segments[position]) for position, name in self._names}
        return params if all(params.values()) else None
