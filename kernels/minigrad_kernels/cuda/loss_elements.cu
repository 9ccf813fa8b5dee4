// Losses of pairs of numbers, a prediction and a target: squared differences and binary
// cross-entropy.
//
// Each thread takes every so-and-so-many-th pack of WIDTH pairs, then the last few numbers, which
// do not fill a pack, are for the first threads. Sums are in a fixed order: a number for each
// block, and one more block that sums these.
//
// Definitions: T, the type of the numbers; TOTAL, the type that they are computed and summed in;
// WIDTH, how many numbers a load has.
//
// expect: registers <= 64
#include "store.cuh"
#include "team.cuh"
#include "half.cuh"

using Total = TOTAL;
using Numbers = Pack<T, WIDTH>;

__device__ __forceinline__ int64 first_pack() {
  return (static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x) * WIDTH;
}
__device__ __forceinline__ int64 step() {
  return static_cast<int64>(gridDim.x) * blockDim.x * WIDTH;
}
// The number behind the packs that is this thread's; past the end if there is none.
__device__ __forceinline__ int64 tail(int64 count) {
  return count / WIDTH * WIDTH + static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// y = Loss::of(x, t) for each pair. y may be x or t.
template <class Loss>
__device__ __forceinline__ void each(const T* x, const T* t, T* y, int64 count) {
#pragma unroll 2
  for (int64 i = first_pack(); i + WIDTH <= count; i += step()) {
    Numbers xs = load_pack<WIDTH>(x + i), ts = load_pack<WIDTH>(t + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) xs.at[j] = T(Loss::of(Total(xs.at[j]), Total(ts.at[j])));
    store_whole<WIDTH>(y + i, xs);
  }
  int64 i = tail(count);
  if (i < count) y[i] = T(Loss::of(Total(x[i]), Total(t[i])));
}

// Squared differences

struct SquaredDifference {
  static __device__ __forceinline__ Total of(Total x, Total t) { return (x - t) * (x - t); }
};

// y = (x - t)^2. A thread has every so-and-so-many-th pack.
//
// expect: LDG.128 STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(256)
    squared_differences(const T* x, const T* t, T* y, int64 count) {
  each<SquaredDifference>(x, t, y, count);
}

// The sums of (x - t)^2 over what each block has; if there is one block only, it writes the result:
// its sum by `divisor`. A thread has every so-and-so-many-th pack.
//
// expect: LDG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(256)
    sum_squared_differences(const T* __restrict__ x, const T* __restrict__ t,
                            TOTAL* __restrict__ sums, T* __restrict__ y, int64 count,
                            TOTAL divisor) {
  Total sum = 0;
#pragma unroll 4
  for (int64 i = first_pack(); i + WIDTH <= count; i += step()) {
    Numbers xs = load_pack<WIDTH>(x + i), ts = load_pack<WIDTH>(t + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) sum += SquaredDifference::of(xs.at[j], ts.at[j]);
  }
  int64 i = tail(count);
  if (i < count) sum += SquaredDifference::of(x[i], t[i]);
  sum = block_sum(sum);
  if (threadIdx.x > 0) return;
  if (gridDim.x == 1) {
    y[0] = T(sum / divisor);
  } else {
    sums[blockIdx.x] = sum;
  }
}

// y = sum(sums) / divisor. One block.
extern "C" __global__ void __launch_bounds__(256)
    join_sums(const TOTAL* __restrict__ sums, T* __restrict__ y, int64 count, TOTAL divisor) {
  Total sum = 0;
  for (int64 i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) y[0] = T(sum / divisor);
}

// Binary cross-entropy

__device__ __forceinline__ float logarithm_of_1_plus(float x) { return log1pf(x); }
__device__ __forceinline__ double logarithm_of_1_plus(double x) { return log1p(x); }
__device__ __forceinline__ Total at_least(Total x, Total bound) {
  return MaximumOrNaN<Total>::combine(x, bound);
}

// -(t log(p) + (1 - t) log(1 - p)), the logarithms not below -100
struct BinaryCrossEntropy {
  static __device__ __forceinline__ Total of(Total p, Total t) {
    Total yes = at_least(logarithm(p), -100), no = at_least(logarithm_of_1_plus(-p), -100);
    return -(t * yes + (1 - t) * no);
  }
};

// y = BinaryCrossEntropy::of(p, t). A thread has every so-and-so-many-th pack.
//
// expect: LDG.128 STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(256)
    binary_cross_entropy(const T* p, const T* t, T* y, int64 count) {
  each<BinaryCrossEntropy>(p, t, y, count);
}

// w t softplus(-x) + (1 - t) softplus(x), where softplus(x) = max(x, 0) + log(1 + exp(-|x|)): no
// difference that could cancel.
__device__ __forceinline__ Total with_logits(Total x, Total t, Total w) {
  Total rest = logarithm_of_1_plus(exponential(x < 0 ? x : -x));
  Total positive = at_least(x, 0);
  return w * (t * (positive - x + rest)) + (1 - t) * (positive + rest);
}

// y = with_logits(x, t, w). `w` has `columns` numbers, that of number i at i modulo columns, or it
// is null, for 1; columns is a multiple of WIDTH, or 1. A thread has every so-and-so-many-th pack;
// it knows the column of the next one without a division. y may be x or t, or w if that is as long.
//
// expect: LDG.128 STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(256)
    binary_cross_entropy_with_logits(const T* x, const T* t, const T* w, T* y, int64 count,
                                     int64 columns) {
  int64 column = remainder(first_pack(), columns), rest = remainder(step(), columns);
  Total weights[WIDTH];
#pragma unroll
  for (int j = 0; j < WIDTH; j++) weights[j] = w && columns == 1 ? Total(w[0]) : Total(1);
  for (int64 i = first_pack(); i + WIDTH <= count; i += step()) {
    Numbers xs = load_pack<WIDTH>(x + i), ts = load_pack<WIDTH>(t + i);
    if (w && columns > 1) {
      Numbers ws = load_pack<WIDTH>(w + column);
#pragma unroll
      for (int j = 0; j < WIDTH; j++) weights[j] = Total(ws.at[j]);
    }
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      xs.at[j] = T(with_logits(Total(xs.at[j]), Total(ts.at[j]), weights[j]));
    }
    store_whole<WIDTH>(y + i, xs);
    column += rest;
    if (column >= columns) column -= columns;
  }
  int64 i = tail(count);
  if (i >= count) return;
  Total weight = w ? Total(w[remainder(i, columns)]) : Total(1);
  y[i] = T(with_logits(Total(x[i]), Total(t[i]), weight));
}
