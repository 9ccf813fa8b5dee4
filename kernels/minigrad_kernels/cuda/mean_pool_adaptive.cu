// Adaptive average pooling: means of windows that cover an image evenly, and the gradient.
//
// Window i of n begins at floor(i * size / n) and ends before ceil((i + 1) * size / n); n = 1 is
// the mean of the whole image, the most frequent case.
//
// Definitions: those of pool_images.cuh; MEMBERS, how many threads share a window; PLANES, 1 if
// images have one channel: then a load has WIDTH pixels, not channels.
//
// expect: registers <= 64
#include "pool_images.cuh"

// Numbers that come of a load: channels stay apart, pixels of a plane are added up.
constexpr int RESULTS = PLANES ? 1 : WIDTH;
using Results = Pack<T, RESULTS>;

// The windows of a block. Neighbouring threads must read neighbouring memory: in planes they are
// members of one window; where channels lie side by side, they have packs of the same pixel.
constexpr int ITEMS = BLOCK / MEMBERS;
constexpr int NEXT_MEMBER = PLANES ? 1 : ITEMS;  // how many threads further on it is
__device__ __forceinline__ int item_of_thread() {
  return PLANES ? threadIdx.x / MEMBERS : threadIdx.x % ITEMS;
}
__device__ __forceinline__ int member() {
  return PLANES ? threadIdx.x % MEMBERS : threadIdx.x / ITEMS;
}

// The pixels of a window along one dimension.
struct Segment {
  int begin, end;
};
__device__ __forceinline__ Segment segment(int window, int windows, int pixels) {
  return {window * pixels / windows, ((window + 1) * pixels + windows - 1) / windows};
}

// The first and the last window that lie on a pixel.
struct Span {
  int first, last;
};
__device__ __forceinline__ Span windows_on(int pixel, int windows, int pixels) {
  return {pixel * windows / pixels, ((pixel + 1) * windows - 1) / pixels};
}

// The sums of all members of a window, in its first member. Half of them give theirs to the other
// half, and so on. Called by all threads of a block.
__device__ __forceinline__ void add_up_members(Total (&sum)[RESULTS]) {
  __shared__ Total kept[RESULTS * BLOCK];
  if (MEMBERS == 1) return;
  __syncthreads();  // they may still be read, from the last time
  for (int k = 0; k < RESULTS; k++) kept[k * BLOCK + threadIdx.x] = sum[k];
  for (int half = MEMBERS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (member() >= half) continue;
#pragma unroll
    for (int k = 0; k < RESULTS; k++) {
      sum[k] += kept[k * BLOCK + threadIdx.x + half * NEXT_MEMBER];
      kept[k * BLOCK + threadIdx.x] = sum[k];
    }
  }
}

// y = the mean of each window of x. MEMBERS threads have a window, or WIDTH channels of it.
// expect: LDG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    means(const T* __restrict__ x, T* __restrict__ y, INDEX images, int channels, int height,
          int width, int window_rows, int window_columns) {
  int packs = PLANES ? 1 : channels / WIDTH;
  INDEX count = images * window_rows * window_columns * packs;
  for (INDEX first = static_cast<INDEX>(blockIdx.x) * ITEMS; first < count;
       first += static_cast<INDEX>(gridDim.x) * ITEMS) {
    INDEX item = first + item_of_thread();
    Spot at = spot_of(min(item, count - 1), window_rows, window_columns, packs);
    Segment rows = segment(at.row, window_rows, height);
    Segment columns = segment(at.column, window_columns, width);
    const T* image = x + at.image * height * width * channels + at.pack * WIDTH;
    int row_length = columns.end - columns.begin, pixels = (rows.end - rows.begin) * row_length;
    int pixels_in_load = PLANES ? WIDTH : 1;
    Total sum[RESULTS] = {};
#pragma unroll 4
    for (int pixel = member() * pixels_in_load; pixel < pixels;
         pixel += MEMBERS * pixels_in_load) {
      int row = pixel / row_length, column = pixel - row * row_length;
      INDEX from = static_cast<INDEX>(rows.begin + row) * width + columns.begin + column;
      Numbers numbers = load_pack<WIDTH>(image + from * channels);
#pragma unroll
      for (int k = 0; k < WIDTH; k++) sum[PLANES ? 0 : k] += Total(numbers.at[k]);
    }
    add_up_members(sum);
    if (member() != 0 || item >= count) continue;
    Total share = 1 / static_cast<Total>(pixels);
    Results mean;
#pragma unroll
    for (int k = 0; k < RESULTS; k++) mean.at[k] = T(sum[k] * share);
    store_pack<RESULTS>(y + item * RESULTS, mean);
  }
}

// gx = for each pixel the sum of g over the windows on it, each divided by its pixels. A thread has
// WIDTH channels of a pixel; in planes WIDTH pixels of a row, which must lie in the same windows.
// expect: STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    means_gradient(const T* __restrict__ g, T* __restrict__ gx, INDEX images, int channels,
                   int height, int width, int window_rows, int window_columns) {
  int packs = PLANES ? 1 : channels / WIDTH;
  int pixels_in_load = PLANES ? WIDTH : 1;
  int loads_in_row = width / pixels_in_load;
  INDEX count = images * height * loads_in_row * packs;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    Spot at = spot_of(item, height, loads_in_row, packs);
    Span on_rows = windows_on(at.row, window_rows, height);
    Span on_columns = windows_on(at.column * pixels_in_load, window_columns, width);
    const T* windows = g + at.image * window_rows * window_columns * channels + at.pack * WIDTH;
    Total sum[RESULTS] = {};
#pragma unroll 1
    for (int row = on_rows.first; row <= on_rows.last; row++) {
      Segment rows = segment(row, window_rows, height);
#pragma unroll 1
      for (int column = on_columns.first; column <= on_columns.last; column++) {
        Segment columns = segment(column, window_columns, width);
        INDEX window = static_cast<INDEX>(row) * window_columns + column;
        Results numbers = load_pack<RESULTS>(windows + window * channels);
        int pixels = (rows.end - rows.begin) * (columns.end - columns.begin);
        Total share = 1 / static_cast<Total>(pixels);
#pragma unroll
        for (int k = 0; k < RESULTS; k++) sum[k] += Total(numbers.at[k]) * share;
      }
    }
    Numbers sums;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) sums.at[k] = T(sum[PLANES ? 0 : k]);
    store_pack<WIDTH>(gx + item * WIDTH, sums);
  }
}
