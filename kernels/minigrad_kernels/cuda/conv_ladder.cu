// Convolution five times, each time faster: a ladder to climb from the formula to tensor cores.
//
//     y[n, i, j, o] = bias[o] + sum over r, s, c of w[o, c, r, s] *
//                               x[n, up i + pace r - pad, up j + pace s - pad, c]
//
// is a product of matrices: its rows are windows (n, i, j), its columns filters o, and its sums run
// over terms (r, s, c). A row's term is a number of the image, so the matrix of the windows need
// not be written. Channels lie last in memory; with several groups, each has a product of its own.
//
// What a rung gains is counted in bytes for a multiply-add. A multiprocessor of an H100 does 128
// multiply-adds of floats in a cycle, four warps' worth. In that time its shared memory serves one
// load of one warp, of up to 128 bytes, and its share of the GPU's memory is about 15 bytes.
//
// Definition: WIDTH, how many neighbouring channels the last two rungs load at once, 1 or 4. Where
// these rungs end, conv.cu and conv_tensor.cu go on.
#include "minigrad.cuh"
#include "mma.cuh"

using T = float;
using Total = float;

#include "conv_tiles.cuh"

// The geometry, from the parameters that all rungs have.
#define CONVOLUTION                                                                             \
  Convolution {                                                                                 \
    images, groups, per_group, each,                                                            \
        {height, rows, up_row, shift_row, pace_row, tap_rows, rows, 0, 1}, {                    \
      width, columns, up_column, shift_column, pace_column, tap_columns, columns, 0, 1          \
    }                                                                                           \
  }

// Where the pixel under a window's tap lies in x, of all channels; null outside of the image.
__device__ __forceinline__ const T* pixel(const T* x, const Convolution& c, const Window& window,
                                          int tap_row, int tap_column) {
  int y = c.down.start(window.row) + c.down.pace * tap_row;
  int z = c.across.start(window.column) + c.across.pace * tap_column;
  if (!inside(y, c.down.size) || !inside(z, c.across.size)) return nullptr;
  int64 number = static_cast<int64>(window.image * c.down.size + y) * c.across.size + z;
  return x + number * c.channels();
}

// Rung 1, naive: a thread computes one number, as the formula says.
//
// Neighbouring threads compute neighbouring pixels of one filter. So at every step a warp loads 32
// numbers of x that lie a whole pixel apart: 32 pieces of memory of 32 bytes each for 32 numbers of
// 4. (The weight is the same for all of them, one load.) About 32 bytes for a multiply-add.
extern "C" __global__ void __launch_bounds__(256)
    naive(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
          T* __restrict__ y, int images, int groups, int per_group, int each,  //
          int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,  //
          int width, int columns, int up_column, int shift_column, int pace_column,
          int tap_columns) {
  Convolution c = CONVOLUTION;
  int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
  int number = static_cast<int>(i % c.windows()), filter = static_cast<int>(i / c.windows());
  if (filter >= c.filters()) return;
  Window window(number, c.down, c.across);
  int first = filter / each * per_group;
  T sum = bias ? bias[filter] : T(0);
  for (int channel = 0; channel < per_group; channel++) {
    for (int r = 0; r < tap_rows; r++) {
      for (int s = 0; s < tap_columns; s++) {
        const T* at = pixel(x, c, window, r, s);
        int64 tap = ((static_cast<int64>(filter) * per_group + channel) * tap_rows + r) *
                        tap_columns + s;
        sum += (at ? at[first + channel] : T(0)) * w[tap];
      }
    }
  }
  y[static_cast<int64>(number) * c.filters() + filter] = sum;
}

// Rung 2, coalesced: neighbouring threads compute neighbouring filters of one pixel, and the
// filters are packed, filters[term][o], so that their numbers lie side by side.
//
// Now the number of x is the same for the whole warp, and the 32 weights are one piece of memory of
// 128 bytes: 4 bytes for a multiply-add. Caches have most of them, but there are two loads to wait
// for at each step.
extern "C" __global__ void __launch_bounds__(256)
    coalesced(const T* __restrict__ x, const T* __restrict__ filters, const T* __restrict__ bias,
              T* __restrict__ y, int packed_terms, int packed_columns,  //
              int images, int groups, int per_group, int each,  //
              int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,  //
              int width, int columns, int up_column, int shift_column, int pace_column,
              int tap_columns) {
  Convolution c = CONVOLUTION;
  int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
  int number = static_cast<int>(i / c.filters()), filter = static_cast<int>(i % c.filters());
  if (number >= c.windows()) return;
  Window window(number, c.down, c.across);
  int group = filter / each, term = 0;
  T sum = bias ? bias[filter] : T(0);
  filters += static_cast<int64>(group) * packed_terms * packed_columns + filter % each;
  for (int r = 0; r < tap_rows; r++) {
    for (int s = 0; s < tap_columns; s++) {
      const T* at = pixel(x, c, window, r, s);
      for (int channel = 0; channel < per_group; channel++, term++) {
        sum += (at ? at[group * per_group + channel] : T(0)) *
               filters[static_cast<int64>(term) * packed_columns];
      }
    }
  }
  y[i] = sum;
}

// Rung 3, tiles in shared memory: a block computes 16 windows by 16 filters, and its threads load
// 16 terms of both together, each thread a number of either.
//
// A number that comes from memory is now used 16 times: half a byte for a multiply-add. But a warp
// has two loads from shared memory for its 32 multiply-adds, so two cycles in which the
// multiprocessor could do 256: it is idle seven eighths of the time.
constexpr int SMALL = 16;

extern "C" __global__ void __launch_bounds__(SMALL* SMALL)
    shared_tiles(const T* __restrict__ x, const T* __restrict__ filters,
                 const T* __restrict__ bias, T* __restrict__ y, int packed_terms,
                 int packed_columns,  //
                 int images, int groups, int per_group, int each,  //
                 int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,  //
                 int width, int columns, int up_column, int shift_column, int pace_column,
                 int tap_columns) {
  Convolution c = CONVOLUTION;
  __shared__ T a[SMALL][SMALL], b[SMALL][SMALL];
  int i = threadIdx.x / SMALL, j = threadIdx.x % SMALL;
  TileOfBlock tile(c.windows(), each, groups, packed_terms / SMALL, 1, SMALL, SMALL);
  filters += (static_cast<int64>(tile.group) * packed_terms + i) * packed_columns + tile.column + j;
  Window window(tile.row + i, c.down, c.across);
  bool there = tile.row + i < c.windows();
  Term term(j, per_group, c.across);
  T sum = 0;
  for (int step = 0; step < tile.last_step; step++) {
    bool valid = there && term.tap_row < tap_rows;
    const T* at = valid ? pixel(x, c, window, term.tap_row, term.tap_column) : nullptr;
    a[i][j] = at ? at[tile.group * per_group + term.channel] : T(0);
    b[i][j] = filters[static_cast<int64>(step) * SMALL * packed_columns];
    term.advance(SMALL, per_group, c.across);
    __syncthreads();  // the tiles are filled
#pragma unroll
    for (int k = 0; k < SMALL; k++) sum += a[i][k] * b[k][j];
    __syncthreads();  // and read, before they are filled again
  }
  Results results = {y, nullptr, bias};
  if (there && tile.column + j < each) {
    sum += results.start(c, tile, tile.column + j);
    y[results.row(c, tile, tile.row + i) + tile.column + j] = sum;
  }
}

// Rung 4, tiles in registers: a block computes 64 windows by 64 filters, a thread 4 by 4 of them.
//
// It takes 4 + 4 numbers from shared memory for 16 multiply-adds, in two loads of 16 bytes. A
// warp's take about three cycles, for 512 multiply-adds: shared memory keeps up. And the 16 sums of
// a thread do not wait for each other. From memory there comes an eighth of a byte for a
// multiply-add, in loads of 16 bytes where channels allow.
constexpr int LARGE = 64;
constexpr int TERMS = 16;
constexpr int MINE = 4;  // windows, and filters, of a thread; and terms that it loads

// expect: LDS.128 LDG.128
extern "C" __global__ void __launch_bounds__(256)
    register_tiles(const T* __restrict__ x, const T* __restrict__ filters,
                   const T* __restrict__ bias, T* __restrict__ y, int packed_terms,
                   int packed_columns,  //
                   int images, int groups, int per_group, int each,  //
                   int height, int rows, int up_row, int shift_row, int pace_row,
                   int tap_rows,  //
                   int width, int columns, int up_column, int shift_column, int pace_column,
                   int tap_columns) {
  Convolution c = CONVOLUTION;
  // Windows lie in columns of a, so that a thread finds its four side by side. A row has four more
  // numbers than there are windows: else more of what a warp writes at once would meet in banks.
  __shared__ __align__(16) T a[TERMS][LARGE + MINE], b[TERMS][LARGE];
  TileOfBlock tile(c.windows(), each, groups, packed_terms / TERMS, 1, LARGE, LARGE);
  filters += static_cast<int64>(tile.group) * packed_terms * packed_columns + tile.column;
  x += tile.group * per_group;
  // What this thread loads: 4 terms of a window, 4 filters of a term.
  int a_row = threadIdx.x / 4, a_term = threadIdx.x % 4 * MINE;
  int b_term = threadIdx.x / 16, b_column = threadIdx.x % 16 * MINE;
  Window window(tile.row + a_row, c.down, c.across);
  bool there = tile.row + a_row < c.windows();
  Term term(a_term, per_group, c.across);
  // What it computes.
  int row = threadIdx.x / 16 * MINE, column = threadIdx.x % 16 * MINE;
  T sums[MINE][MINE] = {};
  for (int step = 0; step < tile.last_step; step++) {
    Term next = term;
#pragma unroll
    for (int p = 0; p < MINE; p += WIDTH) {
      bool valid = there && next.tap_row < tap_rows;
      const T* at = valid ? pixel(x, c, window, next.tap_row, next.tap_column) : nullptr;
      Pack<T, WIDTH> numbers = {};
      if (at) numbers = load_pack<WIDTH>(at + next.channel);
#pragma unroll
      for (int q = 0; q < WIDTH; q++) a[a_term + p + q][a_row] = numbers.at[q];
      next.advance(WIDTH, per_group, c.across);
    }
    const T* from = filters + static_cast<int64>(step * TERMS + b_term) * packed_columns + b_column;
    store_pack<MINE>(&b[b_term][b_column], load_pack<MINE>(from));
    term.advance(TERMS, per_group, c.across);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < TERMS; k++) {
      Pack<T, MINE> left = load_pack<MINE>(&a[k][row]), right = load_pack<MINE>(&b[k][column]);
#pragma unroll
      for (int i = 0; i < MINE; i++) {
#pragma unroll
        for (int j = 0; j < MINE; j++) sums[i][j] += left.at[i] * right.at[j];
      }
    }
    __syncthreads();
  }
  Results results = {y, nullptr, bias};
#pragma unroll
  for (int i = 0; i < MINE; i++) {
    if (tile.row + row + i >= c.windows()) continue;
    int64 at = results.row(c, tile, tile.row + row + i);
#pragma unroll
    for (int j = 0; j < MINE; j++) {
      int filter = tile.column + column + j;
      if (filter < each) y[at + filter] = sums[i][j] + results.start(c, tile, filter);
    }
  }
}

// Rung 5, tensor cores and asynchronous copies: a warp does 1024 multiply-adds in one instruction,
// of floats rounded to TF32. A block of 4 warps computes 64 windows by 64 filters, a warp 32 by 32.
//
// An instruction takes 16 by 8 numbers of a and 8 by 8 of b from the warp's registers; loads of
// whole matrices (ldmatrix) bring them there from shared memory, 16 bytes of a row at a time.
// There are two stages: while one is multiplied, copies to the other are under way, from memory
// straight to shared memory, that no thread waits for and no register holds.
constexpr int LINE = TERMS + 4;  // 80 bytes: 16 bytes of 8 rows, loaded at once, lie in all banks

// Start copying a step's tiles: rows of a are windows, of b filters. Half of the threads have a row
// of a each, the others one of b.
__device__ __forceinline__ void copy_step(const T* x, const T* filters, const Convolution& c,
                                          const Window& window, bool there, Term term, T* to) {
  if (threadIdx.x < LARGE) {
#pragma unroll
    for (int k = 0; k < TERMS; k += WIDTH) {
      bool valid = there && term.tap_row < c.down.taps;
      const T* at = valid ? pixel(x, c, window, term.tap_row, term.tap_column) : nullptr;
      if (WIDTH == 4) {
        cp_async_16(to + k, at ? at + term.channel : x, at);
      } else {
        cp_async_4(to + k, at ? at + term.channel : x, at);
      }
      term.advance(WIDTH, c.per_group, c.across);
    }
  } else {
#pragma unroll
    for (int k = 0; k < TERMS; k += 4) cp_async_16(to + k, filters + k);
  }
  cp_async_commit();
}

// needs: sm_80
// expect: HMMA LDSM LDGSTS
extern "C" __global__ void __launch_bounds__(128, 4)
    tensor_cores(const T* __restrict__ x, const T* __restrict__ filters,
                 const T* __restrict__ bias, T* __restrict__ y, int packed_terms,
                 int packed_columns,  //
                 int images, int groups, int per_group, int each,  //
                 int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,  //
                 int width, int columns, int up_column, int shift_column, int pace_column,
                 int tap_columns) {
  Convolution c = CONVOLUTION;
  __shared__ __align__(16) T tiles[2][2 * LARGE][LINE];  // in each stage rows of a, then of b
  TileOfBlock tile(c.windows(), each, groups, packed_terms / TERMS, 1, LARGE, LARGE);
  x += tile.group * per_group;
  int mine = threadIdx.x % LARGE;  // the row that this thread copies
  Window window(tile.row + mine, c.down, c.across);
  bool there = tile.row + mine < c.windows();
  Term term(0, per_group, c.across);
  // Here the filters are packed with their terms side by side, filters[o][term], and rounded.
  filters += (static_cast<int64>(tile.group) * packed_columns + tile.column + mine) * packed_terms;
  int lane = threadIdx.x % 32, row = threadIdx.x / 64 * 32, column = threadIdx.x / 32 % 2 * 32;
  float sums[2][4][4] = {};  // of 2 x 4 products of 16 windows by 8 filters, 4 a thread

  copy_step(x, filters, c, window, there, term, tiles[0][threadIdx.x]);
  for (int step = 0; step < tile.last_step; step++) {
    cp_async_wait<0>();
    __syncthreads();  // this stage is filled, and the other one read
    if (step + 1 < tile.last_step) {
      term.advance(TERMS, per_group, c.across);
      filters += TERMS;
      copy_step(x, filters, c, window, there, term, tiles[(step + 1) % 2][threadIdx.x]);
    }
    const T(*a)[LINE] = tiles[step % 2], (*b)[LINE] = tiles[step % 2] + LARGE;
#pragma unroll
    for (int k = 0; k < TERMS; k += 8) {
      unsigned left[2][4], right[4][2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        ldmatrix_x4(left[i], &a[row + i * 16 + lane % 16][k + lane / 16 * 4]);
#pragma unroll
        for (int p = 0; p < 4; p++) left[i][p] = to_tf32(__uint_as_float(left[i][p]));
      }
#pragma unroll
      for (int j = 0; j < 4; j++) {
        ldmatrix_x2(right[j], &b[column + j * 8 + lane % 8][k + lane / 8 % 2 * 4]);
      }
#pragma unroll
      for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) mma_m16n8k8_tf32(sums[i][j], left[i], right[j]);
      }
    }
  }
  Results results = {y, nullptr, bias};
#pragma unroll
  for (int i = 0; i < 4; i++) {  // the lane's rows: two in each product
    int number = tile.row + row + i * 8 + lane / 4;
    if (number >= c.windows()) continue;
    int64 at = results.row(c, tile, number);
#pragma unroll
    for (int j = 0; j < 8; j++) {  // its columns, likewise
      int filter = tile.column + column + j / 2 * 8 + lane % 4 * 2 + j % 2;
      if (filter >= each) continue;
      y[at + filter] = sums[i / 2][j / 2][i % 2 * 2 + j % 2] + results.start(c, tile, filter);
    }
  }
}
