"""What pyproject.toml can't say: the two native parts, each optional, and the tags of a wheel that holds them.

A wheel with the codec runs on every CPython from 3.11 on (``cp311-abi3``); one with neither part, from a machine
without a C compiler, runs anywhere (``py3-none-any``).
"""

from __future__ import annotations

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NATIVE = "selftaught/sandbox/worker/native"
FLAGS = ["-O2", "-Wall", "-Wextra"]
CODEC = "selftaught.sandbox._codec"
ACCELERATOR = "selftaught.sandbox.worker.native._accelerator"


def extensions() -> list[Extension]:
    """Return the native parts for this machine."""
    sources = {path.as_posix() for path in Path(NATIVE).glob("*.c")}
    headers = sorted(path.as_posix() for path in Path(NATIVE).glob("*.h"))
    shared = {f"{NATIVE}/{name}.c" for name in ("codec_check", "codec_extended")}
    python = ("codecmodule", "codec_decode", "codec_encode", "codec_encode_extended", "codec_numbers")
    codec = shared | {f"{NATIVE}/{name}.c" for name in python}
    parts = [
        Extension(  # Python's limited API alone
            CODEC,
            sorted(codec),
            depends=headers,
            extra_compile_args=FLAGS,
            # Resolve every symbol at load: the snapshot engine makes the module's data read-only later.
            extra_link_args=["-Wl,-z,now"],
            py_limited_api=True,
            optional=True,
        )
    ]
    if platform.machine() == "x86_64":
        # A shared library for ctypes without any of Python's symbols: one build serves every version.
        accelerator = sorted(sources - codec | shared)
        parts.append(Extension(ACCELERATOR, accelerator, depends=headers, extra_compile_args=FLAGS, optional=True))
    return parts


class BuildExt(build_ext):
    """Build what this machine can, and forget the rest."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the path of a built part for its dotted name."""
        if fullname.endswith("_accelerator"):  # else the name would end in this Python's own suffix
            return f"{fullname.replace('.', '/')}.so"
        return super().get_ext_filename(fullname)

    def run(self) -> None:
        """Build all parts. A part that could not be built is no longer one of the distribution's."""
        super().run()
        self.distribution.ext_modules = self.extensions = [
            part for part in self.extensions or [] if Path(self.build_lib, self.get_ext_filename(part.name)).exists()
        ]


class BdistWheel(bdist_wheel):
    """Tag the wheel by what was built."""

    def run(self) -> None:
        """Build first: the name and layout of the wheel depend on what could be built."""
        self.run_command("build")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of Python, ABI and platform."""
        python, abi, machine = super().get_tag()
        if self.root_is_pure:
            return python, abi, machine
        codec = any(part.name == CODEC for part in self.distribution.ext_modules)
        return ("cp311", "abi3", machine) if codec else ("py3", "none", machine)


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt, "bdist_wheel": BdistWheel})
