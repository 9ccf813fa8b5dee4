// What the emulator has of CUDA, each kernel one part of it.
#include "minigrad.cuh"
#include "half.cuh"

extern "C" __global__ void shuffles(const int* x, int* y, int width) {
  int i = threadIdx.x, value = x[i];
  y[i] = __shfl_sync(FULL_WARP, value, 3, width);
  y[32 + i] = __shfl_up_sync(FULL_WARP, value, 2, width);
  y[64 + i] = __shfl_down_sync(FULL_WARP, value, 2, width);
  y[96 + i] = __shfl_xor_sync(FULL_WARP, value, 5, width);
}

extern "C" __global__ void shuffles_of_sizes(const unsigned char* a, const half* b,
                                             const double* c, double* y) {
  int i = threadIdx.x;
  y[i] = __shfl_xor_sync(FULL_WARP, a[i], 1) + float(__shfl_xor_sync(FULL_WARP, b[i], 2)) +
         __shfl_xor_sync(FULL_WARP, c[i], 4);
}

// Two halves of a warp, each on its own way
extern "C" __global__ void shuffles_of_half_warps(int* x) {
  int i = threadIdx.x;
  if (i < 16) {
    for (int round = 0; round < 3; round++) x[i] += __shfl_xor_sync(0x0000ffff, x[i], 1);
  } else {
    x[i] = __shfl_xor_sync(0xffff0000, x[i], 8);
  }
}

extern "C" __global__ void votes(const int* x, unsigned* y) {
  int i = threadIdx.x;
  y[96 + i] = __activemask();
  y[i] = __ballot_sync(FULL_WARP, x[i] > 3);
  y[32 + i] = __any_sync(FULL_WARP, x[i] == 9) + 2 * __all_sync(FULL_WARP, x[i] < 10);
  y[64 + i] = __match_any_sync(FULL_WARP, x[i]);
}

// An eighth of a warp votes while lanes of others have not yet gone on from what was before.
extern "C" __global__ void votes_of_eighths(const int* x, int* y) {
  int i = threadIdx.x, shift = i & ~3;
  int value = __shfl_sync(FULL_WARP, x[i], 9);
  unsigned ballot = __ballot_sync(0xfu << shift, i % 2), equal = __match_any_sync(0xfu << shift, i);
  unsigned most = __reduce_max_sync(0xfu << shift, static_cast<unsigned>(i));
  y[i] = value * 10000 + (ballot >> shift) * 100 + (equal == 1u << i) * 10 + (most == shift + 3u);
}

extern "C" __global__ void barriers(const int* x, int* y) {
  int i = threadIdx.x;
  y[i] = __syncthreads_count(x[i] > 3);
  y[blockDim.x + i] = __syncthreads_and(x[i] < 10) + 2 * __syncthreads_or(x[i] == 9);
}

extern "C" __global__ void atomics(int* ints, unsigned* unsigneds, unsigned long long* longs,
                                   float* floats, double* doubles) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(ints, i);
  atomicMax(ints + 1, i);
  atomicMin(ints + 2, -i);
  atomicSub(ints + 3, 1);
  atomicAdd(unsigneds, 1);
  atomicOr(unsigneds + 1, 1u << i % 32);
  atomicAnd(unsigneds + 2, ~(1u << i % 32));
  atomicXor(unsigneds + 3, i);
  atomicInc(unsigneds + 4, 9);
  atomicExch(unsigneds + 5, 77u);
  atomicCAS(unsigneds + 6, 0, 5);
  atomicAdd(longs, 1ull << 33);
  atomicAdd(floats, 0.5f);
  atomicAdd(doubles, 0.25);
}

extern "C" __global__ void spin_lock(unsigned* lock, int* count) {
  while (atomicCAS(lock, 0, 1) != 0) {
  }
  *count = *count + 1;
  __threadfence();
  atomicExch(lock, 0);
}

extern "C" __global__ void bits(const float* x, const unsigned* n, unsigned* y) {
  y[0] = __float_as_uint(x[0]);
  y[1] = __float_as_uint(__uint_as_float(n[0]));
  y[2] = __umulhi(n[0], n[1]);
  y[3] = __popc(n[0]);
  y[4] = __clz(n[0]);
  y[5] = __ffs(n[0]);
  y[6] = __brev(n[0]);
  y[7] = __byte_perm(n[0], n[1], 0x5410);
  y[8] = __funnelshift_l(n[0], n[1], 8);
  y[9] = __umul64hi(1ull << 40 | n[0], 1ull << 40 | n[1]);
  y[10] = __float2int_rn(x[1]);
}

extern "C" __global__ void functions(const float* x, float* y, int n) {
  int i = threadIdx.x;
  if (i >= n) return;
  float v = x[i];
  y[i] = expf(v);
  y[n + i] = __expf(v);
  y[2 * n + i] = __logf(v);
  y[3 * n + i] = rsqrtf(v);
  y[4 * n + i] = tanhf(v);
  y[5 * n + i] = erff(v);
  y[6 * n + i] = fmaf(v, v, 1);
  y[7 * n + i] = max(v, 1.5f);
  y[8 * n + i] = __fdividef(1, v);
  y[9 * n + i] = __ldg(x + i);
}

// Every bit pattern widened, and numbers rounded
extern "C" __global__ void halves(const unsigned short* every, const float* x, float* wide,
                                  half* narrow, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  wide[i] = __half2float(__ushort_as_half(every[i]));
  if (i < n) narrow[i] = __float2half(x[i]);
}

extern "C" __global__ void brains(const float* x, __nv_bfloat16* narrow, float* wide, int n) {
  int i = threadIdx.x;
  if (i >= n) return;
  narrow[i] = __float2bfloat16(x[i]);
  wide[i] = __bfloat162float(narrow[i] * narrow[i]);
}

extern "C" __global__ void arithmetic_of_halves(const half* a, const half* b, half* y, int n) {
  int i = threadIdx.x;
  if (i >= n) return;
  y[i] = a[i] + b[i];
  y[n + i] = a[i] * b[i];
  y[2 * n + i] = a[i] / b[i];
  y[3 * n + i] = __hmax(a[i], b[i]);
  __half2 both = __hadd2(__halves2half2(a[i], b[i]), __float2half2_rn(1));
  y[4 * n + i] = __low2half(both);
  y[5 * n + i] = a[i] < b[i] ? __high2half(both) : half(0.0f);
}

__constant__ float TABLE[4] = {1, 2, 4, 8};

// Vectors, dynamic shared memory of two kinds, constants, indices in three dimensions
extern "C" __global__ void __launch_bounds__(24) vectors(const float4* x, float2* y) {
  extern __shared__ float4 tile[];
  DYNAMIC_SHARED(float2, pairs);
  int i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  tile[i] = x[i];
  __syncthreads();
  y[2 * i] = pairs[2 * i];
  y[2 * i + 1] = make_float2(TABLE[threadIdx.y], gridDim.z * 100 + blockIdx.z);
}

template <class Value>
__device__ Value in_template(Value x) {
  __shared__ Value tile[64];
  tile[threadIdx.x] = x;
  __syncthreads();
  return tile[63 - threadIdx.x];
}

extern "C" __global__ void reductions(const float* x, double* y) {
  int i = threadIdx.x;
  y[i] = block_sum(static_cast<double>(x[i]));
  y[blockDim.x + i] = block_max(x[i]);
  y[2 * blockDim.x + i] = warp_sum(x[i]);
}

extern "C" __global__ void templates(int* x) { x[threadIdx.x] = in_template(x[threadIdx.x]); }
