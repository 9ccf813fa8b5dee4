// Euclidean norms of parts of an array, in two launches: the squares of chunks are summed, then the
// sums of the chunks of each part. All in double, whose range holds the squares of all floats, and
// always in one order: how a norm is rounded depends on nothing but the numbers of its part.
//
// Definitions: T, the type of the numbers; REAL, that of what is computed from all of them.
//
// allow: double
#include "half.cuh"
#include "minigrad.cuh"

#define NORM_THREADS 256

constexpr int WIDTH = 16 / sizeof(T);

// WIDTH numbers from x[i] on, zeros behind the end. One load, if x begins on a multiple of 16.
__device__ __forceinline__ Pack<T, WIDTH> numbers_at(const T* x, int64 i, int64 size,
                                                     bool aligned) {
  if (aligned && i + WIDTH <= size) return load_pack<WIDTH>(x + i);
  Pack<T, WIDTH> pack;
#pragma unroll
  for (int j = 0; j < WIDTH; j++) pack.at[j] = i + j < size ? x[i + j] : T(0);
  return pack;
}

// sums[b] = the squares of x[begins[b]] to x[ends[b] - 1], summed by block b. A thread takes every
// NORM_THREADS-th pack, wherever in memory the chunk begins.
//
// expect: LDG.128
extern "C" __global__ void __launch_bounds__(NORM_THREADS)
    sum_squares(const T* x, const int64* begins, const int64* ends, double* sums) {
  const T* chunk = x + begins[blockIdx.x];
  int64 size = ends[blockIdx.x] - begins[blockIdx.x];
  bool aligned = reinterpret_cast<size_t>(chunk) % sizeof(Pack<T, WIDTH>) == 0;
  double sum = 0;
#pragma unroll 4
  for (int64 i = threadIdx.x * WIDTH; i < size; i += NORM_THREADS * WIDTH) {
    Pack<T, WIDTH> pack = numbers_at(chunk, i, size, aligned);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      double number = static_cast<double>(pack.at[j]);
      sum += number * number;
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// y[b] = the root of the sums of chunks firsts[b] to firsts[b + 1] - 1, added by block b.
extern "C" __global__ void __launch_bounds__(NORM_THREADS)
    norms(const double* sums, const int64* firsts, T* y) {
  double sum = 0;
  for (int64 i = firsts[blockIdx.x] + threadIdx.x; i < firsts[blockIdx.x + 1]; i += NORM_THREADS) {
    sum += sums[i];
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) y[blockIdx.x] = T(sqrt(sum));
}

// The norm of all parts, from those of each, and the factor that makes it `limit` at most:
// limit / (norm + 1e-6), and not above 1. NaN stays NaN. One thread adds: there are few parts, and
// their order is always the same.
extern "C" __global__ void __launch_bounds__(1)
    clip_factor(const T* norms, int64 count, double limit, REAL* total, REAL* factor) {
  double sum = 0;
#pragma unroll 4
  for (int64 i = 0; i < count; i++) {
    double norm = static_cast<double>(norms[i]);
    sum += norm * norm;
  }
  double norm = sqrt(sum), ratio = limit / (norm + 1e-6);
  *total = REAL(norm);
  *factor = ratio >= 1 ? REAL(1) : REAL(ratio);
}
