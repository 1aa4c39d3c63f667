"""Content Credentials (C2PA): who signed a picture and what was done to it, written and judged by c2pa-python.

An optional requirement: this file is imported only where a key is set.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import c2pa
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from PIL import Image

from lora.errors import InvalidSettings
from pipeline.metadata.marks import COMPOSITE, TRAINED, TYPES

# Without thumbnails: each would be a hundred times as large as all the rest.
_CONTEXT = c2pa.Context(c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))
_MIME = {b"\x89P": "image/png", b"\xff\xd8": "image/jpeg", b"RI": "image/webp"}
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_STATES = {
    "Trusted": "valid and trusted: nothing was changed since {who} signed it",
    "Valid": "valid: nothing was changed since {who} signed it; who that is cannot be vouched for here",
    "Invalid": "broken: it is not as {who} signed it",
}


class Credentials:
    """Signs pictures with one key. Thread-safe."""

    def __init__(self, key: str, certificate: str, version: str):
        """`key` and `certificate` (its chain, the own one first) are PEM texts or files of them.

        Raises InvalidSettings where nothing can be signed with them.
        """
        self._version = version
        try:
            private, chain = _pem("C2PA_KEY", key), _pem("C2PA_CERT", certificate)
            algorithm = _algorithm(private)
            self._signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain, private, None))
            pixel = io.BytesIO()
            Image.new("RGB", (1, 1)).save(pixel, "PNG")
            self.signed(pixel.getvalue(), {})
        except (c2pa.C2paError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise InvalidSettings(
                f"C2PA_KEY and C2PA_CERT cannot sign a picture: {said}. They must be a private key (EC, Ed25519 or RSA "
                "of 2048 bits and more, PEM, without a password) and the chain of its certificate, the own one first."
            ) from None

    def signed(self, png: bytes, details: Mapping[str, Any], parent: bytes | None = None) -> bytes:
        """A PNG file with a signed account of how it was made: the action, the model, the adapters with their hashes,
        and the picture that it began with. Each time other bytes.
        """
        parts = [_ingredient(str(details.get("profile", "")), "model", "c2pa.types.model"),
                 *(_ingredient(use["id"], f"sha256:{use['sha256']}", "c2pa.types.model") for use in
                   {use["sha256"]: use for use in details.get("adapters", ())}.values())]  # fmt: skip
        out = io.BytesIO()
        with c2pa.Builder(self._manifest(parts, parent is not None), _CONTEXT) as builder:
            if parent is not None:
                begun = {"title": "the picture that it began with", "relationship": "parentOf", "instance_id": "parent"}
                builder.add_ingredient(begun, _MIME[parent[:2]], io.BytesIO(parent))
            builder.sign(self._signer, "image/png", io.BytesIO(png), out)
        return out.getvalue()

    def _manifest(self, parts: Sequence[Mapping], begun: bool) -> dict:
        made = {"softwareAgent": {"name": "LoRA Atelier", "version": self._version}}
        used = {"parameters": {"ingredientIds": [part["instance_id"] for part in parts]}}
        source = {"digitalSourceType": f"{TYPES}{COMPOSITE if begun else TRAINED}"}
        created = {"action": "c2pa.created", **source, **made, **used}
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}
        actions = [opened, {"action": "c2pa.edited", **source, **made, **used}] if begun else [created]
        return {
            "claim_generator_info": [{"name": "LoRA Atelier", "version": self._version}],
            "title": "picture.png",
            "format": "image/png",
            "ingredients": [*parts],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
        }


def judged(data: bytes) -> str:
    """In a sentence what the Content Credentials of a PNG, JPEG or WebP file are worth."""
    try:
        with c2pa.Reader(_MIME[data[:2]], io.BytesIO(data), context=_CONTEXT) as reader:
            state, told = reader.get_validation_state(), json.loads(reader.json())
    except (c2pa.C2paError, ValueError, KeyError):
        return "Its Content Credentials cannot be read."
    manifest = told.get("manifests", {}).get(told.get("active_manifest"), {})
    signature = manifest.get("signature_info") or {}
    names = [str(signature[name])[:80] for name in ("common_name", "issuer") if signature.get(name)]
    who = " of ".join(name for name in names if name.isprintable()) or "somebody"
    sources = {source for source in (TRAINED, COMPOSITE) if f"/{source}" in json.dumps(manifest)}
    ai = " They say that it was made with AI." if sources else ""
    return f"Its Content Credentials are {_STATES[state or 'Invalid'].format(who=who)}.{ai}"


def _ingredient(title: str, identity: str, kind: str) -> dict:
    return {"title": title, "instance_id": identity, "relationship": "inputTo",
            "format": "application/octet-stream", "data_types": [{"type": kind}]}  # fmt: skip


def _pem(name: str, value: str) -> bytes:
    """A PEM text as it is, or that of a file."""
    if value.lstrip().startswith("-----BEGIN"):
        # In a variable of one line, line ends may be written out.
        return value.replace("\\n", "\n").encode()
    try:
        return Path(value).read_bytes()
    except OSError as error:
        raise InvalidSettings(f"{name} names a file that cannot be read: {error.strerror}.") from None


def _algorithm(private: bytes) -> c2pa.C2paSigningAlg:
    key = load_pem_private_key(private, None)
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return c2pa.C2paSigningAlg[_CURVES[key.curve.name]]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return c2pa.C2paSigningAlg.ED25519
    if isinstance(key, rsa.RSAPrivateKey):
        return c2pa.C2paSigningAlg.PS256
    raise ValueError("a key of a kind that is not used for pictures")
