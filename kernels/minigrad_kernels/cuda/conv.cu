// Two-dimensional convolution and its gradients as products of matrices that are never written.
//
// The windows of the images are the rows of a matrix, and the filters the columns of another; their
// product is the convolution. Its tiles are loaded from the images themselves: a thread finds the
// pixel under a tap by a few additions, which many multiply-adds pay for ("implicit GEMM": Chetlur
// et al., "cuDNN: efficient primitives for deep learning", 2014). Nothing is unfolded or padded.
//
// Channels lie last in memory, (N, H, W, C), so that neighbouring threads load neighbouring
// numbers, WIDTH of them at once. See windows.cuh for the geometry, register_tiles.cuh for the
// products.
//
// Definitions: T, WIDTH, and those of register_tiles.cuh. Sums of half are float.
//
// expect: LDS.128
// expect: LDG.128 if WIDTH > 1 and T != half
#include "register_tiles.cuh"
#include "conv_tiles.cuh"

// Blocks on a multiprocessor: so many warps in all, which hide each other's latency, but share the
// registers. Loads of single numbers, and finding windows, take more of these.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int CONVOLVING_WARPS = 12;
#else
constexpr int CONVOLVING_WARPS = 16;
#endif
constexpr int CONVOLVING_BLOCKS = 32 * (WIDTH > 1 ? CONVOLVING_WARPS : 8) / THREADS;
constexpr int CORRELATING_BLOCKS = 32 * (WIDTH > 1 ? 12 : 8) / THREADS;

constexpr int FILTER_WIDTH = sizeof(T) == 8 ? 2 : 4;  // filters in a load: packed, always aligned

// Loaders of tiles

// Rows that are windows, of numbers of the images: A of the convolution. A thread loads the same
// terms of several windows.
struct WindowRows {
  static constexpr int BESIDE = BLOCK_K / WIDTH;  // threads that load a row
  static constexpr int COUNT = BLOCK_M * BESIDE / THREADS;
  static_assert(BLOCK_M * BESIDE % THREADS == 0, "all threads load as much");

  const T* x;
  int channels, per_group;
  const Axis &down, &across;
  Term term;
  int pixel[COUNT], top[COUNT], left[COUNT];  // where the windows begin
  Pack<T, WIDTH> fetched[COUNT];

  static __device__ __forceinline__ int row(int i) {
    return threadIdx.x / BESIDE + i * (THREADS / BESIDE);
  }

  __device__ __forceinline__ WindowRows(const T* x, int channels, int per_group, const Axis& down,
                                        const Axis& across, int first_window, int windows,
                                        int first_term)
      : x(x), channels(channels), per_group(per_group), down(down), across(across),
        term(first_term + threadIdx.x % BESIDE * WIDTH, per_group, across) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      Window window(first_window + row(i), down, across);
      top[i] = down.start(window.row);
      left[i] = across.start(window.column);
      pixel[i] = (window.image * down.size + top[i]) * across.size + left[i];
      if (first_window + row(i) >= windows) top[i] = -(1 << 30);  // outside of all images
    }
  }

  __device__ __forceinline__ void fetch() {
    int right = across.pace * term.tap_column, below = down.pace * term.tap_row;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      bool there = term.tap_row < down.taps && inside(top[i] + below, down.size) &&
                   inside(left[i] + right, across.size);
      int64 at = static_cast<int64>(pixel[i] + below * across.size + right) * channels;
      fetched[i] = there ? load_pack<WIDTH>(x + at + term.channel) : zero_pack<WIDTH, T>();
    }
    term.advance(BLOCK_K, per_group, across);
  }

  __device__ __forceinline__ void put(Total* stage) const {
    int k = threadIdx.x % BESIDE * WIDTH;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
#pragma unroll
      for (int p = 0; p < WIDTH; p++) stage[(k + p) * A_ROW + row(i)] = Total(fetched[i].at[p]);
    }
  }
};

// Rows that are terms, of packed filters: B of the convolution.
struct FilterRows : RowLoads<BLOCK_N, FILTER_WIDTH> {
  const T* filters;
  int columns;
  Pack<T, FILTER_WIDTH> fetched[COUNT];

  __device__ __forceinline__ FilterRows(const T* filters, int columns)
      : filters(filters), columns(columns) {}

  __device__ __forceinline__ void fetch() {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      if (mine(i)) fetched[i] = load_pack<FILTER_WIDTH>(filters + row(i) * columns + column());
    }
    filters += BLOCK_K * columns;
  }

  __device__ __forceinline__ void put(Total* stage) const {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      if (mine(i)) put_pack(stage + row(i) * B_ROW + column(), fetched[i]);
    }
  }
};

// Rows that are pixels, of numbers of the output's gradient: A of the filters' gradient.
struct GradientRows : RowLoads<BLOCK_M, WIDTH> {
  const T* g;
  int filters, each, first_filter, next, last;
  Pack<T, WIDTH> fetched[COUNT];

  // g begins at the group; pixels `next` to `last`, filters from `first_filter` to `each`.
  __device__ __forceinline__ GradientRows(const T* g, int filters, int each, int first_filter,
                                          int next, int last)
      : g(g), filters(filters), each(each), first_filter(first_filter), next(next), last(last) {}

  __device__ __forceinline__ void fetch() {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      if (!mine(i)) continue;
      int filter = first_filter + column();
      bool there = next + row(i) < last && filter < each;
      const T* at = g + static_cast<int64>(next + row(i)) * filters + filter;
      fetched[i] = there ? load_pack<WIDTH>(at) : zero_pack<WIDTH, T>();
    }
    next += BLOCK_K;
  }

  __device__ __forceinline__ void put(Total* stage) const {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      if (mine(i)) put_pack(stage + row(i) * A_ROW + column(), fetched[i]);
    }
  }
};

// Rows that are windows and terms of the sum, too: B of the filters' gradient. A thread loads the
// same places of the windows at every step, so it finds them only once.
struct WindowTerms : RowLoads<BLOCK_N, WIDTH> {
  const T* x;
  int channels, windows, next;
  const Axis &down, &across;
  Window window;
  int below, right, channel;
  Pack<T, WIDTH> fetched[COUNT];

  __device__ __forceinline__ WindowTerms(const T* x, int channels, int per_group,
                                         const Axis& down, const Axis& across, int first_term,
                                         int terms, int next, int windows)
      : x(x), channels(channels), windows(windows), next(next), down(down), across(across),
        window(next + row(0), down, across) {
    Term term(first_term + column(), per_group, across);
    below = down.pace * term.tap_row + down.shift;
    right = across.pace * term.tap_column + across.shift;
    channel = first_term + column() < terms ? term.channel : -1;
  }

  __device__ __forceinline__ void fetch() {
    Window at = window;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      if (!mine(i)) continue;
      if (i > 0) at.advance(STEP, down, across);
      int y = down.up * at.row + below, z = across.up * at.column + right;
      bool there = channel >= 0 && next + row(i) < windows && inside(y, down.size) &&
                   inside(z, across.size);
      int64 pixel = static_cast<int64>(at.image * down.size + y) * across.size + z;
      fetched[i] = there ? load_pack<WIDTH>(x + pixel * channels + channel)
                         : zero_pack<WIDTH, T>();
    }
    next += BLOCK_K;
    window.advance(BLOCK_K, down, across);
  }

  __device__ __forceinline__ void put(Total* stage) const {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      if (mine(i)) put_pack(stage + row(i) * B_ROW + column(), fetched[i]);
    }
  }
};

// The convolution

// y[window, filter] = bias[filter] + sum over terms of x[window, term] * filters[term, filter].
//
// A block computes BLOCK_M windows by BLOCK_N filters of a group, neighbouring blocks the same
// windows. If there are several parts, the terms are shared among them, and their sums, without the
// bias, go to parts[part, window, filter]; y is null then.
//
// Where `only_inside`, taps outside of the image are left out; see sum_inside.
//
// expect: STG.128 if T != half
// expect: registers <= 128 from sm_90 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(THREADS, CONVOLVING_BLOCKS)
    convolve(const T* __restrict__ x, const T* __restrict__ filters, const T* __restrict__ bias,
             T* __restrict__ y, Total* __restrict__ parts, int part_count, int images, int groups,
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
  int windows = c.windows(), steps = packed_terms / BLOCK_K;
  TileOfBlock tile(windows, each, groups, steps, part_count, BLOCK_M, BLOCK_N);
  int packed_columns = (each + BLOCK_N - 1) / BLOCK_N * BLOCK_N;
  int first_term = tile.first_step * BLOCK_K;
  x += tile.group * per_group;
  filters += static_cast<int64>(tile.group) * packed_terms * packed_columns + tile.column;

  WindowRows a(x, c.channels(), per_group, c.down, c.across, tile.row, windows, first_term);
  FilterRows b(filters + static_cast<int64>(first_term) * packed_columns, packed_columns);
  Sums sums;
  multiply_tiles(a, b, tile.last_step - tile.first_step, sums);

  Results results = {y, parts, bias};
#pragma unroll
  for (int j = 0; j < THREAD_N; j++) {
    Total start = results.start(c, tile, tile.column + tile_column(j));
#pragma unroll
    for (int i = 0; i < THREAD_M; i++) sums[i][j] += start;
  }
  bool is_nan = false;
#pragma unroll
  for (int i = 0; i < THREAD_M; i++) {
    int window = tile.row + tile_row(i);
    if (window >= windows) continue;
    int64 row = results.row(c, tile, window);
#pragma unroll
    for (int j = 0; j < THREAD_N; j += PACK) {
      int filter = tile.column + tile_column(j);
      results.store<PACK>(row + filter, &sums[i][j], each - filter, each % PACK == 0);
#pragma unroll
      for (int p = 0; p < PACK; p++) is_nan |= sums[i][j + p] != sums[i][j + p];
    }
  }
  if (!only_inside || !is_nan) return;
#pragma unroll 1
  for (int i = 0; i < THREAD_M * THREAD_N; i++) {
    int window = tile.row + tile_row(i / THREAD_N), column = tile_column(i % THREAD_N);
    if (window >= windows || tile.column + column >= each) continue;
    Total sum = sum_inside(c, x, filters + column, packed_columns, window, first_term,
                           min(tile.last_step * BLOCK_K, c.terms()));
    results.store<1>(results.row(c, tile, window) + tile.column + column, &sum, 1, false);
  }
}

// The filters' gradient

// parts[part, group, filter, term] = sum over the part's pixels p of g[p, filter] * x[window p,
// term].
//
// A block computes BLOCK_M filters by BLOCK_N terms of a group. Neighbouring blocks have the same
// pixels, which they so find in the L2 cache.
//
// expect: STG.128
// expect: registers <= 168
extern "C" __global__ void __launch_bounds__(THREADS, CORRELATING_BLOCKS)
    correlate(const T* __restrict__ x, const T* __restrict__ g, Total* __restrict__ parts,
              int part_count, int images, int groups, int per_group, int each,  //
              int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,
              int width, int columns, int up_column, int shift_column, int pace_column,
              int tap_columns) {
  Convolution c = {images, groups, per_group, each,
                   {height, rows, up_row, shift_row, pace_row, tap_rows, rows, 0, 1},
                   {width, columns, up_column, shift_column, pace_column, tap_columns, columns, 0,
                    1}};
  int windows = c.windows(), terms = c.terms(), steps = (windows + BLOCK_K - 1) / BLOCK_K;
  TileOfBlock tile(each, terms, groups, steps, part_count, BLOCK_M, BLOCK_N);
  int first = tile.first_step * BLOCK_K;

  GradientRows a(g + tile.group * each, c.filters(), each, tile.row, first, windows);
  WindowTerms b(x + tile.group * per_group, c.channels(), per_group, c.down, c.across,
                tile.column, terms, first, windows);
  Sums sums;
  multiply_tiles(a, b, tile.last_step - tile.first_step, sums);

#pragma unroll
  for (int i = 0; i < THREAD_M; i++) {
    int filter = tile.row + tile_row(i);
    if (filter >= each) continue;
    int64 row = (static_cast<int64>(tile.part) * groups + tile.group) * each + filter;
#pragma unroll
    for (int j = 0; j < THREAD_N; j += PACK) {
      int term = tile.column + tile_column(j);
      Results::store_some<PACK>(parts + row * terms + term, &sums[i][j], terms - term,
                                terms % PACK == 0);
    }
  }
}
