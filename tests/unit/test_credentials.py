"""Content Credentials: signed when a key is set, judged by c2pa's own verifier, broken by one changed byte."""

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from lora.errors import InvalidSettings, Untold
from lora.library import Library
from pipeline.engine import Engine, Finished, Generation
from pipeline.metadata.credentials import Credentials, judged
from pipeline.metadata.marks import COMPOSITE, TRAINED, packet, read_marks
from pipeline.profiles import load_profile
from pipeline.sampling.decode import encode_png
from serving.generation import GenerationService
from serving.picture_decoder import PictureDecoder
from serving.queue import FairQueue
from serving.sealing import Seal
from serving.settings import Settings
from serving.workers.local import LocalWorker
from ui.blocks import open_credentials

DETAILS = {"profile": "sdxl", "adapters": [{"id": "ink", "sha256": "ab" * 32}, {"id": "again", "sha256": "ab" * 32}]}
KEYS = {
    "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


def named(name: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Copies")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(name: str, key, issuer: str, by, ca: bool) -> x509.Certificate:
    """As C2PA asks for: an authority, and below it one that may sign what people read."""
    now = datetime.now(UTC)
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                           "encipher_only", "decipher_only"), False)  # fmt: skip
    made = (
        x509.CertificateBuilder(named(issuer), named(name), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.KeyUsage(**usage, digital_signature=not ca, key_cert_sign=ca, crl_sign=ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    if not ca:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return made.sign(by, hashes.SHA256())


def pair(kind: str = "EC") -> tuple[str, str]:
    """A private key and the chain of its certificate, as PEM texts."""
    above, key = KEYS["EC"](), KEYS[kind]()
    chain = [certificate("A host", key, "An authority", above, False),
             certificate("An authority", above, "An authority", above, True)]  # fmt: skip
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, "".join(each.public_bytes(Encoding.PEM).decode() for each in chain)


@pytest.fixture(scope="module")
def credentials():
    return Credentials(*pair(), "1.0")


def png(xmp: bytes = packet()) -> bytes:
    return encode_png(Image.effect_noise((64, 64), 50).convert("RGB"), "a cat\nSteps: 1, Sampler: Euler, Seed: 1", xmp)


def manifest(data: bytes) -> dict:
    told = json.loads(c2pa.Reader("image/png", io.BytesIO(data)).json())
    assert told["validation_state"] == "Valid", told.get("validation_status")
    return told["manifests"][told["active_manifest"]]


def actions(data: bytes) -> list[dict]:
    (found,) = (each for each in manifest(data)["assertions"] if each["label"].startswith("c2pa.actions"))
    return found["data"]["actions"]


@pytest.mark.parametrize("kind", KEYS)
def test_a_picture_says_the_action_the_model_and_the_adapters_by_their_hashes(kind):
    data = Credentials(*pair(kind), "1.0").signed(plain := png(), DETAILS)
    (made,) = actions(data)
    assert made["action"] == "c2pa.created" and made["digitalSourceType"].endswith(f"/{TRAINED}")
    said = {each["title"]: each["instance_id"] for each in manifest(data)["ingredients"]}
    assert said == {"sdxl": "model", "again": f"sha256:{'ab' * 32}"}
    assert len(data) - len(plain) < 8000, "no thumbnails"
    image, before = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(plain))
    assert image.tobytes() == before.tobytes() and image.info["parameters"] == before.info["parameters"]
    assert read_marks(data).source == TRAINED and read_marks(data).credentials


def test_one_changed_byte_breaks_it_and_who_signed_is_told(credentials):
    data = credentials.signed(png(), DETAILS)
    assert "valid:" in judged(data) and "A host of Copies" in judged(data) and "made with AI" in judged(data)
    at = data.rindex(b"IDAT") + 40
    assert "broken:" in judged(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert judged(data[:200]) == "Its Content Credentials cannot be read."
    assert credentials.signed(plain := png(), DETAILS) != credentials.signed(plain, DETAILS)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_what_it_began_with_is_its_parent_with_what_that_one_says(credentials, form):
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, form)
    data = credentials.signed(png(), DETAILS, file.getvalue())
    opened, edited = actions(data)
    assert opened["action"] == "c2pa.opened" and edited["digitalSourceType"].endswith(f"/{COMPOSITE}")
    assert {each["relationship"] for each in manifest(data)["ingredients"]} == {"inputTo", "parentOf"}
    again = credentials.signed(png(), DETAILS, data)
    told = json.loads(c2pa.Reader("image/png", io.BytesIO(again)).json())
    assert len(told["manifests"]) == 2, "the parent's own credentials are not lost"


def test_each_picture_of_a_job_is_signed_once(credentials):
    async def story():
        seal, files, details = Seal(credentials), [png(), png()], {**DETAILS, "seeds": [1, 2]}
        first = await seal.finished(Finished(0, files[0], details))
        made = await seal.generation(Generation(tuple(files), details))
        assert made.images[0] == first.png and all(manifest(each) for each in made.images)
        assert await Seal(None).generation(made) == made

    asyncio.run(story())


def test_the_service_hands_out_signed_pictures_and_judges_what_comes(credentials, tiny_sdxl, tmp_path):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    library = Library([], engine.load()[1].shapes, "sdxl")
    service = GenerationService(LocalWorker(engine), library, FairQueue(8, 4), credentials=credentials)
    small = {"prompt": "x", "steps": 1, "seed": 3, "width": 64, "height": 64}

    async def story():
        made = [update async for update in service.generate(small | {"image": png(), "strength": 1.0}, "S")][-1]
        assert [each["action"] for each in actions(made.images[0])] == ["c2pa.opened", "c2pa.edited"]
        axes = {"x_axis": "steps", "x_values": [1, 2]}
        told = [update async for update in service.compare(small, axes, "S")]
        files = [file for update in told for file in update.images]
        assert len(files) == 3 and all(manifest(file) for file in files)
        assert "valid:" in (await service.decoder.marks(files[0]))[-1] and not made.details["warnings"]
        plain = GenerationService(LocalWorker(engine), library, FairQueue(8, 4))
        made = [update async for update in plain.generate(small | {"image": files[0], "strength": 1.0}, "S")][-1]
        assert "Content Credentials" in made.details["warnings"][0] and not read_marks(made.images[0]).credentials

    asyncio.run(story())


def test_without_a_key_they_are_named_and_not_judged(credentials):
    data = credentials.signed(png(), DETAILS)
    told = asyncio.run(PictureDecoder().marks(data))
    assert told[-1] == "It has Content Credentials (C2PA), which this app does not check." and "AI" in told[0]
    assert str(Untold("file", told)).endswith(told[-1])


def settings(**values) -> Settings:
    return Settings(c2pa_key="", c2pa_cert="").model_copy(update=values)


def test_what_cannot_sign_is_refused_at_the_start(tmp_path):
    key, chain = pair()
    other, _ = pair()
    (tmp_path / "key.pem").write_text(key)
    assert open_credentials(settings()) is None
    assert open_credentials(settings(c2pa_key=str(tmp_path / "key.pem"), c2pa_cert=chain.replace("\n", "\\n")))
    for given, words in (
        ({"c2pa_key": key}, "C2PA_CERT is empty"),
        ({"c2pa_key": key, "c2pa_cert": "no/such/file"}, "C2PA_CERT names a file that cannot be read"),
        ({"c2pa_key": other, "c2pa_cert": chain}, "cannot sign a picture"),
        ({"c2pa_key": chain, "c2pa_cert": chain}, "cannot sign a picture"),
        ({"c2pa_key": key, "c2pa_cert": key}, "cannot sign a picture"),
    ):
        with pytest.raises(InvalidSettings, match=words) as told:
            open_credentials(settings(**given))
        assert str(tmp_path) not in str(told.value) and "-----" not in str(told.value)
    assert key not in repr(settings(c2pa_key=key))
