"""Files that pages load: our own stylesheet and modules, and the program that draws charts.

Owns their addresses: a name with the digest of the content, so that a browser keeps a file for
ever and never shows an old one. The drawing program is vl-convert's bundle of Vega; making it
takes seconds and much memory, so another process does it, once for each version of the library.
"""

import asyncio
import gzip
import hashlib
import importlib.metadata
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import structlog

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
DIGEST_CHARS = 16
BUNDLE_S_MAX = 60
_MAKE_BUNDLE = (
    "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"
)

log = structlog.get_logger("web")


@dataclass(frozen=True)
class Asset:
    """A file by its address's last part: `app.1f2e....css`."""

    name: str
    content: bytes
    content_type: str

    @cached_property
    def compressed(self) -> bytes:
        """The content as gzip."""
        return gzip.compress(self.content, mtime=0)


def make_asset(name: str, content: bytes) -> Asset:
    """The asset of a file called `name`."""
    stem, point, suffix = name.rpartition(".")
    digest = hashlib.sha256(content).hexdigest()[:DIGEST_CHARS]
    return Asset(f"{stem}.{digest}.{suffix}", content, CONTENT_TYPES[point + suffix])


class Assets:
    """All assets: ours by their plain names, and the chart bundle once it is made. `cache` is
    where the bundle is kept between starts (None: nowhere).
    """

    def __init__(self, cache: Path | None) -> None:
        self._cache = cache
        self._ours = {
            entry.name: make_asset(entry.name, entry.read_bytes())
            for entry in files("taximeter.web").joinpath("static").iterdir()
            if Path(entry.name).suffix in CONTENT_TYPES
        }
        self._served = {asset.name: asset for asset in self._ours.values()}
        self._bundle: str | None = None
        self._making = asyncio.Lock()

    def url(self, name: str) -> str:
        """The address of one of our files."""
        return f"/static/{self._ours[name].name}"

    def find(self, name: str) -> Asset | None:
        """The asset whose address ends with `name`."""
        return self._served.get(name)

    async def bundle_url(self) -> str | None:
        """The address of the chart bundle, made now where it was not before; None where it cannot
        be made: pages then show their tables alone.
        """
        async with self._making:
            if self._bundle is None:
                content = await self._read_bundle()
                if content is None:
                    return None
                asset = await asyncio.to_thread(_compressed, make_asset("vega.js", content))
                self._served[asset.name] = asset
                self._bundle = f"/static/{asset.name}"
            return self._bundle

    async def _read_bundle(self) -> bytes | None:
        version = importlib.metadata.version("vl-convert-python")
        kept = self._cache / f"vega-bundle-{version}.js" if self._cache is not None else None
        if kept is not None:
            content = await asyncio.to_thread(_read, kept)
            if content:
                return content
        content = await _make_bundle()
        if content is not None and kept is not None:
            await asyncio.to_thread(_write, kept, content)
        return content


def _compressed(asset: Asset) -> Asset:
    assert asset.compressed, "compressed here, off the loop"
    return asset


async def _make_bundle() -> bytes | None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", _MAKE_BUNDLE,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(BUNDLE_S_MAX):
            content, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        content, errors = b"", b"it took too long"
    if process.returncode or not content:
        log.error("chart_bundle_failed", error=errors.decode(errors="replace")[-500:])
        return None
    return content


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _write(path: Path, content: bytes) -> None:
    """Put the whole file in its place, or none of it; not being able to is no error."""
    beside = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        log.warning("chart_bundle_not_kept", error=str(error))
