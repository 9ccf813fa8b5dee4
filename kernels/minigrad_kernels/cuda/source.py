"""CUDA sources: a .cu file with definitions, and what can be read from its text.

A definition stands for what a template parameter would be: `Source("softmax.cu", T="float")` is the
file with `T` replaced by `float`, `Source("softmax.cu", T="double")` another module. It holds for
the file and for our own headers, and not for the system's, which come before it.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..lazy import lazy

if TYPE_CHECKING:
    from .launch import KernelFunction

FOLDER = Path(__file__).parent
"""Where this package's .cu files lie."""

INCLUDE = FOLDER / "include"
"""Headers for kernels, the same on GPU and CPU."""

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_INCLUDED = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+([^\n]+?)[ \t]*$", re.MULTILINE)
_USING = re.compile(r"\busing\s+(\w+)\s*=\s*([\w\s]+?)\s*;")
_TYPEDEF = re.compile(r"\btypedef\s+([\w\s]+?)\s+(\w+)\s*;")
_KERNEL = re.compile(r'(extern\s+"C"\s+)?__global__([^;{}]*?)\b(\w+)\s*\(([^()]*)\)\s*\{')
_C_BLOCK = re.compile(r'extern\s+"C"\s*\{')
_BOUNDS = re.compile(r"__launch_bounds__\s*\(\s*([^,()]+)[^()]*\)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_ONLY = re.compile(r"^// needs: (sm_\d+a)$", re.MULTILINE)

Names = dict[str, tuple[str, ...]]
"""What each name stands for; several things, if that depends on conditions."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel.

    Attributes:
        name: its name.
        type: its type as C++ spells it, without `const`: `"float"`, `"unsigned long long"`.
        pointer: whether it is a pointer to that type.
        constant: whether what it points to is `const`: the kernel only reads it.
    """

    name: str
    type: str
    pointer: bool
    constant: bool

    def __str__(self) -> str:
        const = "const " if self.constant else ""
        return f"{const}{self.type}{'*' if self.pointer else ''} {self.name}"


@dataclass(frozen=True)
class Signature:
    """What the text says of a kernel: its parameters, and how many threads a block may have."""

    name: str
    parameters: tuple[Parameter, ...]
    most_threads: int


class Source:
    """A .cu file with definitions.

    Args:
        path: the file; a relative path is looked for in this package's folder, then in the
            working directory.
        definitions: names and what they stand for: text, or a number.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a definition is no name of C++, or no text or number.
    """

    def __init__(self, path: str | Path, **definitions: str | int | float) -> None:
        self.path = _find(path)
        self.definitions = {name: _spelled(name, value) for name, value in definitions.items()}
        self.label = _label(self.path, self.definitions)

    @lazy
    def own_text(self) -> str:
        """The text of the file itself."""
        return _read(self.path)

    @lazy
    def files(self) -> dict[Path, str]:
        """The file and all it includes, also indirectly, and their texts; not the system's headers.

        Compilers look for a header where it is included (if in quotes), beside the file, and among
        ours: what is found there decides what is compiled, so all of it is in the digest.
        """
        found: dict[Path, str] = {self.path: self.own_text}
        queue = [self.path]
        while queue:
            path = queue.pop()
            for included in self._includes(path, found[path]):
                if isinstance(included, Path) and included not in found:
                    found[included] = _read(included)
                    queue.append(included)
        return found

    def _includes(self, path: Path, text: str) -> Iterator[Path | str]:
        """What a file includes: files of ours, and the names in `<...>` of the system's headers."""
        for quoted, angled in _INCLUDED.findall(_without_comments(text)):
            folders = (path.parent,) if quoted else ()
            for folder in (*folders, self.path.parent, INCLUDE):
                included = (folder / (quoted or angled)).resolve()
                if included.is_file():
                    yield included
                    break
            else:
                if angled:
                    yield angled

    @lazy
    def digest(self) -> str:
        """Tells this source from any other: of its text, the headers' and the definitions."""
        digest = hashlib.sha256(repr(sorted(self.definitions.items())).encode())
        for path in sorted(self.files):
            digest.update(f"\0{path.name}\0{self.files[path]}".encode())
        return digest.hexdigest()[:16]

    @property
    def only(self) -> str | None:
        """The one architecture that it compiles for, as `// needs: sm_90a` says; else None.

        The letter stands for instructions that neither older nor newer GPUs have.
        """
        found = _ONLY.search(self.own_text)
        return found[1] if found else None

    @property
    def prelude(self) -> str:
        """What stands before the file: system headers, then the definitions, which they must not
        see, as theirs are names like `T`, too."""
        included = [name for file in self.files.items() for name in self._includes(*file)]
        headers = dict.fromkeys(name for name in included if isinstance(name, str))
        lines = [f"#include <{header}>" for header in headers]
        lines += [f"#define {name} {value}" for name, value in self.definitions.items()]
        return "".join(f"{line}\n" for line in lines)

    @lazy
    def kernels(self) -> dict[str, Signature]:
        """The kernels of the file by name.

        Raises:
            ValueError: for a kernel that is not `extern "C"`, whose name would be another one after
                compilation; a parameter that cannot be read, or whose type depends on conditions of
                the preprocessor, which are not evaluated here.
        """
        text = _without_comments(self.own_text)
        names = self._names()
        found: dict[str, Signature] = {}
        for linkage, before, name, parameters in _KERNEL.findall(text):
            name = _resolved(name, names)
            if not linkage and not _C_BLOCK.search(text):
                raise ValueError(f'{self.path.name}: kernel {name} must be declared extern "C"')
            bounds = _BOUNDS.search(before)
            most = _resolved(bounds[1], names) if bounds else ""
            signature = Signature(
                name,
                tuple(
                    _parameter(self.path, name, p, names)
                    for p in parameters.split(",")
                    if p.strip() not in ("", "void")
                ),
                int(most) if most.isdigit() else 1024,
            )
            if found.setdefault(name, signature).parameters != signature.parameters:
                raise ValueError(
                    f"{self.path.name}: kernel {name} is there twice, with other parameters; "
                    "which one is compiled is not known to launch code: give them two names"
                )
        return found

    def kernel(self, name: str) -> KernelFunction:
        """The kernel of that name, which is compiled when it is first called.

        Raises:
            ValueError: if the file has no such kernel, or one with parameters that cannot be read.
        """
        from .launch import KernelFunction

        if name not in self.kernels:
            there = ", ".join(self.kernels) or "none"
            raise ValueError(f"{self.path.name} has no kernel {name!r}; there are: {there}")
        return KernelFunction(self, self.kernels[name])

    def _names(self) -> Names:
        """What names stand for: definitions, and the macros and aliases in the texts.

        Those under conditions of the preprocessor may have several meanings. A definition is the
        only one where the text makes another macro of that name only if there is none.
        """
        names: dict[str, tuple[str, ...]] = {}
        for text in self.files.values():
            clean = _without_comments(text)
            typedefs = [(name, meaning) for meaning, name in _TYPEDEF.findall(clean)]
            for name, meaning in (*_DEFINE.findall(clean), *_USING.findall(clean), *typedefs):
                meanings = names.get(name, ())
                names[name] = meanings if meaning in meanings else (*meanings, meaning)
        text = "".join(self.files.values())
        for name, meaning in self.definitions.items():
            guarded = re.search(rf"#[ \t]*ifndef[ \t]+{name}\b|![ \t]*defined\W+{name}\b", text)
            others = () if guarded else names.get(name, ())
            names[name] = tuple(dict.fromkeys((meaning, *others)))
        return names

    def __repr__(self) -> str:
        return f"<CUDA source {self.label}>"


@functools.cache
def kernel(path: str | Path, name: str, **definitions: str | int | float) -> KernelFunction:
    """`Source(path, **definitions).kernel(name)`, the same object each time.

    Every source is read, and every module compiled, once in a process.
    """
    return _source(path, tuple(sorted(definitions.items()))).kernel(name)


@functools.cache
def _source(path: str | Path, definitions: tuple[tuple[str, str | int | float], ...]) -> Source:
    return Source(path, **dict(definitions))


def _find(path: str | Path) -> Path:
    for candidate in (FOLDER / path, Path(path)):
        if candidate.is_file():
            return candidate.resolve()
    raise FileNotFoundError(f"no CUDA source {str(path)!r} in {FOLDER} or {Path.cwd()}")


def _spelled(name: str, value: str | int | float) -> str:
    """A definition's value in C++."""
    if not _WORD.fullmatch(name):
        raise ValueError(f"definition {name!r} is no name of C++")
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (int, float)):
        return repr(value)
    if not isinstance(value, str) or "\n" in value:
        raise ValueError(f"definition {name} must be a number or one line of text, not {value!r}")
    return value


def _label(path: Path, definitions: dict[str, str]) -> str:
    """A name for people: `softmax.cu (T=float)`."""
    inside = ", ".join(f"{name}={value}" for name, value in definitions.items())
    return f"{path.name} ({inside})" if inside else path.name


def _read(path: Path) -> str:
    """The text of a source.

    Raises:
        ValueError: if it is not in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin files with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8: {error.reason} at byte {error.start}") from None


def _without_comments(text: str) -> str:
    return _COMMENT.sub(" ", text)


def _resolved(text: str, names: Names) -> str:
    """The text with every name replaced by what it stands for, as the preprocessor does.

    A name with several meanings is left as it is.
    """
    for _ in range(16):  # a name may stand for another; a circle ends here
        replaced = _WORD.sub(lambda word: _meaning(word[0], names), text)
        if replaced == text:
            break
        text = replaced
    return text.strip()


def _meaning(word: str, names: Names) -> str:
    meanings = names.get(word, ())
    return meanings[0] if len(meanings) == 1 else word


def _parameter(path: Path, kernel_name: str, text: str, names: Names) -> Parameter:
    """Read `const float* __restrict__ x`."""
    where = f"{path.name}: kernel {kernel_name}"
    words = re.sub(
        r"__restrict__|__restrict|__grid_constant__|\bvolatile\b", " ", _resolved(text, names)
    )
    match = re.fullmatch(r"\s*([\w\s:]+?)\s*(\*?)\s*(?:const\s+)?(\w+)\s*", words)
    if not match or not match[1]:
        raise ValueError(f"{where}: cannot read the parameter {text.strip()!r}")
    parts = match[1].split()
    for part in parts:
        if len(names.get(part, ())) > 1:
            raise ValueError(
                f"{where}: in the parameter {text.strip()!r}, {part} stands for "
                f"{' or '.join(names[part])}; which one is compiled is not known to launch code: "
                f"let a definition alone say what {part} is"
            )
    return Parameter(
        name=match[3],
        type=" ".join(part for part in parts if part != "const"),
        pointer=bool(match[2]),
        constant="const" in parts,
    )
