// Average pooling on planes whose rows are whole loads, and whose windows are known when this is
// compiled; mean_pool.cu has all other cases, and says what is computed.
//
// Definitions: those of pool_windows.cuh and COUNTING, as in mean_pool.cu.
//
// expect: registers <= 64
#include "pool_means.cuh"
#include "pool_rows.cuh"

// y = the mean of each window of x. A thread has WINDOWS windows of a row.
// expect: LDG.128
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    means(const T* __restrict__ x, T* __restrict__ y, INDEX planes, int height, int width,
          int window_rows, int64 divisor) {
  Slide rows = slide(height, window_rows, KERNEL, STRIDE, PADDING, 1);
  Slide columns = slide(width, width / STRIDE, KERNEL, STRIDE, PADDING, 1);
  int groups = width / WIDTH;
  INDEX count = planes * window_rows * groups;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    Spot at = spot_of(item, window_rows, groups, 1);
    Total sum[WINDOWS] = {};
    auto add = [&](int k, bool inside, T pixel, int, int) {
      sum[k] += inside ? Total(pixel) : Total(0);
    };
    each_element_of_row(x + at.image * height * width, height, width, at.row, at.column, add);
    Pack<T, WINDOWS> mean;
#pragma unroll
    for (int k = 0; k < WINDOWS; k++) {
      mean.at[k] = T(sum[k] * share_of(rows, columns, at.row, at.column * WINDOWS + k, divisor));
    }
    store_pack<WINDOWS>(y + item * WINDOWS, mean);
  }
}

// gx = for each pixel the sum of g over the windows on it, each divided by what its mean was. A
// thread has WIDTH pixels of a row.
// expect: STG.128
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    means_gradient(const T* __restrict__ g, T* __restrict__ gx, INDEX planes, int height, int width,
                   int window_rows, int64 divisor) {
  Slide rows = slide(height, window_rows, KERNEL, STRIDE, PADDING, 1);
  Slide columns = slide(width, width / STRIDE, KERNEL, STRIDE, PADDING, 1);
  int groups = width / WIDTH;
  INDEX count = planes * height * groups;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    Spot at = spot_of(item, height, groups, 1);
    const T* windows = g + at.image * window_rows * columns.windows;
    Total sum[WIDTH] = {};
    auto add = [&](bool lies, int row, int column, int window, int) {
      Total number = 0;
      if (lies) {
        number = Total(windows[static_cast<INDEX>(row) * columns.windows + column]) *
                 share_of(rows, columns, row, column, divisor);
      }
#pragma unroll
      for (int k = 0; k < WIDTH; k++) {
        int j = column_on(k, window);
        if (0 <= j && j < KERNEL) sum[k] += number;  // known when this is compiled
      }
    };
    each_window_on_row(at.row, at.column, window_rows, columns.windows, add);
    Numbers sums;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) sums.at[k] = T(sum[k]);
    store_pack<WIDTH>(gx + item * WIDTH, sums);
  }
}
