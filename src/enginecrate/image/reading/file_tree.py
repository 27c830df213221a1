"""The tree of an image's files, as one layer after the other changes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from enginecrate.errors import ArchiveUnsafe, ImageInvalid
from enginecrate.image.formats.tar_stream import Limits, TarEntry, refuse_entries

__all__ = ["Entry", "FileTree", "Hidden"]

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_SETID = 0o6000
_MOST_LINKS = 40
"""As many symbolic links as Linux follows in one path (path_resolution(7))."""
_NOTHING: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of an image.

    path: without a leading slash; symbolic links among its folders are resolved.
    mode: permission bits with setuid, setgid and sticky.
    layer: the number of the layer that put it there, from 0, lowest first.
    inode: the same number means the same content (hard links).
    target: of a symbolic link, as written.
    xattrs: extended attributes by name.
    """

    path: str
    kind: Literal["file", "folder", "symlink", "device", "pipe"]
    mode: int
    uid: int
    gid: int
    size: int
    layer: int
    inode: int
    target: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Hidden:
    """A file that the layer `by` removes or replaces."""

    entry: Entry
    by: int


@dataclass(slots=True)
class _Folder:
    entry: Entry
    children: dict[str, _Folder | Entry] = field(default_factory=dict)


class FileTree:
    """Folders and what is in them.

    visible: inodes of the files that are left when all layers are applied; empty before `finish`.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries_left, self._text_left = limits.entries, limits.text_bytes
        self._root = _Folder(Entry("", "folder", 0o755, 0, 0, 0, 0, -1))
        self.hidden: list[Hidden] = []
        self.visible: frozenset[int] = frozenset()

    @contextmanager
    def layer(self, number: int) -> Iterator[_LayerChange]:
        """Apply a layer's entries through the change that is given."""
        yield _LayerChange(self, self._root, number)

    def keep(self, entry: Entry, where: str) -> Entry:
        """The same entry, counted: what is kept in memory has limits."""
        self._entries_left -= 1
        self._text_left -= len(entry.path) + len(entry.target)
        self._text_left -= sum(len(key) + len(value) for key, value in entry.xattrs.items())
        if self._entries_left < 0:
            raise refuse_entries(where, self._limits)
        if self._text_left < 0 or entry.path.count("/") > self._limits.depth:
            raise ArchiveUnsafe(
                f"{where} has folders deeper than {self._limits.depth}, or brings the names in the "
                f"image to more than {self._limits.text_bytes:,} bytes; do not run the image"
            )
        return entry

    def finish(self) -> None:
        self.visible = frozenset(one.inode for one in self.entries() if one.kind == "file")

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """All entries below a folder, sorted by path, folders before what is in them."""
        start = self._lookup(folder)
        if not isinstance(start, _Folder):
            return
        pending: list[_Folder | Entry] = [start.children[n] for n in _backwards(start)]
        while pending:
            node = pending.pop()
            if isinstance(node, Entry):
                yield node
            else:
                yield node.entry
                pending.extend(node.children[name] for name in _backwards(node))

    def find(self, path: str, *, follow: bool) -> Entry | None:
        """The entry at a path, or None."""
        folder, _, name = path.strip("/").rpartition("/")
        node: _Folder | Entry | None
        if follow:
            node = self._lookup(path)
        else:
            parent = self._lookup(folder)
            node = parent.children.get(name) if isinstance(parent, _Folder) else None
            if not name:
                node = self._root
        return node.entry if isinstance(node, _Folder) else node

    def _lookup(self, path: str) -> _Folder | Entry | None:
        trail = [self._root]
        pending = path.split("/")[::-1]
        links = _MOST_LINKS
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                del trail[max(1, len(trail) - 1) :]
                continue
            child = trail[-1].children.get(name)
            if isinstance(child, _Folder):
                trail.append(child)
            elif child is not None and child.kind == "symlink":
                links -= 1
                if links < 0:
                    return None
                if child.target.startswith("/"):
                    del trail[1:]
                pending.extend(child.target.split("/")[::-1])
            else:
                return child if child is not None and not any(pending) else None
        return trail[-1]


def _backwards(folder: _Folder) -> list[str]:
    return sorted(folder.children, reverse=True)


class _LayerChange:
    """The change of a tree by the entries of one layer."""

    def __init__(self, tree: FileTree, root: _Folder, number: int) -> None:
        self._tree, self._root, self._layer = tree, root, number
        self._name = f"layer {number + 1}"
        self._known: tuple[str, _Folder] | None = None
        """The folder of the entry before: most entries follow a neighbour."""

    def apply(self, header: TarEntry, number: int) -> Entry | None:
        """Apply an entry of the tar, its `number`th. Gives the new entry when it is a file.

        Raises:
            ArchiveUnsafe: the path or the hard link leads out of the root.
            ImageInvalid: the entry contradicts those before it.
        """
        folder, _, name = self._clean(header.name).rpartition("/")
        parent = self._folder(folder)
        if name.startswith(_WHITEOUT):
            self._whiteout(parent, name)
            return None
        path = f"{parent.entry.path}/{name}" if parent.entry.path else name
        entry = self._entry(header, path, number)
        if not name:
            self._root.entry = replace(entry, path="")
        elif entry.kind == "folder":
            self._put_folder(parent, name, entry)
        else:
            self._remove(parent, name, below=self._layer + 1)
            parent.children[name] = entry
        return entry if header.kind == "file" else None

    def _entry(self, header: TarEntry, path: str, number: int) -> Entry:
        if header.kind == "hardlink":
            target = self._link_target(header)
            # Runtimes set what the link's own header says on the file that both share.
            entry = replace(
                target,
                path=path,
                layer=self._layer,
                mode=target.mode | header.mode & _SETID,
                xattrs={**target.xattrs, **header.xattrs} if header.xattrs else target.xattrs,
            )
        else:
            entry = Entry(
                path, header.kind, header.mode, header.uid, header.gid, header.size, self._layer,
                self._layer << 32 | number, header.target, header.xattrs,
            )  # fmt: skip
        return self._tree.keep(entry, self._name)

    def _link_target(self, header: TarEntry) -> Entry:
        target = self._clean(header.target)
        entry = self._tree.find(target, follow=False)
        if entry is None or entry.kind == "folder":
            raise ImageInvalid(
                f"{self._name}: {header.name!r} is a hard link to {header.target!r}, which is not "
                "a file of the image; build the image again"
            )
        return entry

    def _clean(self, name: str) -> str:
        """The name without `./` and a leading slash, as runtimes read it."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise ArchiveUnsafe(
                f"{self._name} has the path {name!r}, which leads out of its folder; "
                "no honest builder writes this: do not run the image"
            )
        return "/".join(parts)

    def _folder(self, path: str) -> _Folder:
        """The folder at a path. Links on the way are followed; what is missing is made."""
        if self._known is not None and self._known[0] == path:
            return self._known[1]
        trail, pending, links = [self._root], path.split("/")[::-1], _MOST_LINKS
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del trail[max(1, len(trail) - 1) :]
                continue
            child = trail[-1].children.get(part)
            if isinstance(child, Entry) and child.kind == "symlink":
                links -= 1
                if links < 0:
                    raise ArchiveUnsafe(f"{self._name}: the links in {path!r} run in a circle")
                if child.target.startswith("/"):
                    del trail[1:]
                pending.extend(child.target.split("/")[::-1])
            else:
                trail.append(self._enter(trail[-1], part, child))
        self._known = (path, trail[-1])
        return trail[-1]

    def _enter(self, parent: _Folder, name: str, child: _Folder | Entry | None) -> _Folder:
        if isinstance(child, Entry):
            raise ImageInvalid(
                f"{self._name} has an entry inside of {child.path!r}, which is a {child.kind}; "
                "build the image again"
            )
        if child is None:
            path = f"{parent.entry.path}/{name}" if parent.entry.path else name
            entry = Entry(path, "folder", 0o755, 0, 0, 0, self._layer, -1)
            child = _Folder(self._tree.keep(entry, self._name))
            parent.children[name] = child
        return child

    def _put_folder(self, parent: _Folder, name: str, entry: Entry) -> None:
        child = parent.children.get(name)
        if isinstance(child, _Folder):
            child.entry = entry
            return
        self._remove(parent, name, below=self._layer + 1)
        parent.children[name] = _Folder(entry)

    def _whiteout(self, parent: _Folder, name: str) -> None:
        if name == _OPAQUE:
            for child in list(parent.children):
                self._remove(parent, child, below=self._layer)
        elif not name.startswith(_WHITEOUT * 2):
            self._remove(parent, name[len(_WHITEOUT) :], below=self._layer)

    def _remove(self, parent: _Folder, name: str, *, below: int) -> None:
        """Take away what layers lower than `below` put there."""
        node = parent.children.get(name)
        if node is None:
            return
        self._known = None
        if isinstance(node, _Folder):
            for child in list(node.children):
                self._remove(node, child, below=below)
            if node.children or node.entry.layer >= below:
                return
        elif node.layer >= below:
            return
        elif node.kind == "file" and node.size:
            self._tree.hidden.append(Hidden(node, self._layer))
        del parent.children[name]
