// Looking at indices and class numbers on the GPU, so that nobody has to wait for them to do so.
//
// Definition: INDEX, the type of the indices.
#include "minigrad.cuh"

#define INDEX_THREADS 1024

// The smallest and the largest of some numbers. Of none, the largest and the smallest there are.
struct Bounds {
  int64 low, high;

  static __device__ __forceinline__ Bounds neutral() {
    return {0x7fffffffffffffffll, -0x7fffffffffffffffll - 1};
  }
  static __device__ __forceinline__ Bounds combine(Bounds a, Bounds b) {
    return {min(a.low, b.low), max(a.high, b.high)};
  }
};

__device__ __forceinline__ Bounds from_lane_xor(Bounds x, int bits) {
  return {__shfl_xor_sync(FULL_WARP, x.low, bits), __shfl_xor_sync(FULL_WARP, x.high, bits)};
}

// bounds[b] of those that block b goes through, in steps of the whole grid, but for `skip`, if that
// `skips`.
extern "C" __global__ void __launch_bounds__(INDEX_THREADS)
    index_bounds(const INDEX* __restrict__ index, int64* __restrict__ bounds, int64 count,
                 int64 skip, bool skips) {
  Bounds found = Bounds::neutral();
#pragma unroll 4
  for (int64 i = blockIdx.x * INDEX_THREADS + threadIdx.x; i < count;
       i += gridDim.x * INDEX_THREADS) {
    int64 number = index[i];
    if (!skips || number != skip) found = Bounds::combine(found, {number, number});
  }
  found = block_reduce<Bounds>(found);
  if (threadIdx.x == 0) {
    bounds[2 * blockIdx.x] = found.low;
    bounds[2 * blockIdx.x + 1] = found.high;
  }
}
