// Average pooling: the mean of each window of an image, and the gradient.
//
// As in pool.cu: memory bounds it, and a thread asks for all it needs before it adds.
//
// Definitions: those of pool_windows.cuh; COUNTING, by what sums are divided: 0 by the pixels of a
// window and of its padding, 1 by its pixels alone, 2 by a given number.
//
// expect: LDG.128 STG.128 if WIDTH > 1
// expect: registers <= 64
#include "pool_means.cuh"

// y = the mean of each window of x. A thread has WIDTH channels of a window.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    means(const T* __restrict__ x, T* __restrict__ y, INDEX images, int channels, int height,
          int width, int window_rows, int window_columns, int kernel_rows, int kernel_columns,
          int stride_rows, int stride_columns, int padding_rows, int padding_columns,
          int64 divisor) {
  Slide rows = slide(height, window_rows, kernel_rows, stride_rows, padding_rows, 1);
  Slide columns = slide(width, window_columns, kernel_columns, stride_columns, padding_columns, 1);
  int packs = channels / WIDTH;
  INDEX count = images * window_rows * window_columns * packs;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    Spot at = spot_of(item, window_rows, window_columns, packs);
    const T* image = x + at.image * height * width * channels + at.pack * WIDTH;
    Total sum[WIDTH] = {};
    auto add = [&](bool, const Numbers& numbers, int, int) {  // beside the image they are 0
#pragma unroll
      for (int k = 0; k < WIDTH; k++) sum[k] += Total(numbers.at[k]);
    };
    each_element(image, rows, columns, at.row, at.column, channels, add);
    Total share = share_of(rows, columns, at.row, at.column, divisor);
    Numbers mean;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) mean.at[k] = T(sum[k] * share);
    store_pack<WIDTH>(y + item * WIDTH, mean);
  }
}

// gx = for each pixel the sum of g over the windows on it, each divided by what its mean was. A
// thread has WIDTH channels of a pixel.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    means_gradient(const T* __restrict__ g, T* __restrict__ gx, INDEX images, int channels,
                   int height, int width, int window_rows, int window_columns, int kernel_rows,
                   int kernel_columns, int stride_rows, int stride_columns, int padding_rows,
                   int padding_columns, int64 divisor) {
  Slide rows = slide(height, window_rows, kernel_rows, stride_rows, padding_rows, 1);
  Slide columns = slide(width, window_columns, kernel_columns, stride_columns, padding_columns, 1);
  int packs = channels / WIDTH;
  INDEX count = images * height * width * packs;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    Spot at = spot_of(item, height, width, packs);
    const T* windows = g + at.image * window_rows * window_columns * channels + at.pack * WIDTH;
    Total sum[WIDTH] = {};
    auto add = [&](bool lies, int row, int column, int, int) {
      Numbers numbers = {};
      if (lies) {
        INDEX window = static_cast<INDEX>(row) * window_columns + column;
        numbers = load_pack<WIDTH>(windows + window * channels);
      }
      Total share = lies ? share_of(rows, columns, row, column, divisor) : Total(0);
#pragma unroll
      for (int k = 0; k < WIDTH; k++) sum[k] += Total(numbers.at[k]) * share;
    };
    each_window(rows, columns, at.row, at.column, add);
    Numbers sums;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) sums.at[k] = T(sum[k]);
    store_pack<WIDTH>(gx + item * WIDTH, sums);
  }
}
