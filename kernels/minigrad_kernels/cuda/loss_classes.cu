// Cross-entropy of class numbers, fused with the logarithm of the softmax, and its gradient.
//
// A row of scores belongs to a team: lanes of a warp if it is short, a block if it is long. Forward
// it is read once: the largest score and the sum of exponentials come from one pass. Backward it is
// read once and the gradient written once; softmax is never stored.
//
// Definitions: T, the type of the numbers; WIDTH, how many of them a load has; TEAM, a class of
// team.cuh.
//
// expect: registers <= 64
#include "team.cuh"
#include "half.cuh"

using Total = sum_of<T>;
using Numbers = Pack<T, WIDTH>;
constexpr unsigned STEP = TEAM::SIZE * WIDTH;
// Loads under way at once; exponentials of double, side by side, need more registers than there
// are.
constexpr int LOADS = sizeof(Total) == 8 ? 1 : 4;

// The largest number of a row, and the sum of exp(x - top): the same in all members of its team.
struct Exponentials {
  Total top, sum;
};

// In one pass: when a larger number comes, the sum so far shrinks (Milakov and Gimelshein, "Online
// normalizer calculation for softmax", 2018). The first top is finite, so that a row which begins
// with -infinity does not make NaN of it; if nothing but -infinity comes, the sum stays zero.
__device__ __forceinline__ Exponentials exponentials(const T* x, unsigned length) {
  using Top = MaximumOrNaN<Total>;
  Total top = lowest<Total>(), sum = 0;
#pragma unroll LOADS
  for (unsigned i = TEAM::member() * WIDTH; i < length; i += STEP) {
    Numbers pack = load_pack<WIDTH>(x + i);
    Total top_before = top;
#pragma unroll
    for (int j = 0; j < WIDTH; j++) top = Top::combine(top, Total(pack.at[j]));
    sum *= exponential(top_before - top);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) sum += exponential(Total(pack.at[j]) - top);
  }
  Total top_of_all = TEAM::template reduce<Top>(top);
  Total sum_of_all = team_sum<TEAM>(sum * exponential(top - top_of_all));
  return {sum_of_all == 0 ? -infinity<Total>() : top_of_all, sum_of_all};
}

// loss = -scale log_softmax(x)[target], 0 where the target is negative and NaN where there is no
// such class; and for the gradient top, and total = log(sum(exp(x - top))); for each row. A team
// computes a row; one without a row comes along with an empty one.
//
// expect: LDG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(TEAM::BLOCK)
    cross_entropy(const T* __restrict__ x, const int64* __restrict__ target,
                  const T* __restrict__ scale, T* __restrict__ losses, T* __restrict__ tops,
                  T* __restrict__ totals, unsigned classes, int64 rows) {
  int64 row = TEAM::number();
  unsigned length = classes;
  if (row >= rows) row = 0, length = 0;
  x += row * classes;
  Exponentials all = exponentials(x, length);
  if (TEAM::member() > 0 || length == 0) return;
  Total total = logarithm(all.sum), loss = 0;
  int64 c = target[row];
  if (c >= classes) {
    loss = __int_as_float(0x7fc00000);  // NaN
  } else if (c >= 0) {
    loss = total - (Total(x[c]) - all.top);
  }
  losses[row] = T(loss * Total(scale[row]));
  tops[row] = T(all.top);
  totals[row] = T(total);
}

// gx = (softmax(x) - onehot(target)) g scale, with softmax(x) = exp(x - top - total), and 0 where
// the target is negative; for each row, which a team computes. `g` has a number for each row, or
// one for all if g_step is 0. gx may be x.
//
// expect: LDG.128 STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(TEAM::BLOCK)
    cross_entropy_gradient(const T* __restrict__ g, const T* x, const int64* __restrict__ target,
                           const T* __restrict__ scale, const T* __restrict__ tops,
                           const T* __restrict__ totals, T* gx, unsigned classes, int64 rows,
                           int64 g_step) {
  int64 row = TEAM::number();
  if (row >= rows) return;
  x += row * classes;
  gx += row * classes;
  int64 c = target[row];
  Total top = tops[row], total = totals[row];
  Total factor = Total(g[row * g_step]) * Total(scale[row]);
#pragma unroll LOADS
  for (unsigned i = TEAM::member() * WIDTH; i < classes; i += STEP) {
    Numbers pack = load_pack<WIDTH>(x + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      Total share = exponential(Total(pack.at[j]) - top - total);
      if (i + j == c) share -= 1;
      pack.at[j] = T(c < 0 ? Total(0) : share * factor);
    }
    store_pack<WIDTH>(gx + i, pack);
  }
}
