// CUDA C++ on a CPU: what a .cu file needs to compile with g++ or clang++, and to run.
//
// One operating-system thread runs the blocks of a grid one after the other. Each CUDA thread of a
// block is a fiber (fiber.h): it runs until it waits at a barrier or a warp operation (block.h,
// warp.h) and then hands over to the next one that is ready. Nothing happens at the same time, so
// every run is repeatable; what a GPU would do in any order can be tried in several (see Order).
//
// The file is included before the kernels, which stand in an unnamed namespace of their own.
#pragma once

#define CUDA_ON_CPU 1

// With the names in the global namespace: abs(x) of a float is then not C's of an int.
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include <cfenv>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <limits>
#include <type_traits>
#include <utility>

#include "cuda_on_cpu/qualifiers.h"
#include "cuda_on_cpu/types.h"
#include "cuda_on_cpu/sanitizers.h"
#include "cuda_on_cpu/fiber.h"
#include "cuda_on_cpu/block.h"
#include "cuda_on_cpu/warp.h"
#include "cuda_on_cpu/half.h"
#include "cuda_on_cpu/atomics.h"
#include "cuda_on_cpu/maths.h"
#include "cuda_on_cpu/rounding.h"
#include "cuda_on_cpu/bits.h"
#include "cuda_on_cpu/async_copy.h"
#include "cuda_on_cpu/tensor_core.h"
#include "cuda_on_cpu/fault.h"
#include "cuda_on_cpu/matrix_descriptor.h"
#include "cuda_on_cpu/warpgroup_state.h"
#include "cuda_on_cpu/warpgroup.h"
#include "cuda_on_cpu/launch.h"
