"""What NVIDIA's compiler makes of the kernels: registers, spills, shared memory, instructions.

Nothing here needs a GPU or a driver, but NVRTC, a disassembler and CUDA's headers: the extra
`cuda-lint`. It compiles every kernel in every way in which its launch code calls it, and holds the
machine code to what is written beside the kernel::

    // expect: LDG.E.128 STG.E.128 if WIDTH > 1
    extern "C" __global__ void softmax(...)

`python -m minigrad_kernels.cuda.lint [FILE.cu ...]` prints a table.
"""

from .check import check_file as check_file
from .facts import ARCHITECTURES as ARCHITECTURES, Facts as Facts
from .launches import Launched as Launched, recorded as recorded
from .toolkit import reason as reason
