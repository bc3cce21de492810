"""`deployrec sign`: a bundle's signature, by which others know who made it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from deployrec.cli.console import doing, say

PASSWORD = "DEPLOYREC_KEY_PASSWORD"


def sign(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    key: Annotated[Path, typer.Option(help=f"Private EC key in PEM; where it has a password, ${PASSWORD} holds it.")],
) -> None:
    """Sign every file of a bundle in the OpenSSF model-signing format, into its model.sig.

    examples:

      openssl ecparam -name prime256v1 -genkey -noout -out key.pem

      openssl ec -in key.pem -pubout -out key.pub

      deployrec sign bundles/glintru --key key.pem

      deployrec verify bundles/glintru --trusted key.pub
    """
    from deployrec.bundle.bundle import Bundle
    from deployrec.bundle.signing import sign as sign_bundle

    with doing(f"signing {bundle}"):
        opened = Bundle.open(bundle)
        path = sign_bundle(opened, key, os.environ.get(PASSWORD))
    say(f"{path}: {len(opened.manifest.files) + 1} files of bundle {opened.manifest.bundle_id[:12]}, signed by {key}")
