// What the gradients of a linear layer need beside matrix products: the gradient that gets through
// a ReLU, and the sum of its rows.
//
// Definitions: T, the type of the numbers; SUM, of sums; WIDTH, how many numbers a load has.
//
// expect: LDG.128 if WIDTH > 1
#include "minigrad.cuh"
#include "half.cuh"

constexpr int LANES = 32, TEAMS = 8;  // threads of a block, side by side and one below the other

// gated = g, but 0 where y is not positive, and parts = the sums of its columns over the rows of
// each block row: what there is no place for (null) is not written, and without y all of g counts.
// A block has LANES * WIDTH columns and `share` rows; a thread goes down WIDTH columns, every
// TEAMS-th row, several loads ahead. The sums of the teams are added in their order, those of the
// parts by another kernel.
extern "C" __global__ void __launch_bounds__(256, 4)
    gate(const T* __restrict__ g, const T* __restrict__ y, T* __restrict__ gated,
         SUM* __restrict__ parts, int64 rows, int columns, int64 share) {
  __shared__ SUM sums[TEAMS][LANES * WIDTH];
  int lane = threadIdx.x % LANES, team = threadIdx.x / LANES;
  int column = (blockIdx.x * LANES + lane) * WIDTH;
  int64 first = blockIdx.y * share, last = first + share < rows ? first + share : rows;
  SUM sum[WIDTH] = {};
  if (column < columns) {
#pragma unroll 4
    for (int64 row = first + team; row < last; row += TEAMS) {
      int64 at = row * columns + column;
      Pack<T, WIDTH> pack = load_pack<WIDTH>(g + at);
      if (y) {
        Pack<T, WIDTH> gates = load_pack<WIDTH>(y + at);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
          if (SUM(gates.at[j]) <= 0) pack.at[j] = T(0.0f);  // NaN lets through
        }
      }
      if (gated) store_pack<WIDTH>(gated + at, pack);
#pragma unroll
      for (int j = 0; j < WIDTH; j++) sum[j] += SUM(pack.at[j]);
    }
  }
  if (!parts) return;
#pragma unroll
  for (int j = 0; j < WIDTH; j++) sums[team][j * LANES + lane] = sum[j];
  __syncthreads();
  if (team || column >= columns) return;
#pragma unroll
  for (int j = 0; j < WIDTH; j++) {
    SUM total = 0;
#pragma unroll
    for (int i = 0; i < TEAMS; i++) total += sums[i][j * LANES + lane];
    parts[static_cast<int64>(blockIdx.y) * columns + column + j] = total;
  }
}
