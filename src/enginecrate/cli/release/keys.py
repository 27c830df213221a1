"""`enginecrate keys`: make keys that sign releases, and say which ones are trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.options import Json, examples, with_groups
from enginecrate.cli.shared.output import note, plain, print_json
from enginecrate.cli.shared.secrets import PassphraseSource
from enginecrate.errors import KeyExists, KeyInvalid, KeyUnknown

if TYPE_CHECKING:
    from enginecrate.release.keys.keys import PublicKey
    from enginecrate.release.keys.trust_file import TrustedKey

__all__ = ["create_app"]

TrustFile = Annotated[
    Path, typer.Option("--trust", metavar="FILE", help="The trust file to read or write")
]
_DEFAULT = Path("keys.toml")


def create_app() -> typer.Typer:
    """The group with its verbs."""
    app = typer.Typer(help="Keys that sign releases, and the file that says which are trusted.")
    for verb, lines in (
        (new, ("enginecrate keys new ~/keys/release-2026",)),
        (show, ("enginecrate keys show release-2026.pub", "enginecrate keys show keys.toml")),
        (trust, ("enginecrate keys trust release-2026.pub --from 2.0.0",)),
        (retire, ("enginecrate keys retire release-2025 --until 1.9.0",)),
        (revoke, ("enginecrate keys revoke release-2025 --reason 'laptop stolen'",)),
    ):
        app.command(verb.__name__, epilog=examples(*lines))(verb)
    return app


@with_groups
def new(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="PATH.key and PATH.pub are written")],
    *,
    passphrases: PassphraseSource,
    as_json: Json = False,
) -> None:
    """Make a key pair: ECDSA on P-256, the private half encrypted with a passphrase.

    Nothing is ever overwritten. Give customers the public half, on another way than the images.
    """
    from enginecrate.release.keys.key_files import refuse_existing, write_key_pair
    from enginecrate.release.keys.keys import make_key

    refuse_existing(path)  # before a passphrase is asked for
    passphrase = passphrases.ask_new()
    key = make_key()
    private, public = write_key_pair(path, key, passphrase)
    if as_json:
        print_json({"id": str(key.public.id), "private": str(private), "public": str(public)})
        return
    typer.echo(f"{private}  private, encrypted: keep it, and a copy of it, where nobody else is")
    typer.echo(f"{public}  public: give it to those who verify")
    typer.echo(f"id {key.public.id}")


@with_groups
def show(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A key, or a trust file")],
    *,
    passphrases: PassphraseSource,
    as_json: Json = False,
) -> None:
    """Show the id and the public half of a key, or the keys of a trust file."""
    from enginecrate.release.keys.key_files import load_public_key
    from enginecrate.release.keys.trust_file import load_trust

    if path.suffix == ".toml":
        _show_trust(load_trust(path), as_json=as_json)
        return
    key = passphrases.load_key(path).public if path.suffix == ".key" else load_public_key(path)
    if as_json:
        print_json(_as_dict(key))
        return
    typer.echo(f"id {key.id}\n{key.pem}", nl=False)


def trust(
    path: Annotated[Path, typer.Argument(metavar="KEY.pub", help="The public key to trust")],
    name: Annotated[str, typer.Option(help="What to call it (default: the file's name)")] = "",
    valid_from: Annotated[
        str, typer.Option("--from", metavar="VERSION", help="First release that it may sign")
    ] = "",
    valid_until: Annotated[
        str, typer.Option("--until", metavar="VERSION", help="Last release that it may sign")
    ] = "",
    file: TrustFile = _DEFAULT,
    as_json: Json = False,
) -> None:
    """Add a public key to the trust file, which `verify --trust` reads."""
    from enginecrate.release.keys.key_files import load_public_key
    from enginecrate.release.keys.trust_file import TrustedKey, load_trust, save_trust

    key = load_public_key(path)
    known = load_trust(file) if file.exists() else ()
    called = name or path.stem
    for other in known:
        if other.key.id == key.id or other.name == called:
            raise KeyExists(
                f"{file} has the key {other.title} already; change it with `enginecrate keys "
                "retire` or `enginecrate keys revoke`, or choose another --name"
            )
    entry = TrustedKey(
        key=key, name=called, valid_from=_version(valid_from), valid_until=_version(valid_until)
    )
    save_trust(file, (*known, entry))
    _tell(file, entry, f"{file} trusts {entry.title}{_limits(entry)}", as_json=as_json)


def retire(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Name or id of a key in the file")],
    until: Annotated[str, typer.Option(metavar="VERSION", help="Last release that it may sign")],
    file: TrustFile = _DEFAULT,
    as_json: Json = False,
) -> None:
    """Let a key sign releases up to a version only: older ones stay verifiable."""
    _change(file, key, as_json=as_json, valid_until=_version(until))


def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Name or id of a key in the file")],
    reason: Annotated[str, typer.Option(help="Why, for those who read it later")],
    file: TrustFile = _DEFAULT,
    as_json: Json = False,
) -> None:
    """Let nothing count any more that a key has signed, old releases included."""
    if not reason.strip():
        raise KeyInvalid("--reason is empty; say why, customers will read it")
    _change(file, key, as_json=as_json, revoked=reason.strip())


def _change(file: Path, wanted: str, *, as_json: bool, **changes: str) -> None:
    import msgspec

    from enginecrate.release.keys.trust_file import load_trust, save_trust

    known = load_trust(file)
    start = wanted.removeprefix("sha256:")
    matching = [
        one
        for one in known
        if wanted == one.name or (len(start) >= 12 and one.key.id.hex.startswith(start))
    ]
    if len(matching) != 1:
        names = ", ".join(one.title for one in known) or "none"
        raise KeyUnknown(f"{file} has not one key {wanted!r}; its keys: {names}")
    changed = msgspec.structs.replace(matching[0], **changes)
    save_trust(file, [changed if one is matching[0] else one for one in known])
    _tell(file, changed, f"{file}: {changed.title}{_limits(changed)}", as_json=as_json)


def _tell(file: Path, key: TrustedKey, words: str, *, as_json: bool) -> None:
    """What has become of a key in the trust file."""
    if as_json:
        print_json({"trust": str(file), "key": _listed(key)})
    else:
        note(words)


def _show_trust(keys: tuple[TrustedKey, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({"keys": [_listed(one) for one in keys]})
        return
    for entry in keys:
        typer.echo(plain(f"{entry.name}  {entry.key.id}{_limits(entry)}"))


def _listed(key: TrustedKey) -> dict[str, str]:
    limits = {name: getattr(key, name) for name in ("valid_from", "valid_until", "revoked")}
    return {"name": key.name, **_as_dict(key.key), **limits}


def _as_dict(key: PublicKey) -> dict[str, str]:
    return {"id": str(key.id), "public_key": key.pem}


def _limits(key: TrustedKey) -> str:
    words = [
        f" from {key.valid_from}" if key.valid_from else "",
        f" until {key.valid_until}" if key.valid_until else "",
        f", REVOKED: {key.revoked}" if key.revoked else "",
    ]
    return "".join(words)


def _version(text: str) -> str:
    from enginecrate.release.keys.trust_file import is_limit

    if not is_limit(text):
        raise KeyInvalid(
            f"{text!r} is not a version of an app that can be a limit; give one such as 1.9.0, "
            "without spaces and without build metadata (+...)"
        )
    return text
