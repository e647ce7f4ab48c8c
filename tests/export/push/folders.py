"""A folder that looks like a verified export, without a model in it."""

from pathlib import Path

from kerasft.export.manifest import manifest
from kerasft.records import write_json

TOKEN = "hf_" + "c4n4ry" * 6
CARD = '---\nlicense: "gemma"\n---\n\n# tiny\n'


def verified_folder(path: Path, *, status: str = "passed", licence: str = "gemma") -> Path:
    """Weights in two shards, a config, a folder within, and the documents."""
    (path / "assets").mkdir(parents=True)
    for name, content in {
        "model-00001-of-00002.safetensors": b"\x00\x01" * 5000,
        "model-00002-of-00002.safetensors": b"\x02\x03" * 7000,
        "config.json": b'{"model_type": "gemma3_text"}',
        "assets/tokenizer.model": b"\x0a\x0b" * 100,
        "README.md": CARD.replace("gemma", licence).encode(),
        "NOTICE": b"terms",
        ".DS_Store": b"junk",
    }.items():
        (path / name).write_bytes(content)
    prove(path, status)
    return path


def prove(path: Path, status: str = "passed") -> None:
    """`verification.json` as a proof of the files as they are now would leave it."""
    files = manifest(path) if status == "passed" else {}
    write_json(path / "verification.json", {"status": status, "files": files})


SENT = {
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "config.json",
    "assets/tokenizer.model",
    "README.md",
    "NOTICE",
    "verification.json",
}
"""What of the folder belongs to a push."""
