// Softmax and its logarithm over rows of numbers, and their gradients.
//
// A row belongs to a team: to a warp if it is short, to a block if it is long. The members of a
// team go through the row together, each taking every SIZE-th pack of WIDTH numbers, so that
// neighbours load neighbouring memory. A row is read twice, first for its sums, then to compute the
// result; the second time it still lies in a cache. Sums are of the row's type, of half in float.
//
// Definitions: T, the type of the numbers; WIDTH, how many of them a load has; TEAM, a class below.
//
// expect: LDG.128 STG.128 if WIDTH > 1
#include "minigrad.cuh"
#include "half.cuh"

using Total = sum_of<T>;
using Numbers = Pack<T, WIDTH>;

// Teams: who shares a row

struct WarpTeam {
  static constexpr int BLOCK = 128;  // threads: four warps, each with a row of its own
  static constexpr int SIZE = 32;
  static __device__ int member() { return threadIdx.x % 32; }
  static __device__ int64 row() {
    return static_cast<int64>(blockIdx.x) * (BLOCK / 32) + threadIdx.x / 32;
  }
  static __device__ Total sum(Total x) { return warp_sum(x); }
  static __device__ Total max(Total x) { return warp_max(x); }
};

struct BlockTeam {
  static constexpr int BLOCK = 256;
  static constexpr int SIZE = BLOCK;
  static __device__ int member() { return threadIdx.x; }
  static __device__ int64 row() { return blockIdx.x; }
  static __device__ Total sum(Total x) { return block_sum(x); }
  static __device__ Total max(Total x) { return block_max(x); }
};

// A member's way through its row: where its first pack begins, and how far the next one is.
__device__ __forceinline__ unsigned first_pack() { return TEAM::member() * WIDTH; }
constexpr unsigned STEP = TEAM::SIZE * WIDTH;

// The sum of exp(x - top) over a row, and top, its largest number: the same in all members.
struct Exponentials {
  Total top, sum;
};

// In one pass: when a larger number comes, the sum so far shrinks (Milakov and Gimelshein, "Online
// normalizer calculation for softmax", 2018). The first top is finite, so that a row which begins
// with -infinity does not make NaN of it.
__device__ __forceinline__ Exponentials exponentials(const T* x, unsigned length) {
  Total top = lowest<Total>(), sum = 0;
#pragma unroll 4
  for (unsigned i = first_pack(); i < length; i += STEP) {
    Numbers pack = load_pack<WIDTH>(x + i);
    Total top_before = top;
#pragma unroll
    for (int j = 0; j < WIDTH; j++) top = larger(top, Total(pack.at[j]));
    sum *= exponential(top_before - top);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) sum += exponential(Total(pack.at[j]) - top);
  }
  Total top_of_all = TEAM::max(top);
  return {top_of_all, TEAM::sum(sum * exponential(top - top_of_all))};
}

// y = exp(x - top) / sum(exp(x - top)), for each row of x. A team computes a row.
extern "C" __global__ void __launch_bounds__(TEAM::BLOCK, 1)
    softmax(const T* x, T* y, unsigned length, int64 rows) {
  if (TEAM::row() >= rows) return;
  x += TEAM::row() * length;
  y += TEAM::row() * length;
  Exponentials all = exponentials(x, length);
  Total share = 1 / all.sum;
#pragma unroll 4
  for (unsigned i = first_pack(); i < length; i += STEP) {
    Numbers pack = load_pack<WIDTH>(x + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      pack.at[j] = T(exponential(Total(pack.at[j]) - all.top) * share);
    }
    store_pack<WIDTH>(y + i, pack);
  }
}

// y = x - top - log(sum(exp(x - top))), for each row of x. A team computes a row.
extern "C" __global__ void __launch_bounds__(TEAM::BLOCK, 1)
    log_softmax(const T* x, T* y, unsigned length, int64 rows) {
  if (TEAM::row() >= rows) return;
  x += TEAM::row() * length;
  y += TEAM::row() * length;
  Exponentials all = exponentials(x, length);
  Total log_sum = logarithm(all.sum);
#pragma unroll 4
  for (unsigned i = first_pack(); i < length; i += STEP) {
    Numbers pack = load_pack<WIDTH>(x + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) pack.at[j] = T(Total(pack.at[j]) - all.top - log_sum);
    store_pack<WIDTH>(y + i, pack);
  }
}

// gx = y (g - sum(g y)), for each row, where y is the softmax. A team computes a row.
extern "C" __global__ void __launch_bounds__(TEAM::BLOCK, 1)
    softmax_gradient(const T* g, const T* y, T* gx, unsigned length, int64 rows) {
  if (TEAM::row() >= rows) return;
  g += TEAM::row() * length;
  y += TEAM::row() * length;
  gx += TEAM::row() * length;
  Total sum = 0;
#pragma unroll 4
  for (unsigned i = first_pack(); i < length; i += STEP) {
    Numbers gs = load_pack<WIDTH>(g + i), ys = load_pack<WIDTH>(y + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) sum += Total(gs.at[j]) * Total(ys.at[j]);
  }
  sum = TEAM::sum(sum);
#pragma unroll 4
  for (unsigned i = first_pack(); i < length; i += STEP) {
    Numbers gs = load_pack<WIDTH>(g + i), ys = load_pack<WIDTH>(y + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) gs.at[j] = T(Total(ys.at[j]) * (Total(gs.at[j]) - sum));
    store_pack<WIDTH>(gx + i, gs);
  }
}

// gx = g - exp(y) sum(g), for each row, where y is the logarithm of the softmax. A team computes a
// row.
extern "C" __global__ void __launch_bounds__(TEAM::BLOCK, 1)
    log_softmax_gradient(const T* g, const T* y, T* gx, unsigned length, int64 rows) {
  if (TEAM::row() >= rows) return;
  g += TEAM::row() * length;
  y += TEAM::row() * length;
  gx += TEAM::row() * length;
  Total sum = 0;
#pragma unroll 4
  for (unsigned i = first_pack(); i < length; i += STEP) {
    Numbers gs = load_pack<WIDTH>(g + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) sum += Total(gs.at[j]);
  }
  sum = TEAM::sum(sum);
#pragma unroll 4
  for (unsigned i = first_pack(); i < length; i += STEP) {
    Numbers gs = load_pack<WIDTH>(g + i), ys = load_pack<WIDTH>(y + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      gs.at[j] = T(Total(gs.at[j]) - exponential(Total(ys.at[j])) * sum);
    }
    store_pack<WIDTH>(gx + i, gs);
  }
}
