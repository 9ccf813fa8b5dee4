// Two-dimensional convolution and its gradients as products of matrices that are never written.
//
// The windows of the images are the rows of a matrix, and the filters the columns of another; their
// product is the convolution. Its tiles are loaded from the images themselves: a thread finds the
// pixel under a tap by a few additions, which many multiply-adds pay for ("implicit GEMM": Chetlur
// et al., "cuDNN: efficient primitives for deep learning", 2014). Nothing is unfolded or padded.
//
// Channels lie last in memory, (N, H, W, C), so that neighbouring threads load neighbouring numbers,
// WIDTH of them at once. See windows.cuh for the geometry, register_tiles.cuh for the products.
//
// Definitions: T, WIDTH, and those of register_tiles.cuh. Sums of half are float.
#include "register_tiles.cuh"
#include "windows.cuh"

// Blocks on a multiprocessor: warps hide each other's latency, but share the registers. Code for
// older ones needs a few more registers than 16 warps have, and that of loads of single numbers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int WARPS = WIDTH > 1 ? 12 : 8;
#else
constexpr int WARPS = WIDTH > 1 ? 16 : 8;
#endif
constexpr int BLOCKS = 32 * WARPS / THREADS;

constexpr int FILTER_WIDTH = sizeof(T) == 8 ? 2 : 4;  // filters in a load: packed, always aligned

// The filters as a matrix, for each group: packed[group][term][n], whose sizes are filled up with
// zeros to those of whole tiles, so that products need not look where they end. A thread writes a
// number; the strides say where in w it lies.
extern "C" __global__ void __launch_bounds__(256)
    pack_filters(const T* __restrict__ w, T* __restrict__ packed, int groups, int packed_terms,
                 int packed_columns, int terms, int columns, int channels, int tap_columns,
                 int64 offset, int64 group_stride, int64 column_stride, int64 channel_stride,
                 int64 row_stride, int64 tap_stride) {
  int64 size = static_cast<int64>(groups) * packed_terms * packed_columns;
  int64 threads = static_cast<int64>(gridDim.x) * blockDim.x;
  for (int64 at = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; at < size;
       at += threads) {
    int column = static_cast<int>(at % packed_columns);
    int term = static_cast<int>(at / packed_columns % packed_terms);
    int group = static_cast<int>(at / packed_columns / packed_terms);
    int channel = term % channels, tap = term / channels;
    int64 from = offset + group * group_stride + column * column_stride +
                 channel * channel_stride + tap / tap_columns * row_stride +
                 tap % tap_columns * tap_stride;
    packed[at] = term < terms && column < columns ? w[from] : T(0.0f);
  }
}

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

// One number of the result as it is defined: the taps that lie outside of the image are left out.
__device__ Total sum_inside(const T* x, const T* filters, int columns, int channels, int per_group,
                            const Axis& down, const Axis& across, int number, int first_term,
                            int last_term) {
  Window window(number, down, across);
  Term term(first_term, per_group, across);
  Total sum = 0;
  for (int k = first_term; k < last_term; k++) {
    int y = down.start(window.row) + down.pace * term.tap_row;
    int z = across.start(window.column) + across.pace * term.tap_column;
    if (inside(y, down.size) && inside(z, across.size)) {
      int64 pixel = static_cast<int64>(window.image * down.size + y) * across.size + z;
      sum += Total(x[pixel * channels + term.channel]) *
             Total(filters[static_cast<int64>(k) * columns]);
    }
    term.advance(1, per_group, across);
  }
  return sum;
}

// A part of a thread's row of results, PACK of them.
template <class Value>
__device__ __forceinline__ void store_sums(Value* y, const Total* sums, int count, bool whole) {
  if (whole && count >= PACK) {
    Pack<Value, PACK> pack;
#pragma unroll
    for (int p = 0; p < PACK; p++) pack.at[p] = Value(sums[p]);
    store_pack<PACK>(y, pack);
  } else {
#pragma unroll
    for (int p = 0; p < PACK; p++) {
      if (p < count) y[p] = Value(sums[p]);
    }
  }
}

// y[window, filter] = bias[filter] + sum over terms of x[window, term] * filters[term, filter].
//
// A block computes BLOCK_M windows by BLOCK_N filters of a group, neighbouring blocks the same
// windows. If there are several parts, the terms are shared among them, and their sums, without the
// bias, go to parts[part, window, filter]; y is null then.
//
// Taps that lie outside of the image are zeros times weights, as in an image with padding: NaN where
// a weight is infinite. Where `only_inside`, a thread that got NaN therefore computes its results
// again, of the taps inside alone.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolve(const T* __restrict__ x, const T* __restrict__ filters, const T* __restrict__ bias,
             T* __restrict__ y, Total* __restrict__ parts, int part_count, int images, int groups,
             int per_group, int each, int packed_terms, int only_inside,  //
             int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,
             int out_height, int first_row, int step_row,  //
             int width, int columns, int up_column, int shift_column, int pace_column,
             int tap_columns, int out_width, int first_column, int step_column) {
  Axis down = {height,   rows,       up_row,    shift_row, pace_row,
               tap_rows, out_height, first_row, step_row};
  Axis across = {width,       columns,   up_column,    shift_column, pace_column,
                 tap_columns, out_width, first_column, step_column};
  int channels = groups * per_group, all_filters = groups * each;
  int windows = images * rows * columns, terms = tap_rows * tap_columns * per_group;
  int tiles_n = (each + BLOCK_N - 1) / BLOCK_N, tiles_m = (windows + BLOCK_M - 1) / BLOCK_M;
  int tile_n = blockIdx.x % tiles_n, tile_m = blockIdx.x / tiles_n % tiles_m;
  int group = blockIdx.x / tiles_n / tiles_m % groups;
  int part = blockIdx.x / tiles_n / tiles_m / groups;
  int packed_columns = tiles_n * BLOCK_N, steps = packed_terms / BLOCK_K;
  int first_step = static_cast<int>(static_cast<int64>(steps) * part / part_count);
  int last_step = static_cast<int>(static_cast<int64>(steps) * (part + 1) / part_count);
  int first_term = first_step * BLOCK_K;

  x += group * per_group;
  filters += static_cast<int64>(group) * packed_terms * packed_columns + tile_n * BLOCK_N;
  WindowRows a(x, channels, per_group, down, across, tile_m * BLOCK_M, windows, first_term);
  FilterRows b(filters + static_cast<int64>(first_term) * packed_columns, packed_columns);
  Sums sums;
  multiply_tiles(a, b, last_step - first_step, sums);

#pragma unroll
  for (int j = 0; j < THREAD_N; j++) {
    int filter = tile_n * BLOCK_N + tile_column(j);
    Total start = bias && y && filter < each ? Total(bias[group * each + filter]) : Total(0);
#pragma unroll
    for (int i = 0; i < THREAD_M; i++) sums[i][j] += start;
  }
  // Where number (window, filter) of the tile goes, in y or in the parts.
  auto place = [&](int window, int filter) {
    int64 row = static_cast<int64>(part) * windows + window;
    if (y) {
      Window at(window, down, across);
      row = static_cast<int64>(at.image * out_height + down.place(at.row)) * out_width +
            across.place(at.column);
    }
    return row * all_filters + group * each + filter;
  };
  bool whole = each % PACK == 0;  // packs of filters begin at multiples of their size
  bool is_nan = false;
#pragma unroll
  for (int i = 0; i < THREAD_M; i++) {
    int window = tile_m * BLOCK_M + tile_row(i);
    if (window >= windows) continue;
    int64 row = place(window, 0);
#pragma unroll
    for (int j = 0; j < THREAD_N; j += PACK) {
      int filter = tile_n * BLOCK_N + tile_column(j);
      if (y) {
        store_sums(y + row + filter, &sums[i][j], each - filter, whole);
      } else {
        store_sums(parts + row + filter, &sums[i][j], each - filter, whole);
      }
#pragma unroll
      for (int p = 0; p < PACK; p++) is_nan |= sums[i][j + p] != sums[i][j + p];
    }
  }
  if (!only_inside || !is_nan) return;
#pragma unroll 1
  for (int i = 0; i < THREAD_M * THREAD_N; i++) {
    int window = tile_m * BLOCK_M + tile_row(i / THREAD_N), column = tile_column(i % THREAD_N);
    int filter = tile_n * BLOCK_N + column;
    if (window >= windows || filter >= each) continue;
    Total sum = sum_inside(x, filters + column, packed_columns, channels, per_group, down, across,
                           window, first_term, min(last_step * BLOCK_K, terms));
    if (y) {
      y[place(window, filter)] = T(sum);
    } else {
      parts[place(window, filter)] = sum;
    }
  }
}

// y[i] = bias[i % filters] + sum over parts of parts[part, i], in order. A thread sums one number
// at a time.
extern "C" __global__ void __launch_bounds__(256)
    add_parts(const Total* __restrict__ parts, const T* __restrict__ bias, T* __restrict__ y,
              int part_count, int64 size, int filters) {
  int64 threads = static_cast<int64>(gridDim.x) * blockDim.x;
  for (int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size;
       i += threads) {
    Total sum = bias ? Total(bias[i % filters]) : Total(0);
#pragma unroll 4
    for (int part = 0; part < part_count; part++) sum += parts[part * size + i];
    y[i] = T(sum);
  }
}

// The filters' gradient

// parts[part, group, filter, term] = sum over the part's pixels p of g[p, filter] * x[window p,
// term].
//
// A block computes BLOCK_M filters by BLOCK_N terms of a group. Neighbouring blocks have the same
// pixels, which they so find in the L2 cache.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    correlate(const T* __restrict__ x, const T* __restrict__ g, Total* __restrict__ parts,
              int part_count, int images, int groups, int per_group, int each,  //
              int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,
              int width, int columns, int up_column, int shift_column, int pace_column,
              int tap_columns) {
  Axis down = {height, rows, up_row, shift_row, pace_row, tap_rows, rows, 0, 1};
  Axis across = {width, columns, up_column, shift_column, pace_column, tap_columns, columns, 0, 1};
  int windows = images * rows * columns, terms = tap_rows * tap_columns * per_group;
  int tiles_n = (terms + BLOCK_N - 1) / BLOCK_N, tiles_m = (each + BLOCK_M - 1) / BLOCK_M;
  int tile_n = blockIdx.x % tiles_n, tile_m = blockIdx.x / tiles_n % tiles_m;
  int group = blockIdx.x / tiles_n / tiles_m % groups;
  int part = blockIdx.x / tiles_n / tiles_m / groups;
  int steps = (windows + BLOCK_K - 1) / BLOCK_K;
  int first = static_cast<int>(static_cast<int64>(steps) * part / part_count) * BLOCK_K;
  int last = static_cast<int>(static_cast<int64>(steps) * (part + 1) / part_count) * BLOCK_K;

  GradientRows a(g + group * each, groups * each, each, tile_m * BLOCK_M, first, windows);
  WindowTerms b(x + group * per_group, groups * per_group, per_group, down, across,
                tile_n * BLOCK_N, terms, first, windows);
  Sums sums;
  multiply_tiles(a, b, (last - first) / BLOCK_K, sums);

  bool whole = terms % PACK == 0;
#pragma unroll
  for (int i = 0; i < THREAD_M; i++) {
    int filter = tile_m * BLOCK_M + tile_row(i);
    if (filter >= each) continue;
    int64 row = (static_cast<int64>(part) * groups + group) * each + filter;
#pragma unroll
    for (int j = 0; j < THREAD_N; j += PACK) {
      int term = tile_n * BLOCK_N + tile_column(j);
      store_sums(parts + row * terms + term, &sums[i][j], terms - term, whole);
    }
  }
}

// gw[filter, channel, tap] = sum over parts of parts[part, filter, tap, channel], in order. A thread
// sums one number at a time; those of neighbours lie together in the parts.
extern "C" __global__ void __launch_bounds__(256)
    add_filter_parts(const Total* __restrict__ parts, T* __restrict__ gw, int part_count,
                     int filters, int taps, int per_group) {
  int64 terms = static_cast<int64>(taps) * per_group, size = filters * terms;
  int64 threads = static_cast<int64>(gridDim.x) * blockDim.x;
  for (int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; i < size;
       i += threads) {
    Total sum = 0;
#pragma unroll 4
    for (int part = 0; part < part_count; part++) sum += parts[part * size + i];
    int64 filter = i / terms, tap = i % terms / per_group, channel = i % per_group;
    gw[(filter * per_group + channel) * taps + tap] = T(sum);
  }
}
