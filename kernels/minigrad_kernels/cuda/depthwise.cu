// Convolution in which every channel has one filter of its own, and its gradients.
//
// There is nothing to multiply matrices for: a number of the image meets as many weights as its
// filter has taps, and the kernels are as fast as memory gives the images. Channels lie last in
// memory, so threads of a warp take neighbouring channels, WIDTH at once.
//
// Definitions: T, the type of the numbers; TOTAL, that of their sums; WIDTH; DOWN_ROW, DOWN_COLUMN.
#include "minigrad.cuh"
#include "half.cuh"
#include "windows.cuh"

using Numbers = Pack<T, WIDTH>;

struct Totals {
  TOTAL at[WIDTH];

  __device__ __forceinline__ void add_product(const Numbers& a, const Numbers& b) {
#pragma unroll
    for (int i = 0; i < WIDTH; i++) at[i] += TOTAL(a.at[i]) * TOTAL(b.at[i]);
  }
};

// Filters (C, taps) as (taps, C), in which neighbouring channels are neighbours. A thread moves one
// number at a time.
extern "C" __global__ void __launch_bounds__(256)
    filters_by_taps(const T* __restrict__ w, T* __restrict__ by_taps, int channels, int taps) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < channels * taps;
       i += gridDim.x * blockDim.x) {
    by_taps[i] = w[static_cast<int64>(i % channels) * taps + i / channels];
  }
}

// Pixels side by side in a row of the result that a thread computes: their loads are under way
// together, and a weight is loaded for all of them.
constexpr int PIXELS = 4;

// y[n, i, j, c] = bias[c] + sum over taps of x[n, the pixel under the tap, c] * w[tap, c].
//
// Window i lies on pixels (up * i + shift + pace * tap) / DOWN, where that is whole: DOWN is 1, but
// in the gradient of the input the stride, and `up` is 1. (As a constant, for division by a number
// that is not known takes longer than all the rest.) A thread computes WIDTH channels of PIXELS
// neighbouring windows, in a loop. Taps outside of the image are zeros, but where `only_inside`
// they are left out.
//
// expect: LDG.128 STG.128 if T == float and WIDTH == 4
// expect: LDG.64 STG.64 if T == half and WIDTH == 4
// expect: registers <= 64
extern "C" __global__ void __launch_bounds__(256)
    convolve(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
             T* __restrict__ y, unsigned tasks, int channels, int only_inside,  //
             int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,  //
             int width, int columns, int up_column, int shift_column, int pace_column,
             int tap_columns) {
  int packs = channels / WIDTH, across = (columns + PIXELS - 1) / PIXELS;
  for (unsigned task = blockIdx.x * blockDim.x + threadIdx.x; task < tasks;
       task += gridDim.x * blockDim.x) {
    int channel = task % packs * WIDTH, group = task / packs;  // of pixels
    int j = group % across * PIXELS, i = group / across % rows, image = group / across / rows;
    Totals totals[PIXELS];
#pragma unroll
    for (int p = 0; p < PIXELS; p++) {
#pragma unroll
      for (int k = 0; k < WIDTH; k++) totals[p].at[k] = bias ? TOTAL(bias[channel + k]) : TOTAL(0);
    }
    for (int r = 0; r < tap_rows; r++) {
      int place = up_row * i + shift_row + pace_row * r, row = place / DOWN_ROW;
      bool row_there = place >= 0 && row * DOWN_ROW == place && row < height;
      if (only_inside && !row_there) continue;
      const T* line = x + (static_cast<int64>(image) * height + row) * width * channels + channel;
      for (int s = 0; s < tap_columns; s++) {
        Numbers weights = load_pack<WIDTH>(w + (r * tap_columns + s) * channels + channel);
#pragma unroll
        for (int p = 0; p < PIXELS; p++) {
          int at = up_column * (j + p) + shift_column + pace_column * s;
          int column = at / DOWN_COLUMN;
          bool there = row_there && at >= 0 && column * DOWN_COLUMN == at && column < width;
          if (there) {
            int64 offset = static_cast<int64>(column) * channels;
            totals[p].add_product(load_pack<WIDTH>(line + offset), weights);
          } else if (!only_inside) {  // NaN where a weight is infinite, as the definition has it
            Numbers zeros;
#pragma unroll
            for (int k = 0; k < WIDTH; k++) zeros.at[k] = T(0.0f);
            totals[p].add_product(zeros, weights);
          }
        }
      }
    }
    T* to = y + ((static_cast<int64>(image) * rows + i) * columns + j) * channels + channel;
#pragma unroll
    for (int p = 0; p < PIXELS; p++) {
      if (j + p >= columns) continue;
      Numbers result;
#pragma unroll
      for (int k = 0; k < WIDTH; k++) result.at[k] = T(totals[p].at[k]);
      store_pack<WIDTH>(to + static_cast<int64>(p) * channels, result);
    }
  }
}

// The filters' gradient

constexpr int TAPS = 9;    // whose sums a thread keeps in registers: a filter of 3 by 3
constexpr int LANES = 32;  // threads side by side, each with WIDTH channels
constexpr int LINES = 8;   // of such threads in a block, which share the pixels

// parts[part, tap, c] = sum over the part's pixels p of g[p, c] * x[the pixel under p's tap, c].
//
// blockIdx.x is the part, .y a block of LANES * WIDTH channels, .z one of TAPS taps. A thread goes
// through every LINES-th pixel of its part, so that a warp reads neighbouring channels; g is read
// once for TAPS taps, and the pixels under them lie in a cache. The lines' sums are added in order.
//
// expect: LDG.128 if T == float and WIDTH == 4
// expect: registers <= 80
extern "C" __global__ void __launch_bounds__(256)
    correlate(const T* __restrict__ x, const T* __restrict__ g, TOTAL* __restrict__ parts,
              int images, int channels,  //
              int height, int rows, int up_row, int shift_row, int pace_row, int tap_rows,
              int width, int columns, int up_column, int shift_column, int pace_column,
              int tap_columns) {
  Axis down = {height, rows, up_row, shift_row, pace_row, tap_rows, rows, 0, 1};
  Axis across = {width, columns, up_column, shift_column, pace_column, tap_columns, columns, 0, 1};
  int lane = threadIdx.x % LANES, line = threadIdx.x / LANES;
  int channel = (blockIdx.y * LANES + lane) * WIDTH, first_tap = blockIdx.z * TAPS;
  int windows = images * rows * columns, taps = tap_rows * tap_columns;
  bool there = channel < channels;
  int below[TAPS], right[TAPS];
  Totals totals[TAPS];
#pragma unroll
  for (int t = 0; t < TAPS; t++) {
    int tap = first_tap + t < taps ? first_tap + t : 0;
    below[t] = down.pace * (tap / tap_columns);
    right[t] = across.pace * (tap % tap_columns);
#pragma unroll
    for (int k = 0; k < WIDTH; k++) totals[t].at[k] = 0;
  }
  int first = static_cast<int>(static_cast<int64>(windows) * blockIdx.x / gridDim.x);
  int last = static_cast<int>(static_cast<int64>(windows) * (blockIdx.x + 1) / gridDim.x);
  Window window(first + line, down, across);
  for (int p = first + line; there && p < last; p += LINES) {
    Numbers gradient = load_pack<WIDTH>(g + static_cast<int64>(p) * channels + channel);
    int top = down.start(window.row), left = across.start(window.column);
#pragma unroll
    for (int t = 0; t < TAPS; t++) {
      int y = top + below[t], z = left + right[t];
      Numbers numbers;
#pragma unroll
      for (int k = 0; k < WIDTH; k++) numbers.at[k] = T(0.0f);
      if (inside(y, height) && inside(z, width)) {
        int64 pixel = static_cast<int64>(window.image * height + y) * width + z;
        numbers = load_pack<WIDTH>(x + pixel * channels + channel);
      }
      totals[t].add_product(gradient, numbers);
    }
    window.advance(LINES, down, across);
  }
  __shared__ TOTAL sums[LINES][LANES * WIDTH];
#pragma unroll
  for (int t = 0; t < TAPS; t++) {
    if (first_tap + t >= taps) break;  // the same in all threads
#pragma unroll
    for (int k = 0; k < WIDTH; k++) sums[line][k * LANES + lane] = totals[t].at[k];
    __syncthreads();
    for (int i = line; i < WIDTH; i += LINES) {
      if (!there) continue;
      TOTAL sum = 0;
#pragma unroll
      for (int l = 0; l < LINES; l++) sum += sums[l][i * LANES + lane];
      int64 at = (static_cast<int64>(blockIdx.x) * taps + first_tap + t) * channels;
      parts[at + channel + i] = sum;
    }
    __syncthreads();
  }
}

// gw[c, tap] = sum over parts of parts[part, tap, c], in order. A thread sums one number at a time.
extern "C" __global__ void __launch_bounds__(256)
    add_parts(const TOTAL* __restrict__ parts, T* __restrict__ gw, int part_count, int channels,
              int taps) {
  int size = channels * taps;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
    TOTAL sum = 0;
#pragma unroll 4
    for (int part = 0; part < part_count; part++) sum += parts[static_cast<int64>(part) * size + i];
    gw[static_cast<int64>(i % channels) * taps + i / channels] = T(sum);
  }
}
