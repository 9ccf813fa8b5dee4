"""`minigrad gradcheck`: check the gradients of a function, or of every registered operation."""

from __future__ import annotations

import argparse
import functools
import inspect
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .arguments import Subparsers, add_inputs, cores, positive
from .progress import progress
from .target import BadTarget, importable, imported, load

if TYPE_CHECKING:
    from minigrad.testing import Verdict
    from minigrad.testing.everything import Outcome

_DTYPES = ("float64", "float32", "float16")


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command's arguments."""
    p = subparsers.add_parser(
        "gradcheck",
        help="check the gradients of a function, or of every operation on every backend",
        description="Compares gradients with derivatives that are found without them. The status "
        "is 0 if they are right, 1 if they are not, 2 if they could not be checked.",
    )
    p.add_argument(
        "what",
        nargs="*",
        metavar="WHAT",
        help="a function of tensors: package.module:function or file.py:function; also a pair "
        "(forward, vjp) of NumPy functions that has such a name. With --all: operations",
    )
    p.add_argument("--all", action="store_true", help="the registered operations, or those named")
    p.add_argument(
        "--backends", metavar="NAMES", help="on which backends (--all: all that are here)"
    )
    p.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module, package.module or file.py, and check the operations that it "
        "registers with minigrad.ops.registry.differentiable, as --all does",
    )
    p.add_argument(
        "--jobs", type=positive, metavar="N", help="with --all: processes (as many as cores)"
    )
    one = p.add_argument_group("for a function")
    add_inputs(one)
    one.add_argument("--order", type=positive, default=1, help="how often to differentiate (1)")
    one.add_argument(
        "--kind",
        default="auto",
        help="linear, bilinear, analytic, smooth, piecewise or constant: what sort of function it "
        "is; auto finds out (auto)",
    )
    one.add_argument("--seed", type=_seed, default=0, help="of the inputs and cotangents (0)")
    one.add_argument("--dtype", choices=_DTYPES, default="float64", help="of the inputs (float64)")
    one.add_argument("--low", type=float, default=-2.0, help="inputs are at least that (-2)")
    one.add_argument("--high", type=float, default=2.0, help="inputs are less than that (2)")
    one.add_argument("--plot", type=Path, metavar="FILE", help="draw the error against the step")
    one.add_argument("--replay", type=Path, metavar="FILE", help="write a script that checks again")
    p.set_defaults(run=run)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wants a whole number of at least 0, got {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Check what was named.

    Returns:
        0 if the gradients are right; 1 if they are not; 2 if they could not be checked, and why is
        said on the error stream.
    """
    try:
        every = options.all or options.module
        return _every_operation(options) if every else _one_function(options)
    except BrokenPipeError:  # nobody reads: for `main` to handle
        raise
    except (
        BadTarget,
        ValueError,
        TypeError,
        ImportError,
        OSError,
        RuntimeError,
        MemoryError,
    ) as error:
        words = " ".join(str(error).removeprefix("gradcheck: ").split())
        print(f"minigrad gradcheck: {words}", file=sys.stderr)
        return 2


# A function


def _one_function(options: argparse.Namespace) -> int:
    from minigrad.testing import replay

    if len(options.what) != 1:
        raise BadTarget("name one function, such as package.module:function; or use --all")
    if options.jobs is not None:
        raise BadTarget("--jobs is for --all")
    (name,) = options.what
    inputs = inputs_of(options) if options.shapes is not None else None
    fn = _function(name, dict(options.option), options.seed)
    if inputs is None:
        raise BadTarget(f"--shapes is missing: those of {_arguments(fn)}, such as --shapes 3x4,4x5")
    checked = {key: getattr(options, key) for key in ("order", "kind", "seed")}
    right = True
    for backend in chosen(options.backends) if options.backends is not None else [None]:
        verdict = _verdict(name, fn, inputs, backend, checked)
        print(folded(f"on {backend}: {verdict}" if backend else str(verdict)), flush=True)
        if any("NaN or infinity" in problem for problem in verdict.problems):
            print(
                f"the inputs are drawn from [{options.low:g}, {options.high:g}): see --low, --high"
            )
        right = right and verdict.ok
        if options.plot is not None:
            verdict.plot(options.plot)
            print(f"plot: {options.plot}")
        if options.replay is not None:
            print(f"replay: {replay.write(fn, inputs, options.replay, backend=backend, **checked)}")
        elif not verdict.ok:
            path = replay.named(f"{name}{f'-{backend}' if backend else ''}")
            print(replay.saved(fn, inputs, path, backend=backend, **checked))
    return 0 if right else 1


def _function(name: str, given: dict[str, Any], seed: int) -> Any:
    """What was named, with its keyword arguments; a class of modules is built with them.

    Raises:
        BadTarget: if it is not there, is no function, or cannot be built.
    """
    found = load(name)
    if isinstance(found, type):
        return _built(name, found, given, seed)
    if not given:
        return found
    if isinstance(found, tuple):
        return tuple(functools.partial(f, **given) for f in found)
    return functools.partial(found, **given)


def _built(name: str, kind: type, given: dict[str, Any], seed: int) -> Any:
    import minigrad

    if not issubclass(kind, minigrad.nn.Module):
        raise BadTarget(f"{name} is a class, wants a function, or a module of minigrad.nn")
    minigrad.manual_seed(seed)
    try:
        return kind(**given)
    except Exception as error:  # of the user's own
        raise BadTarget(
            f"{name} is a class, and making a module of it raises {type(error).__name__}: {error} "
            "(its arguments are given as --option name=value)"
        ) from error


def _arguments(fn: Any) -> str:
    """What a function takes, as far as it tells."""
    try:
        return f"{inspect.signature(fn[0] if isinstance(fn, tuple) else fn)}"
    except (TypeError, ValueError):  # of a function that is not written in Python
        return "the inputs"


def folded(text: str) -> str:
    """The text as it fits a terminal; elsewhere, as in a file or a pipe, it stays as it is."""
    if not sys.stdout.isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns - 1)
    lines = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [
            ""
        ]
    return "\n".join(lines)


def _verdict(
    name: str, fn: Any, inputs: list[Any], backend: str | None, options: dict[str, Any]
) -> Verdict:
    """The verdict; what the function itself raises is told with its place."""
    from minigrad.testing import gradcheck
    from minigrad.testing.backends import gradcheck_on

    try:
        if backend is None:
            return gradcheck(fn, inputs, **options)
        return gradcheck_on(backend, fn, inputs, **options)
    except (Exception, SystemExit) as error:  # an exit with 0 would pass for right gradients
        if str(error).startswith("gradcheck:"):
            raise BadTarget(str(error).removeprefix("gradcheck:").strip()) from None
        called = f"called with shapes {', '.join(str(x.shape) for x in inputs)}"
        said = f"{name} raises {type(error).__name__}: {error}"
        hint = _foreign(fn) or _integers(str(error), inputs)
        raise BadTarget(f"{said} ({', '.join([*_place(error), called])}){hint}") from error


def _integers(words: str, inputs: list[Any]) -> str:
    """How integers are asked for, if they seem to be wanted and there are none."""
    if "integer" not in words or any(x.dtype.kind == "i" for x in inputs):
        return ""
    return "; for integers from 0 to 9 write 8:0..9 among the shapes"


def _foreign(fn: Any) -> str:
    """What to do with a function that may want tensors of another library."""
    names = vars(sys.modules.get(getattr(fn, "__module__", ""), None) or object)
    modules = {
        str(getattr(thing, "__name__", "")) for thing in names.values() if inspect.ismodule(thing)
    }
    for library in ("torch", "jax", "tensorflow"):
        if any(f"{module}.".startswith(f"{library}.") for module in modules):
            return f"; a function of {library}'s tensors is checked as a pair (forward, vjp)"
    return ""


def _place(error: BaseException) -> Iterator[str]:
    """Where it was raised; nothing if the call itself failed, as with too many arguments."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is not None:
        code, module = frame.tb_frame.f_code, frame.tb_frame.f_globals.get("__name__", "")
        if not module.startswith("minigrad.testing."):
            yield f"{code.co_filename}:{frame.tb_lineno}"


def inputs_of(options: argparse.Namespace) -> list[Any]:
    """The inputs: random numbers of the shapes that were asked for, the real ones in one type.

    Raises:
        ValueError: for shapes or limits that make no sense.
    """
    import numpy as np

    from minigrad.testing.shapes import drawn

    rng = np.random.default_rng(options.seed)
    made = [d.draw(rng) for d in drawn(options.shapes, options.low, options.high)]
    return [np.asarray(x, options.dtype if x.dtype.kind == "f" else None) for x in made]


def chosen(text: str | None) -> list[str]:
    """The backends that were named; without names all those that can be used here.

    Raises:
        ValueError: for an unknown backend; RuntimeError: for one that is not here.
    """
    from minigrad.testing.backends import unavailable
    from minigrad_kernels import BACKENDS

    if text is None:
        return [name for name in BACKENDS if unavailable(name) is None]
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        reason = unavailable(name)
        if reason is not None:
            raise RuntimeError(f"{name} cannot be used here: {reason}")
    return names


# All operations


def _every_operation(options: argparse.Namespace) -> int:
    from minigrad.ops.registry import OPERATIONS
    from minigrad.testing.everything import check_all, compile_all, registered_by

    for name in ("shapes", "plot", "replay"):
        if getattr(options, name) is not None:
            raise BadTarget(f"--{name} is for one function, not for --all")
    modules = [importable(name) for name in options.module]
    for module in modules:
        imported(module)
    there = registered_by(modules) if modules else list(OPERATIONS)
    if not there:
        raise BadTarget(f"{', '.join(options.module)} registers no operations")
    unknown = [name for name in options.what if name not in there]
    if unknown:
        raise BadTarget(f"no operation is called {', '.join(unknown)}; see `--all` without names")
    names = options.what or there
    backends, jobs = chosen(options.backends), options.jobs or cores()
    begin = perf_counter()
    compiled = [b for b in backends if b != "reference"]
    work = compile_all(names, backends, jobs, modules)
    for _ in progress(work, len(names) * len(compiled), "compiling"):
        pass
    ready = perf_counter()
    checks = check_all(names, backends, jobs, modules=modules)
    outcomes = list(progress(checks, len(names) * len(backends), "checking"))
    end = perf_counter()
    print("\n".join(table(names, backends, outcomes)))
    wrong = [words for o in outcomes for words in o.words]
    for words in wrong:
        print(f"\n{words}")
    print(
        f"\n{end - ready:.0f} s; before that, {ready - begin:.0f} s to compile kernels or load them"
    )
    return 1 if wrong else 0


def table(
    names: Sequence[str], backends: Sequence[str], outcomes: Sequence[Outcome]
) -> Iterator[str]:
    """Operations down, backends across, and what each backend comes to."""
    from minigrad.testing.backends import place, unavailable
    from minigrad_kernels import BACKENDS

    found = {(o.operation, o.backend): o for o in outcomes}
    width = max(map(len, names))
    yield f"{'':<{width}}  " + "  ".join(f"{b:<11}" for b in backends).rstrip()
    for name in names:
        cells = (_cell(found[name, backend]) for backend in backends)
        yield f"{name:<{width}}  " + "  ".join(f"{cell:<11}" for cell in cells).rstrip()
    yield ""
    for backend in BACKENDS:
        some = [found[name, backend] for name in names] if backend in backends else []
        counts = {s: sum(o.status == s for o in some) for s in ("right", "WRONG")}
        samples = sum(o.samples for o in some if o.status in counts)
        if some:
            wrong = f", {counts['WRONG']} WRONG" if counts["WRONG"] else ""
            verdict = f"{counts['right']} right{wrong}, {samples} samples, on {place(backend)}"
        elif unavailable(backend) is None:
            verdict = "not asked for"
        else:
            verdict = f"not here: {unavailable(backend)}"
        yield f"{backend:<11}  {verdict}"


def _cell(outcome: Outcome) -> str:
    return f"{outcome.status} {outcome.samples or ''}".strip()
