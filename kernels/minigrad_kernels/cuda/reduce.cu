// Sums over some axes of an array, seen as channels.cuh says.
//
// Each number is read once and added in a register; then the threads, warps and blocks that share
// an output add theirs, in a fixed order: no atomics, whose order would change the last bits from
// run to run. If an output is cut in parts, their sums are rows of a small array, which the same
// kernel sums again.
//
// Definitions: T, the type of the numbers; RESULT, that of the sums; WIDTH, how many numbers a load
// has; LAYOUT, a class of channels.cuh.
//
// expect: LDG.128 if WIDTH > 1
// expect: registers <= 64
#include "channels.cuh"
#include "half.cuh"

using Total = sum_of<T>;
constexpr int OWN = LAYOUT::OWN;

// What a thread has summed of its outputs.
struct Summed {
  const T* x;
  Total total[OWN];

  template <int LOADS>
  __device__ __forceinline__ void operator()(const int64 (&at)[LOADS]) {
    Pack<T, WIDTH> packs[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) packs[i] = load_pack<WIDTH>(x + at[i]);
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
#pragma unroll
      for (int j = 0; j < WIDTH; j++) total[LAYOUT::own(j)] += Total(packs[i].at[j]);
    }
  }
};

// y (outputs, parts): the sums of parts of outputs. A team, or a column of threads, has one.
extern "C" __global__ void __launch_bounds__(LAYOUT::BLOCK)
    sums(const T* __restrict__ x, RESULT* __restrict__ y, int64 rows, int64 channels, int64 inner,
         int64 outputs, int64 parts) {
  LAYOUT way(rows, channels, inner, outputs, parts);
  Summed summed = {x, {}};
  way.visit(summed);
#pragma unroll
  for (int j = 0; j < OWN; j++) {
    Total sum = team_sum<LAYOUT>(summed.total[j]);
    if (way.leads()) y[way.output(j) * parts + way.part()] = RESULT(sum);
  }
}
