"""What can go wrong with CUDA sources: they do not compile, do not run, or a run is wrong."""

from __future__ import annotations


class CompileError(RuntimeError):
    """A CUDA source does not compile; the message is the compiler's, with the source's lines."""


class LaunchError(RuntimeError):
    """A GPU does not run a kernel; the message says which, how it was launched, and why not."""


class EmulatorError(RuntimeError):
    """A kernel did on the CPU what a GPU would not have survived, or would have hidden.

    Attributes:
        kernel: the kernel's name.
        file, line: where in the sources; empty and 0 where that is not known.
    """

    def __init__(self, kernel: str, what: str, file: str = "", line: int = 0) -> None:
        place = f"{file}:{line}: " if file else ""
        super().__init__(f"{kernel}: {place}{what}")
        self.kernel = kernel
        self.what = what
        self.file = file
        self.line = line

    def __reduce__(self) -> tuple[type[EmulatorError], tuple[str, str, str, int]]:
        return EmulatorError, (self.kernel, self.what, self.file, self.line)
