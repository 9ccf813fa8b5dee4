// What textbooks' kernels are made of: it compiles for the GPU and for the CPU, with these values.
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <cuda_runtime.h>
#include <math_constants.h>
#include <stdio.h>

#include <algorithm>  // of one line, with what stands behind it
#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstdint>
#include <limits>

// The headers' names and CUDA's own
extern "C" __global__ void constants(double* y) {
  static constexpr float NOTHING = NAN;
  y[0] = INFINITY;
  y[1] = NOTHING;
  y[2] = FLT_MAX;
  y[3] = DBL_EPSILON;
  y[4] = INT_MIN;
  y[5] = UINT_MAX;
  y[6] = M_PI;
  y[7] = CUDART_PI_F;
  y[8] = -CUDART_INF;
  y[9] = std::numeric_limits<float>::lowest();
  y[10] = std::numeric_limits<double>::infinity();
  y[11] = std::numeric_limits<int>::max();
  y[12] = std::max(2, 3) + std::min(0.5f, 4.0f);
  y[13] = std::sqrt(16.0f) + std::abs(-2.5);
  y[14] = static_cast<uint8_t>(257) + static_cast<int64_t>(1);
}

// A float's functions are those of floats, by C++'s names and by C's.
extern "C" __global__ void floats(const float* x, float* y, int* sizes) {
  float v = x[threadIdx.x];
  y[0] = abs(v);
  y[1] = max(v, 0.0f);
  y[2] = min(v, -4.0);
  y[3] = rcbrtf(8.0f);
  y[4] = normcdff(0.0f);
  y[5] = sinpif(0.5f) + cospif(2.0f);
  y[6] = norm3df(2, 3, 6);
  y[7] = rhypotf(3, 4);
  y[8] = signbit(v);
  sincos(v, y + 9, y + 10);
  sizes[0] = sizeof(sqrt(v));
  sizes[1] = sizeof(exp(v));
  sizes[2] = sizeof(max(v, 0.0));
  sizes[3] = sizeof(threadIdx.x) + sizeof(dim3(threadIdx));
}

extern "C" __global__ void directions(const float* x, const double* d, float* y, double* z) {
  y[0] = __fadd_ru(x[0], x[1]);
  y[1] = __fadd_rd(x[0], x[1]);
  y[2] = __fadd_rz(-x[0], -x[1]);
  y[3] = __fmul_ru(x[0], x[2]);
  y[4] = __fdiv_rd(x[0], x[2]);
  y[5] = __frcp_ru(x[2]);
  y[6] = __fsqrt_rd(x[2]);
  y[7] = __fmaf_ru(x[0], x[0], x[1]);
  y[8] = __double2float_ru(d[0]);
  y[9] = __ll2float_rd((1ll << 40) + 1);
  z[0] = __dadd_ru(1, d[1]);
  z[1] = __dsub_rd(1, d[1]);
  z[2] = __drcp_rn(4);
}

extern "C" __global__ void whole_numbers(const float* x, long long* y) {
  y[0] = __float2int_rn(x[0]);
  y[1] = __float2int_rz(-x[0]);
  y[2] = __float2int_ru(x[0]);
  y[3] = __float2int_rd(-x[0]);
  y[4] = __float2int_rn(1e30f);
  y[5] = __float2uint_rz(-5);
  y[6] = __float2int_rn(CUDART_NAN_F);
  y[7] = __double2ll_rn(-1e300);
  y[8] = __mul24(-3, 5);
  y[9] = __sad(-2, 3, 10);
  y[10] = __hadd(-3, 2);
  y[11] = __uhadd(0xffffffffu, 1);
  y[12] = __dp4a(0x01ff0203, 0x01020304, 100);
  y[13] = __brevll(1);
  y[14] = __funnelshift_lc(5, 7, 40);
  y[15] = __mul64hi(-1, 1);
  y[16] = __double2hiint(__hiloint2double(7, 9)) + __double2loint(__hiloint2double(7, 9));
}

extern "C" __global__ void reduced_by_warps(const int* x, int* y) {
  int i = threadIdx.x, equal;
  y[i] = __reduce_add_sync(0xffffffff, x[i]);
  y[32 + i] = __reduce_max_sync(0xffffffff, x[i]);
  y[64 + i] = __reduce_xor_sync(0xffffffff, static_cast<unsigned>(x[i]));
  unsigned all = __match_all_sync(0xffffffff, x[i] / 100, &equal);
  y[96 + i] = (all == 0xffffffff) + equal;
}

// Shared memory that asynchronous copies fill; a lambda, a structure, a template, a recursion
template <class Value>
struct Twice {
  __device__ Value operator()(Value x) const { return x + x; }
};
__device__ int factorial(int n) { return n < 2 ? 1 : n * factorial(n - 1); }

extern "C" __global__ void language(const float* x, float* y, unsigned long long* ticks) {
  __shared__ __align__(16) float tile[32];
  long long begin = clock64();
  int lane = threadIdx.x % warpSize;
  __pipeline_memcpy_async(tile + lane, x + lane, 4);
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();
  auto other = [&](int i) { return tile[31 - i]; };
  assert(lane < 32);
  if (lane == 33) printf("no lane is %d\n", lane);
  half h = __float2half(Twice<float>()(other(lane)));
  y[lane] = __half2float(h) + factorial(4);
  atomicAdd_block(ticks, static_cast<unsigned long long>(clock64() - begin) + 1);
}
