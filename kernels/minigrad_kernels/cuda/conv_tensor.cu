// Convolution and the filters' gradient on tensor cores: the products of conv.cu, of float rounded
// to TF32, or of half; sums in float. Tiles are copied to shared memory asynchronously, with zeros
// where the padding is. From sm_80 on.
//
// Definitions: T, float or half; BLOCK_M, BLOCK_N; COPY, the bytes of a copy: 16, or 4 where the
// channels of a group do not make 16.
//
// needs: sm_80
// expect: HMMA
// expect: LDGSTS.128 if COPY == 16
#include "tensor_tiles.cuh"
#include "conv_tiles.cuh"

constexpr int WIDTH = COPY / sizeof(T);  // numbers in a copy

// Loaders of tiles

// Rows that are windows, of numbers of the images: A of the convolution. Where the windows begin is
// kept in shared memory, 16 bytes for each, for the registers hold sums.
struct WindowRows {
  static constexpr int BESIDE = BLOCK_K / WIDTH;  // threads that copy a row
  static constexpr int STEP = THREADS / BESIDE;   // rows that the block copies at once

  const T* x;
  const Convolution& c;
  const Pack<int, 4>* starts;  // pixel, row, column
  Term term;

  __device__ __forceinline__ WindowRows(const T* x, const Convolution& c, Pack<int, 4>* starts,
                                        int first_window, int first_term)
      : x(x), c(c), starts(starts), term(first_term + threadIdx.x % BESIDE * WIDTH, c.per_group,
                                         c.across) {
    for (int i = threadIdx.x; i < BLOCK_M; i += THREADS) {
      int number = first_window + i;
      Window window(number, c.down, c.across);
      int top = c.down.start(window.row), left = c.across.start(window.column);
      int pixel = (window.image * c.down.size + top) * c.across.size + left;
      if (number >= c.windows()) top = -(1 << 30);  // outside of all images
      starts[i] = {{pixel, top, left, 0}};
    }
    __syncthreads();
  }

  __device__ __forceinline__ void copy(T* stage) {
    int right = c.across.pace * term.tap_column, below = c.down.pace * term.tap_row;
    bool ends = term.tap_row >= c.down.taps;
    int k = threadIdx.x % BESIDE * WIDTH;
#pragma unroll 8
    for (int row = threadIdx.x / BESIDE; row < BLOCK_M; row += STEP) {
      Pack<int, 4> start = load_pack<4>(&starts[row].at[0]);
      bool there = !ends && inside(start.at[1] + below, c.down.size) &&
                   inside(start.at[2] + right, c.across.size);
      int64 pixel = start.at[0] + below * c.across.size + right;
      const T* from = there ? x + pixel * c.channels() + term.channel : x;
      copy_async(stage + RowsOfTerms::place(row, k), from, there);
    }
    term.advance(BLOCK_K, c.per_group, c.across);
  }
};

// Rows that are filters, with their terms side by side: B of the convolution, packed.
struct FilterRows {
  const T* filters;
  int terms;

  __device__ __forceinline__ void copy(T* stage) {
    int k = threadIdx.x % (BLOCK_K / CHUNK) * CHUNK;
#pragma unroll 8
    for (int row = threadIdx.x / (BLOCK_K / CHUNK); row < BLOCK_N;
         row += THREADS / (BLOCK_K / CHUNK)) {
      cp_async_16(stage + RowsOfTerms::place(row, k),
                  filters + static_cast<int64>(row) * terms + k);
    }
    filters += BLOCK_K;
  }
};

// Rows that are pixels, of numbers of the output's gradient: A of the filters' gradient.
struct GradientRows {
  static constexpr int BESIDE = BLOCK_M / WIDTH, STEP = THREADS / BESIDE;
  static_assert(THREADS % BESIDE == 0, "a thread copies one column");

  const T* g;
  int filters, each, first_filter, next, last;  // pixels `next` to `last`

  __device__ __forceinline__ void copy(T* stage) {
    int column = threadIdx.x % BESIDE * WIDTH, filter = first_filter + column;
#pragma unroll 8
    for (int row = threadIdx.x / BESIDE; row < BLOCK_K; row += STEP) {
      bool there = next + row < last && filter < each;
      const T* from = there ? g + static_cast<int64>(next + row) * filters + filter : g;
      copy_async(stage + row * RowsAreTerms::A_ROW + column, from, there);
    }
    next += BLOCK_K;
  }
};

// Rows that are windows and terms of the sum, too: B of the filters' gradient.
struct WindowTerms {
  static constexpr int BESIDE = BLOCK_N / WIDTH, STEP = THREADS / BESIDE;
  static_assert(THREADS % BESIDE == 0, "a thread copies one column");

  const T* x;
  const Convolution& c;
  int next, windows;
  Window window;
  int below, right, channel;  // -1: behind the last term

  __device__ __forceinline__ WindowTerms(const T* x, const Convolution& c, int first_term, int next)
      : x(x), c(c), next(next), windows(c.windows()),
        window(next + threadIdx.x / BESIDE, c.down, c.across) {
    int number = first_term + threadIdx.x % BESIDE * WIDTH;
    Term term(number, c.per_group, c.across);
    below = c.down.pace * term.tap_row + c.down.shift;
    right = c.across.pace * term.tap_column + c.across.shift;
    channel = number < c.terms() ? term.channel : -1;
  }

  __device__ __forceinline__ void copy(T* stage) {
    int column = threadIdx.x % BESIDE * WIDTH;
#pragma unroll 8
    for (int row = threadIdx.x / BESIDE; row < BLOCK_K; row += STEP) {
      int y = c.down.up * window.row + below, z = c.across.up * window.column + right;
      bool there = channel >= 0 && next + row < windows && inside(y, c.down.size) &&
                   inside(z, c.across.size);
      int64 pixel = static_cast<int64>(window.image * c.down.size + y) * c.across.size + z;
      copy_async(stage + row * RowsAreTerms::B_ROW + column,
                 there ? x + pixel * c.channels() + channel : x, there);
      window.advance(STEP, c.down, c.across);  // after the last row: the next stage's first
    }
    next += BLOCK_K;
  }
};

// y[window, filter] = bias[filter] + sum over terms of x[window, term] * filters[filter, term].
//
// A block computes BLOCK_M windows by BLOCK_N filters of a group. Parts and `only_inside` are as in
// conv.cu.
//
// expect: LDSM
extern "C" __global__ void __launch_bounds__(128, 2)
    convolve(const T* __restrict__ x, const T* __restrict__ filters, const T* __restrict__ bias,
             T* __restrict__ y, float* __restrict__ parts, int part_count, int images, int groups,
             int per_group, int each, int packed_terms, int only_inside,  //
             int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,
             int out_height, int first_row, int step_row,  //
             int width, int columns, int up_column, int shift_column, int pace_column,
             int tap_columns, int out_width, int first_column, int step_column) {
  Convolution c = {images, groups, per_group, each,
                   {height, rows, up_row, shift_row, pace_row, tap_rows, out_height, first_row,
                    step_row},
                   {width, columns, up_column, shift_column, pace_column, tap_columns, out_width,
                    first_column, step_column}};
  DYNAMIC_SHARED(T, shared);  // the stages, then where windows begin
  constexpr int STAGE = RowsOfTerms::A_STAGE + RowsOfTerms::B_STAGE;
  Pack<int, 4>* starts = reinterpret_cast<Pack<int, 4>*>(shared + STAGES * STAGE);
  int windows = c.windows(), steps = packed_terms / BLOCK_K;
  TileOfBlock tile(windows, each, groups, steps, part_count, BLOCK_M, BLOCK_N);
  int packed_columns = (each + BLOCK_N - 1) / BLOCK_N * BLOCK_N;
  int first_term = tile.first_step * BLOCK_K;
  x += tile.group * per_group;
  filters += (static_cast<int64>(tile.group) * packed_columns + tile.column) * packed_terms;

  WindowRows a(x, c, starts, tile.row, first_term);
  FilterRows b = {filters + first_term, packed_terms};
  Sums sums;
  multiply_tiles<RowsOfTerms>(a, b, tile.last_step - tile.first_step, shared, sums);

  Results results = {y, parts, bias};
  bool is_nan = false;
#pragma unroll
  for (int j = 0; j < TILES_N; j++) {
    int filter = tile.column + tile_column(j);
    float start[2] = {results.start(c, tile, filter), results.start(c, tile, filter + 1)};
#pragma unroll
    for (int i = 0; i < TILES_M; i++) {
#pragma unroll
      for (int p = 0; p < 4; p++) {
        sums[i][j][p] += start[p % 2];
        is_nan |= sums[i][j][p] != sums[i][j][p];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 2 * TILES_M; i++) {
    int window = tile.row + tile_row(i / 2, i % 2);
    if (window >= windows) continue;
    int64 row = results.row(c, tile, window);
#pragma unroll
    for (int j = 0; j < TILES_N; j++) {
      int filter = tile.column + tile_column(j);
      results.store<2>(row + filter, &sums[i / 2][j][i % 2 * 2], each - filter, each % 2 == 0);
    }
  }
  if (!only_inside || !is_nan) return;
#pragma unroll 1
  for (int i = 0; i < 4 * TILES_M * TILES_N; i++) {
    int window = tile.row + tile_row(i / 2 / (2 * TILES_N), i / 2 / TILES_N % 2);
    int column = tile_column(i / 2 % TILES_N) + i % 2;
    if (window >= windows || tile.column + column >= each) continue;
    float sum = sum_inside(c, x, filters + static_cast<int64>(column) * packed_terms, 1, window,
                           first_term, min(tile.last_step * BLOCK_K, c.terms()));
    results.store<1>(results.row(c, tile, window) + tile.column + column, &sum, 1, false);
  }
}

// parts[part, group, filter, term] = sum over the part's pixels p of g[p, filter] * x[window p,
// term]. A block computes BLOCK_M filters by BLOCK_N terms of a group.
//
// expect: LDSM if T == half
extern "C" __global__ void __launch_bounds__(128, 2)
    correlate(const T* __restrict__ x, const T* __restrict__ g, float* __restrict__ parts,
              int part_count, int images, int groups, int per_group, int each,  //
              int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,
              int width, int columns, int up_column, int shift_column, int pace_column,
              int tap_columns) {
  Convolution c = {images, groups, per_group, each,
                   {height, rows, up_row, shift_row, pace_row, tap_rows, rows, 0, 1},
                   {width, columns, up_column, shift_column, pace_column, tap_columns, columns, 0,
                    1}};
  DYNAMIC_SHARED(T, shared);
  int windows = c.windows(), terms = c.terms(), steps = (windows + BLOCK_K - 1) / BLOCK_K;
  TileOfBlock tile(each, terms, groups, steps, part_count, BLOCK_M, BLOCK_N);
  int first = tile.first_step * BLOCK_K;

  GradientRows a = {g + tile.group * each, c.filters(), each, tile.row, first, windows};
  WindowTerms b(x + tile.group * per_group, c, tile.column, first);
  Sums sums;
  multiply_tiles<RowsAreTerms>(a, b, tile.last_step - tile.first_step, shared, sums);

#pragma unroll
  for (int i = 0; i < 2 * TILES_M; i++) {
    int filter = tile.row + tile_row(i / 2, i % 2);
    if (filter >= each) continue;
    int64 row = (static_cast<int64>(tile.part) * groups + tile.group) * each + filter;
#pragma unroll
    for (int j = 0; j < TILES_N; j++) {
      int term = tile.column + tile_column(j);
      Results::store_some<2>(parts + row * terms + term, &sums[i / 2][j][i % 2 * 2], terms - term,
                             terms % 2 == 0);
    }
  }
}
