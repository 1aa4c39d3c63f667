"""The adapters that a picture's text names -> those that are here, by name or by what is in the file."""

import re
from collections.abc import Mapping, Sequence

from lora.adapter import Adapter
from lora.errors import AtelierError, shown
from pipeline.metadata.parsing import read_json
from pipeline.request.mix import adapter_mix

# Of the adapters that a text names; a request takes fewer.
MAX_USES = 50
# Eight letters and more of SHA-256: of the file (A1111's AutoV2, ours), or of its tensors alone (AutoV3).
_DIGEST = re.compile("[0-9a-f]{8,64}")


def here(uses: list, other: Mapping, adapters: Sequence[Adapter], notes: list[str]) -> list[dict]:
    """The uses of those that are here, by the ids that they have here; of the others `notes` tell."""
    digests, kept = _digests(other), []
    if len(uses) > MAX_USES:
        notes.append(f"It names {len(uses)} adapters, of which the first {MAX_USES} were looked at.")
    for use in uses[:MAX_USES]:
        use = dict(use) if isinstance(use, dict) else {"id": use}
        name = use.get("id")
        # A1111 leaves these two signs out of a name there.
        hashed = digests.get(re.sub("[:,]", "", name), ()) if isinstance(name, str) else ()
        found = _same(name, hashed, adapters) if isinstance(name, str) else None
        if found is None:
            said = use.get("weight", "")
            weight = f", weight {f'{said:g}' if isinstance(said, float) else shown(said)}" if "weight" in use else ""
            notes.append(f"The adapter {shown(name)}{weight} is missing here; add it to have the same picture.")
            continue
        if hashed and not _is_file(found, hashed):
            notes.append(f"The adapter {shown(name)} is another file here than the one that it was painted with.")
        entry = use | {"id": found.id}
        if isinstance(rank := entry.get("rank"), float):
            del entry["rank"]
            notes.append(f"The adapter {shown(name)} was cut to rank {rank:g} (dyn); here it is whole.")
        try:
            adapter_mix([entry], {found.id: found}.__getitem__)
        except AtelierError as error:
            notes.append(f"The adapter {shown(name)} is not restored: {error}")
        else:
            kept.append(entry)
    return kept


def words(other: Mapping, adapters: Sequence[Adapter], notes: list[str]) -> None:
    """Tell of the embeddings that a text names which of them are not here: their words stay in the prompt."""
    for word, digest in _pairs(str(other.get("TI hashes", "")))[:MAX_USES]:
        called = [each for each in adapters if word.casefold() in (name.casefold() for name, _ in each.words)]
        if not called:
            notes.append(f"The embedding {shown(word)} is missing here; its word is read as any other.")
        elif digest and not any(_is_file(each, (digest,)) for each in called):
            notes.append(f"The embedding {shown(word)} is another file here than the one that it was painted with.")


def _pairs(text: str) -> list[tuple[str, str]]:
    """Names and hashes as A1111 lists them, the hash "" where it is none."""
    pairs = (pair.rpartition(": ")[::2] for pair in text.split(","))
    return [(name.strip(), digest if _DIGEST.fullmatch(digest) else "") for name, digest in pairs if name.strip()]


def _digests(other: Mapping) -> dict[str, tuple[str, ...]]:
    """The hashes of each adapter that the text has some of: A1111's, and those of the extension for Civitai."""
    pairs = [pair.rpartition(": ")[::2] for pair in str(other.get("Lora hashes", "")).split(",")]
    more = read_json(str(other.get("Hashes", "")), dict) or {}
    pairs += [(name.removeprefix("lora:"), digest) for name, digest in more.items() if isinstance(digest, str)]
    found: dict[str, tuple[str, ...]] = {}
    for name, digest in pairs:
        if _DIGEST.fullmatch(digest.lower()):
            name = re.sub("[:,]", "", name).strip()
            found[name] = (*found.get(name, ()), digest.lower())
    return found


def _is_file(adapter: Adapter, digests: tuple[str, ...]) -> bool:
    return any(each.startswith(digests) for each in (adapter.sha256, *adapter.tensor_hashes))


def _same(name: str, digests: tuple[str, ...], adapters: Sequence[Adapter]) -> Adapter | None:
    """The adapter of that content, which is how one is found that has another name here, else of that id or name."""
    # Without the folder, which may be Windows', and the ending.
    bare = re.split(r"[/\\]", name)[-1].removesuffix(".safetensors")
    called = {each.casefold() for each in (name, bare)}
    tests = (
        lambda adapter: adapter.id == name and _is_file(adapter, digests),
        lambda adapter: _is_file(adapter, digests),
        lambda adapter: adapter.id == name,
        lambda adapter: bool(called & {adapter.id.casefold(), adapter.name.casefold()}),
    )
    return next((adapter for test in tests for adapter in adapters if test(adapter)), None)
