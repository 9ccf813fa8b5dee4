// NVIDIA has a header of this name; all that is in ours comes with cuda_on_cpu.h.
#pragma once
