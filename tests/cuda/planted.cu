// Kernels with a planted mistake each: what the emulator must report.
#include "minigrad.cuh"
#include "mma.cuh"

extern "C" __global__ void barrier_in_a_branch(float* x) {
  if (threadIdx.x < 16) __syncthreads();
  x[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(float* x) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  x[threadIdx.x] = 1;
}

extern "C" __global__ void deadlock(float* x) {
  if (threadIdx.x == 0) {
    x[0] = __shfl_sync(0x3, x[0], 1);
  } else if (threadIdx.x == 1) {
    x[1] = __shfl_sync(0x6, x[1], 2);
  } else {
    __syncthreads();
  }
}

extern "C" __global__ void wait_for_ever(unsigned* lock) {
  while (atomicCAS(lock, 1, 0) != 1) {
  }
}

extern "C" __global__ void lane_has_exited(float* x) {
  if (threadIdx.x == 5) return;
  x[threadIdx.x] = __shfl_xor_sync(0xffffffff, x[threadIdx.x], 1);
}

extern "C" __global__ void lane_is_not_in_mask(float* x) {
  x[threadIdx.x] = __shfl_xor_sync(0xff, x[threadIdx.x], 1);
}

extern "C" __global__ void different_operations(float* x) {
  if (threadIdx.x % 2) {
    x[threadIdx.x] = __shfl_xor_sync(0xffffffff, x[threadIdx.x], 1);
  } else {
    x[threadIdx.x] = __any_sync(0xffffffff, x[threadIdx.x] > 0);
  }
}

extern "C" __global__ void unwritten(float* x) {
  __shared__ float tile[32];
  if (threadIdx.x != 7) tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = 2 * tile[threadIdx.x] + 1;
}

extern "C" __global__ void unwritten_dynamic(float* x) {
  DYNAMIC_SHARED(double, tile);
  x[threadIdx.x] = static_cast<float>(tile[threadIdx.x] + 1);
}

extern "C" __global__ void wait_is_missing(const float* x, float* y, int waits) {
  __shared__ __align__(16) float tile[32];
  if (threadIdx.x < 8) cp_async_16(tile + 4 * threadIdx.x, x + 4 * threadIdx.x);
  cp_async_commit();
  if (waits) cp_async_wait<0>();
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void misaligned_copy(const float* x) {
  __shared__ float tile[8];
  cp_async_16(tile + 1, x);
}

extern "C" __global__ void behind_dynamic(float* x) {
  extern __shared__ float tile[];
  tile[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void order_matters(float* x) {
  __shared__ float last;
  last = threadIdx.x;
  __syncthreads();
  x[threadIdx.x] = last;
}

extern "C" __global__ void large_locals(float* x) {
  volatile float local[100000];
  for (int i = 99999; i >= 0; i--) local[i] = x[0];
  x[0] = local[5];
}

extern "C" __global__ void asserts(float* x) {
  assert(x[0] == 0);
  x[0] = 1;
}

// Where the operating system steps in

extern "C" __global__ void far_away(const float* x, float* y, int from, int to) {
  if (blockIdx.x == 1 && threadIdx.x == 5) {
    float value = x[from];
    y[to] = value;
  }
}

extern "C" __global__ void nowhere(float* x, long long at) {
  x[at] = 1;
}

extern "C" __global__ void divided(int* x, int by) {
  x[threadIdx.x] = 7 / by;
}

__device__ int deeper(volatile int* x, int depth) {
  volatile int local[100];
  local[depth % 100] = depth;
  return x[0] ? deeper(x, depth + 1) + local[5] : 0;
}
extern "C" __global__ void without_end(int* x) { x[1] = deeper(x, 0); }

extern "C" __global__ void until_told(volatile int* x) {
  x[0] = 1;
  while (!x[1]) {
  }
}

// For memcheck

extern "C" __global__ void out_of_bounds(float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) x[i] = 1;
}

extern "C" __global__ void out_of_shared(float* x) {
  __shared__ float tile[32];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = tile[threadIdx.x + 1];
}

// For racecheck

extern "C" __global__ void reversed(float* x, int barrier) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  if (barrier) __syncthreads();
  x[threadIdx.x] = tile[63 - threadIdx.x];
}

extern "C" __global__ void blocks_meet(float* x) { x[threadIdx.x] += 1; }

// The tree of a sum whose barriers are missing: right only if the last thread comes first.
extern "C" __global__ void tree_without_barriers(float* x) {
  __shared__ float part[64];
  part[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  for (int distance = 32; distance > 0; distance /= 2) {
    if (threadIdx.x < distance) part[threadIdx.x] += part[threadIdx.x + distance];
  }
  if (threadIdx.x == 0) x[0] = part[0];
}
