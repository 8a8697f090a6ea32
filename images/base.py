"""Write a root file system with this Python and nothing else, as a tar, for machines that reach no registry.

    python3 images/base.py | docker import - selftaught-base

It holds what the slim image of the same Python offers to our Dockerfiles: the interpreter at the same place, its
standard library, pip, libseccomp, and the shared libraries of all these. There is no shell and no package manager, so
a Dockerfile for either base runs programs and no shell lines. All files are this machine's, as old or new as those.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

HOME = "/usr" if sys.base_prefix == "/usr" else "/usr/local"
"""Folder of the interpreter. Debian's Python looks for its library below /usr alone; others can be moved."""

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
LEFT_OUT = {
    "__pycache__", "config", "ensurepip", "idlelib", "lib2to3", "site-packages", "dist-packages", "test", "tests",
    "tkinter", "turtledemo", "EXTERNALLY-MANAGED",
}  # fmt: skip
"""Parts of the standard library that no puzzle needs (the slim image lacks most of them too)."""

EXTRA_LIBRARIES = (
    "libseccomp.so.2 libgcc_s.so.1 libstdc++.so.6 libpthread.so.0 libdl.so.2 librt.so.1 libutil.so.1".split()
)
"""Libraries that selftaught or binary wheels need, and the interpreter does not."""

FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n",
    "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "/etc/hosts": "",
    "/etc/resolv.conf": "",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "/etc/ld.so.conf": "/usr/local/lib\n",
}
DIRECTORIES = {"/tmp": 0o1777, "/root": 0o700, "/proc": 0o555, "/sys": 0o555, "/dev": 0o755, "/run": 0o755}


def needed(binaries: Iterable[Path]) -> dict[str, Path]:
    """Return the shared libraries that these need, the loader included: path in the image -> file here."""
    found = {}
    for binary in binaries:
        listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
        for path in re.findall(r"(?:=> |^\s+)(/\S+)", listed, re.MULTILINE):
            found[_place(path)] = Path(path).resolve()
    return found


def _place(path: str) -> str:
    """Return a library's path in the image: the system's keep theirs, the interpreter's own go to its folder."""
    system = ("/lib", "/usr/lib")
    return path if path.startswith(system) else f"{HOME}/lib/{os.path.basename(path)}"


def extra_libraries() -> dict[str, Path]:
    """Return `EXTRA_LIBRARIES` in the same form, found in the loader's cache."""
    cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    known = dict(reversed(re.findall(r"^\s+(\S+) \([^)]*(?:x86-64|AArch64)[^)]*\) => (\S+)", cache, re.MULTILINE)))
    if "libseccomp.so.2" not in known:
        sys.exit("libseccomp is missing (Debian, Ubuntu: apt-get install libseccomp2)")
    return {known[name]: Path(known[name]).resolve() for name in EXTRA_LIBRARIES if name in known}


def standard_library() -> Iterator[tuple[str, Path]]:
    """Yield every file of the standard library: path in the image, file here."""
    source = Path(sysconfig.get_path("stdlib"))
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not name.startswith("config-"))
        for name in sorted(names):
            path = Path(folder, name)
            if path.exists() and name not in LEFT_OUT and not name.startswith(("_tkinter", "_test", "_ctypes_test")):
                yield f"{HOME}/lib/{VERSION}/{path.relative_to(source)}", path


def pip() -> Iterator[tuple[str, Path]]:
    """Yield every file of this interpreter's pip."""
    home = f"{HOME}/lib/python3/dist-packages" if HOME == "/usr" else f"{HOME}/lib/{VERSION}/site-packages"
    try:
        files = importlib.metadata.files("pip") or []
    except importlib.metadata.PackageNotFoundError:
        sys.exit(f"{sys.executable} has no pip: use that of a virtual environment (make .venv/installed)")
    for file in files:
        if not str(file).startswith("..") and "__pycache__" not in file.parts:
            yield f"{home}/{file}", Path(str(file.locate()))


def interpreter() -> Path:
    """Return the path of the program itself, not of a virtual environment's link to it."""
    return Path(sys.base_prefix, "bin", VERSION).resolve()


def loader_cache(libraries: dict[str, Path]) -> bytes:
    """Return the content of ld.so.cache for these libraries."""
    with tempfile.TemporaryDirectory() as root:
        for place, path in libraries.items():
            target = Path(root + place)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        Path(root, "etc").mkdir(exist_ok=True)
        Path(root, "etc/ld.so.conf").write_text(
            FILES["/etc/ld.so.conf"] + "\n".join({os.path.dirname(p) for p in libraries})
        )
        subprocess.run(["/sbin/ldconfig", "-r", root], check=True, stderr=subprocess.DEVNULL)
        return Path(root, "etc/ld.so.cache").read_bytes()


class Image:
    """A tar archive to write to. Everything in it is owned by root and readable by all."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._folders = {"/"}

    def add(self, place: str, content: bytes, mode: int = 0o644) -> None:
        self._parents(place)
        self._entry(place, tarfile.REGTYPE, mode, content)

    def link(self, place: str, target: str) -> None:
        self._parents(place)
        self._entry(place, tarfile.SYMTYPE, 0o777, target=target)

    def folder(self, place: str, mode: int = 0o755) -> None:
        self._parents(place)
        self._folders.add(place)
        self._entry(place, tarfile.DIRTYPE, mode)

    def _parents(self, place: str) -> None:
        parent = os.path.dirname(place)
        if parent not in self._folders:
            self.folder(parent)

    def _entry(self, place: str, kind: bytes, mode: int, content: bytes = b"", target: str = "") -> None:
        entry = tarfile.TarInfo(place.lstrip("/"))
        entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(content), target
        self._tar.addfile(entry, io.BytesIO(content))


def write(image: Image) -> None:
    """Put the whole root file system into `image`."""
    for place, mode in DIRECTORIES.items():
        image.folder(place, mode)
    for place, text in FILES.items():
        image.add(place, text.encode())
    files = dict(standard_library()) | dict(pip())
    binaries = [interpreter(), *(path for path in files.values() if path.suffix == ".so")]
    libraries = extra_libraries()
    libraries |= needed([*binaries, *libraries.values()])
    for place, path in sorted((files | libraries).items()):
        image.add(place, path.read_bytes(), 0o755 if ".so" in path.name else 0o644)
    image.add("/etc/ld.so.cache", loader_cache(libraries))
    image.add("/sbin/ldconfig", _ldconfig().read_bytes(), 0o755)  # ctypes.util.find_library asks it
    image.add(f"{HOME}/bin/{VERSION}", interpreter().read_bytes(), 0o755)
    for name in ("python3", "python"):
        image.link(f"{HOME}/bin/{name}", VERSION)


def _ldconfig() -> Path:
    """Return the path of the program: on Ubuntu /sbin/ldconfig is a shell script around it."""
    real = Path("/sbin/ldconfig.real")
    return real if real.exists() else Path("/sbin/ldconfig")


if __name__ == "__main__":
    if sys.stdout.isatty():
        sys.exit(
            f"this writes a tar archive, not for a terminal: python3 {sys.argv[0]} | docker import - selftaught-base"
        )
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as out:
        write(Image(out))
