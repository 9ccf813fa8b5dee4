// Passes over whole arrays before and after a matrix product.
//
// Definitions: T, the type of the result of a product; SUM, of its sums.
#include "minigrad.cuh"
#include "half.cuh"

// c = the sum of `splits` parts of each sum, in their order, plus the bias of its column, negative
// numbers to 0 if `relu`. Threads take neighbouring numbers; these are few, or the sums would not
// have been split. The loads of a thread do not wait for each other, so four are under way at once.
extern "C" __global__ void __launch_bounds__(256)
    add_parts(const SUM* __restrict__ parts, int splits, int64 count,
              const T* __restrict__ bias, int columns, bool relu, T* __restrict__ c) {
  int64 step = static_cast<int64>(gridDim.x) * blockDim.x;
  for (int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    SUM sum = 0;
#pragma unroll 4
    for (int split = 0; split < splits; split++) sum += parts[split * count + i];
    if (bias) sum += SUM(bias[i % columns]);
    c[i] = T(relu && sum < 0 ? SUM(0) : sum);  // NaN stays NaN
  }
}

// y = x, rounded to bfloat16: a thread rounds 4 numbers at a time, of which 16 bytes are read and 8
// written, and one of those that are left.
// expect: LDG.128 STG.64
extern "C" __global__ void __launch_bounds__(256)
    to_bfloat16(const float* __restrict__ x, bfloat16* __restrict__ y, int64 count) {
  int64 thread = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
  int64 step = static_cast<int64>(gridDim.x) * blockDim.x;
  for (int64 i = thread; i < count / 4; i += step) {
    Pack<float, 4> numbers = load_pack<4>(x + 4 * i);
    Pack<bfloat16, 4> rounded;
#pragma unroll
    for (int j = 0; j < 4; j++) rounded.at[j] = bfloat16(numbers.at[j]);
    store_pack<4>(y + 4 * i, rounded);
  }
  if (thread < count % 4) y[count - 1 - thread] = bfloat16(x[count - 1 - thread]);
}
