"""The route table: paths with `{parameters}`, found by comparing segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from enginecrate.errors import MethodNotAllowed, RouteUnknown, nearest
from enginecrate.server.messages import Handler, shown

__all__ = ["Match", "Route", "RouteTable"]


@dataclass(frozen=True, slots=True)
class Route:
    """One row: `GET` also answers `HEAD`. A last segment `{name*}` takes the rest of the path."""

    method: str
    pattern: str
    handler: Handler

    @property
    def methods(self) -> tuple[str, ...]:
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
        self._fixed: dict[tuple[str, str], Match] = {}
        self._patterns: list[tuple[list[str], Route]] = []
        for route in self.routes:
            if "{" in route.pattern:
                self._patterns.append((route.pattern.split("/"), route))
            else:
                for method in route.methods:
                    self._fixed[method, route.pattern] = Match(route, {})

    def match(self, method: str, path: str) -> Match:
        """Find a route.

        Args:
            method: as sent.
            path: as sent: still percent-encoded, so that an encoded slash parts nothing.

        Raises:
            RouteUnknown: no route has this path.
            MethodNotAllowed: routes have this path, none with this method.
        """
        found = self._fixed.get((method, path))
        if found is not None:
            return found
        matches = self._matches(path)
        for match in matches:
            if method in match.route.methods:
                return match
        if not matches:
            raise RouteUnknown(f"there is no path {shown(path)}{self._advice(path)}")
        raise MethodNotAllowed(
            f"{shown(path)} does not take {shown(method, 20)}; use {self.allowed(path)}"
        )

    def allowed(self, path: str) -> str:
        """The methods that a path takes, as for the header `Allow`."""
        methods = {method for match in self._matches(path) for method in match.route.methods}
        return ", ".join(sorted(methods))

    def _matches(self, path: str) -> list[Match]:
        found = [Match(route, {}) for route in self.routes if route.pattern == path]
        segments = path.split("/")
        for pattern, route in self._patterns:
            params = _compare(pattern, segments)
            if params is not None:
                found.append(Match(route, params))
        return found

    def _advice(self, path: str) -> str:
        if len(path) > 1 and self._matches(path.rstrip("/")):
            return f"; leave out the slash at its end: {shown(path.rstrip('/'))}"
        fixed = [route.pattern for route in self.routes if "{" not in route.pattern]
        return nearest(path[:200], fixed) or "; GET /docs lists every path"


def _compare(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    if pattern[-1].endswith("*}"):
        keep = len(pattern) - 1
        segments = [*segments[:keep], "/".join(segments[keep:])]
    if len(pattern) != len(segments):
        return None
    params = {}
    for want, have in zip(pattern, segments, strict=True):
        if want.startswith("{"):
            if not have:
                return None
            params[want.strip("{*}")] = unquote(have)
        elif want != have:
            return None
    return params
