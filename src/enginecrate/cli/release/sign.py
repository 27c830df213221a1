"""`enginecrate release sign` and `vex`: add signatures to a release that is there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.options import (
    Json,
    RegistryAccess,
    read_input,
    refuse_together,
    with_groups,
)
from enginecrate.cli.shared.output import note, plain, print_json, show_progress
from enginecrate.cli.shared.secrets import PassphraseSource, SigningKeys
from enginecrate.errors import UsageError

if TYPE_CHECKING:
    from enginecrate.release.keys.trust_file import Trust
    from enginecrate.release.manifest import ReleaseManifest

__all__ = ["counted", "describe", "sign", "vex"]

SignedBy = Annotated[
    list[Path] | None,
    typer.Option(
        "--signed-by", metavar="KEY.pub", help="Who must have signed before; may be repeated"
    ),
]
TrustFile = Annotated[
    Path | None,
    typer.Option("--trust", metavar="FILE", help="Trust file: one of its keys must have signed"),
]


@with_groups
def sign(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="The release manifest, or one of its images; a digest is best"
        ),
    ],
    key: SigningKeys,
    signed_by: SignedBy = None,
    trust: TrustFile = None,
    first: Annotated[
        bool, typer.Option("--first", help="Nobody has signed before: no signature is examined")
    ] = False,
    repository: Annotated[
        str, typer.Option(metavar="NAME", help="Repository that signatures name")
    ] = "",
    *,
    registry: RegistryAccess,
    passphrases: PassphraseSource,
    as_json: Json = False,
) -> None:
    """Add signatures of other keys to a release, its images and its statements.

    Who has signed before must be named, and is examined first: what a name leads to can change.
    Verify the images before, too: who signs vouches for them.
    """
    from enginecrate.image.transports.reference import open_target
    from enginecrate.release.content.image import find_release
    from enginecrate.release.create.release import sign_release
    from enginecrate.release.signatures.release_signatures import check_signatures

    earlier = _earlier(signed_by or [], trust, first=first)
    keys = passphrases.load_keys(key)
    transport, name = open_target(reference, registry.options(), create=False)
    descriptor, release = find_release(transport, name)
    if earlier is not None:
        check_signatures(transport, descriptor, release, earlier)
    if not as_json:
        describe(release)
    with show_progress() as progress:
        added = sign_release(transport, descriptor, release, keys, repository, progress)
    if as_json:
        images = {one.tag: one.digest for one in release.images}
        print_json(
            {"tag": release.tag, "digest": str(descriptor.digest), "images": images,
             "signatures": added}
        )  # fmt: skip
        return
    typer.echo(plain(f"{release.tag}  {descriptor.digest}  {counted(added, 'signature')} added"))


@with_groups
def vex(
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="The release manifest, or one of its images alone"),
    ],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The VEX file: OpenVEX or CycloneDX")
    ],
    key: SigningKeys,
    signed_by: SignedBy = None,
    trust: TrustFile = None,
    *,
    registry: RegistryAccess,
    passphrases: PassphraseSource,
    as_json: Json = False,
) -> None:
    """Attach a signed VEX statement to the images of a release that is out.

    The release manifest stays as it is. The release must be signed by the key that signs now, or
    by those that --signed-by or --trust name.
    """
    from enginecrate.image.transports.reference import open_target
    from enginecrate.release.create.later_vex import attach_vex
    from enginecrate.release.keys.trust_file import Trust

    data = read_input(file)
    keys = passphrases.load_keys(key)
    own = [(path.stem, one.public) for path, one in zip(key, keys, strict=True)]
    named = bool(signed_by or trust)
    earlier = (_earlier(signed_by or [], trust) if named else None) or Trust.of(own, require=1)
    transport, name = open_target(reference, registry.options(), create=False)
    done = attach_vex(transport, name, data, str(file), keys, earlier)
    if as_json:
        print_json({"attached": done})
        return
    for image in done:
        words = f"{image.tag}  {image.platform}  {image.digest}  statement {image.statement}"
        typer.echo(plain(words))
    note(f"{counted(sum(one.signatures for one in done), 'signature')} added")


def describe(release: ReleaseManifest) -> None:
    """Print what a release lists, with digests. Words of its maker cannot steer the terminal."""
    _echo(f"{release.app} {release.version}, made by {release.tool}")
    if release.is_unproven:
        _echo("  unproven: the app has no golden samples, so its answers were never compared")
    for image in release.images:
        platforms = ", ".join(one.platform for one in image.platforms)
        _echo(f"  {image.tag}  {image.digest}  {platforms}")
        for listed in image.attachments:
            _echo(f"    {listed.kind:<22} {listed.content}")
        for platform in image.platforms:
            for plan in platform.plans:
                _echo(f"    plan {plan.device} {plan.precision:<8} {plan.digest}")


def counted(number: int, what: str) -> str:
    """`1 signature`, `2 signatures`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _earlier(signed_by: Sequence[Path], file: Path | None, *, first: bool = False) -> Trust | None:
    """The keys that must have signed before; `None`: by the user's word this is the first one."""
    from enginecrate.release.keys.key_files import load_public_key
    from enginecrate.release.keys.trust_file import Trust, load_trust

    if not (signed_by or file or first):
        raise UsageError(
            "say who has signed the release before: --signed-by KEY.pub or --trust FILE; who signs "
            "first of all says --first"
        )
    refuse_together({"--signed-by": signed_by, "--trust": file, "--first": first})
    if first:
        return None
    keys = [(path.stem, load_public_key(path)) for path in signed_by]
    return Trust.of(keys, file=load_trust(file) if file else (), require=max(1, len(keys)))


def _echo(line: str) -> None:
    typer.echo(plain(line))
