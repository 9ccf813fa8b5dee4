// Operands of matrix products brought into lines along the sum, rounded on the way: for kernels
// that copy 16 bytes at a time, and multiply what they find.
//
// Definitions: T, the type of the operand; RESULT, that of the lines; ALONG, whether the terms of a
// row are neighbours in memory: if not, the rows are.
#include "minigrad.cuh"
#include "half.cuh"
#include "mma.cuh"

constexpr int SIDE = 32, THREADS = 256, LINES = THREADS / SIDE;

// Numbers as tensor cores take them: float to the nearest with the 10 bits of TF32's fraction.
__device__ __forceinline__ float rounded(float x, float) { return __uint_as_float(to_tf32(x)); }
__device__ __forceinline__ bfloat16 rounded(float x, bfloat16) { return bfloat16(x); }
__device__ __forceinline__ half rounded(half x, half) { return x; }
__device__ __forceinline__ bfloat16 rounded(bfloat16 x, bfloat16) { return x; }

// y[row][term] of each of the matrices: rows of `padded` terms, of which those from `terms` on are
// zeros. Matrices are counted in two dimensions, `inner` in the inner one, and lie in x at the
// given distances; `leading` is from one line of neighbours to the next.
//
// A block brings 32 x 32 numbers of a matrix through shared memory, so that threads with neighbours
// in x read them together, and those with neighbours in y write them together.
extern "C" __global__ void __launch_bounds__(THREADS)
    lines(const T* __restrict__ x, int64 leading, int64 outer_step, int64 inner_step,
          RESULT* __restrict__ y, int rows, int terms, int padded, unsigned inner) {
  __shared__ RESULT tile[SIDE][SIDE + 1];  // [row][term]; the gap keeps columns out of one bank
  unsigned across = (padded + SIDE - 1u) / SIDE, down = (rows + SIDE - 1u) / SIDE;
  unsigned place = blockIdx.x % (across * down), matrix = blockIdx.x / (across * down);
  int row = place / across * SIDE, term = place % across * SIDE;
  int side = threadIdx.x % SIDE, line = threadIdx.x / SIDE;
  x += matrix / inner * outer_step + matrix % inner * inner_step;
  y += static_cast<int64>(matrix) * rows * padded;
#pragma unroll
  for (int i = line; i < SIDE; i += LINES) {
    int r = ALONG ? i : side, t = ALONG ? side : i;
    bool there = row + r < rows && term + t < terms;
    int64 at = ALONG ? (row + r) * leading + term + t : (term + t) * leading + row + r;
    tile[r][t] = there ? rounded(x[at], RESULT(0.0f)) : RESULT(0.0f);
  }
  __syncthreads();
#pragma unroll
  for (int i = line; i < SIDE; i += LINES) {
    if (row + i < rows && term + side < padded) {
      y[static_cast<int64>(row + i) * padded + term + side] = tile[i][side];
    }
  }
}
