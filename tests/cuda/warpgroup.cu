// Products of one warpgroup with the wrappers of wgmma.cuh: right ones, and ones with a mistake.
//
// Definitions: PRODUCT, a wrapper with its arguments but D and the descriptors; WIDTH, of B;
// MISTAKE, one of those below, or 0.
//
// needs: sm_90a
#include "minigrad.cuh"
#include "half.cuh"
#include "wgmma.cuh"

// Element i of the sums that a thread has: its row and column.
__device__ int row_of(int i) {
  return threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + i / 2 % 2 * 8;
}
__device__ int column_of(int i) { return i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2; }

// d (64 x WIDTH) += a product of what the image of shared memory holds, twice.
extern "C" __global__ void __launch_bounds__(128)
    product(const uint4* image, int chunks, unsigned long long a, unsigned long long b, float* d) {
  DYNAMIC_SHARED(uint4, memory);
  for (int i = threadIdx.x; i < chunks; i += 128) memory[i] = image[i];
  fence_proxy_async();
  __syncthreads();
  float sums[WIDTH / 2];
  for (int i = 0; i < WIDTH / 2; i++) sums[i] = d[row_of(i) * WIDTH + column_of(i)];
  wgmma_fence(sums);
  PRODUCT(sums, a, b);
  wgmma_commit();
  PRODUCT(sums, a, b);
  wgmma_commit();
  wgmma_wait<1>();
  wgmma_wait<0>(sums);
  for (int i = 0; i < WIDTH / 2; i++) d[row_of(i) * WIDTH + column_of(i)] = sums[i];
}

enum Mistake {
  NONE,
  NO_PROXY_FENCE,
  NO_FENCE,
  SUMS_WRITTEN,
  SUMS_READ,
  OPERAND_WRITTEN,
  OPERAND_COPIED,
  NO_WAIT,
  THREE_WARPS,
  OTHER_LANE,
  OTHER_WARP,
  NO_BARRIER,
  FENCE_BEFORE_STORE,
};

// Each sum of d (64 x 128) is 16: a product of ones, but for a mistake.
extern "C" __global__ void planted(const half* ones, float* d) {
  DYNAMIC_SHARED(half, memory);
  half* b = memory + 4096;
  if (MISTAKE == FENCE_BEFORE_STORE) fence_proxy_async();
  for (int i = threadIdx.x; i < 4096 + 8192; i += blockDim.x) memory[i] = half(1.0f);
  if (MISTAKE != NO_PROXY_FENCE && MISTAKE != FENCE_BEFORE_STORE) fence_proxy_async();
  if (MISTAKE != NO_BARRIER) __syncthreads();
  float sums[64] = {};
  uint64 of_a = wgmma_descriptor(memory, 0, 1024), of_b = wgmma_descriptor(b, 0, 1024);
  if (MISTAKE == OTHER_LANE && threadIdx.x == 40) of_b += 2;
  if (MISTAKE == OTHER_WARP && threadIdx.x / 32 == 2) of_b += 2;
  if (MISTAKE == THREE_WARPS && threadIdx.x / 32 == 3) return;
  if (MISTAKE != NO_FENCE) wgmma_fence(sums);
  wgmma_m64k16_f16<128, false, false>(sums, of_a, of_b);  // the product
  wgmma_commit();
  if (MISTAKE == SUMS_WRITTEN) sums[5] = 0;
  if (MISTAKE == SUMS_READ) d[threadIdx.x] = sums[5];
  if (MISTAKE == OPERAND_WRITTEN) memory[threadIdx.x] = half(0.0f);
  if (MISTAKE == OPERAND_COPIED) {
    cp_async_16(b + 8 * threadIdx.x, ones);
    cp_async_commit();
  }
  if (MISTAKE != NO_WAIT) wgmma_wait<0>(sums);
  cp_async_wait<0>();
  if (MISTAKE == SUMS_READ || MISTAKE == NO_WAIT) return;
  for (int i = 0; i < 64; i++) d[row_of(i) * 128 + column_of(i)] = sums[i];
}
