// The words that CUDA adds to C++.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __managed__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// One block runs at a time, so what its threads share can be a static variable. Their section of
// the library is overwritten before each block (see poison_shared_memory). The address sanitizer
// watches the edges of variables in ordinary sections only; g++ ignores the section inside a
// template, whose shared variables are therefore not overwritten.
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static
#else
#define __shared__ static __attribute__((section("cuda_shared")))
#endif
