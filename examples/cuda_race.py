"""Write a CUDA kernel on a laptop without a GPU, plant a race in it, and see it found.

The kernels are in cuda_race.cu: running sums, once with a race and once mended. They are compiled
by the machine's C++ compiler and run by minigrad's emulator, on NumPy arrays. On a machine with a
GPU the same calls with CuPy arrays run there.

Run: python examples/cuda_race.py
The same from the command line: minigrad cuda-check examples/cuda_race.py:with_race
"""

from pathlib import Path

import numpy as np

from minigrad_kernels import BACKENDS
from minigrad_kernels.cuda import kernel, running
from minigrad_kernels.cuda.check import check

SOURCE = Path(__file__).with_suffix(".cu")
x = np.arange(128, dtype=np.float32)


def running_sums(name):
    """x[0] + ... + x[i] for each i, by the kernel of that name: one block of 128 threads."""
    y = np.empty_like(x)
    kernel(SOURCE, name)(1, 128, x, y)
    return y


def with_race():
    running_sums("scan_with_race")


def mended():
    running_sums("scan")


def show_results():
    """A race may go well: the result depends on which thread comes first."""
    for name in ("scan_with_race", "scan"):
        for order in ("forward", "reverse"):
            with running(order):
                right = np.array_equal(running_sums(name), np.cumsum(x))
            print(f"{name}, threads {order}: the sums are {'right' if right else 'WRONG'}")


def show_findings():
    """Racecheck needs no luck: it sees that no barrier orders two accesses to one address."""
    for run in ("with_race", "mended"):
        findings = check(f"{__file__}:{run}", "racecheck")
        print(f"racecheck of {run}: {len(findings) or 'nothing'} found")
        for finding in findings:
            print(f"  line {finding.line}: {finding.what.partition(',')[0]} in")
            print(f"    {finding.text}")


def main(argv=None):
    reason = BACKENDS["cuda-on-cpu"].reason
    if reason:
        print(f"CUDA kernels cannot run on this CPU: {reason}")
        return
    show_results()
    try:
        show_findings()
    except RuntimeError as error:  # the compiler has no thread sanitizer
        print(f"racecheck cannot run here: {error}")


if __name__ == "__main__":
    main()
