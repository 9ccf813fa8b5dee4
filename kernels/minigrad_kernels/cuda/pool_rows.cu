// Max-pooling on planes whose rows are whole loads, and whose windows are known when this is
// compiled; pool.cu has all other cases, and says what is computed.
//
// Definitions: those of pool_windows.cuh and PLACE, as in pool.cu.
//
// expect: registers <= 64
#include "pool_rows.cuh"

constexpr bool INDICES = sizeof(PLACE) == sizeof(int64);

// y = the maximum of each window of x, places = where it is. A thread has WINDOWS windows of a row.
// expect: LDG.128
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    maxima(const T* __restrict__ x, T* __restrict__ y, PLACE* __restrict__ places, INDEX planes,
           int height, int width, int window_rows) {
  int groups = width / WIDTH;
  INDEX count = planes * window_rows * groups;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    Spot at = spot_of(item, window_rows, groups, 1);
    const T* plane = x + at.image * height * width;
    int corner = (at.row * STRIDE - PADDING) * width + at.column * WIDTH - PADDING;
    Total best[WINDOWS];
    int where[WINDOWS];
#pragma unroll
    for (int k = 0; k < WINDOWS; k++) {  // no window lies on nothing but padding
      best[k] = -infinity<Total>();
      where[k] = 0;
    }
    auto compare = [&](int k, bool inside, T pixel, int i, int j) {
      int place = INDICES ? corner + i * width + k * STRIDE + j : i * KERNEL + j;
      Total number = Total(pixel);
      bool takes = inside && (number >= best[k] || number != number);
      best[k] = takes ? number : best[k];
      where[k] = takes ? place : where[k];
    };
    each_element_of_row(plane, height, width, at.row, at.column, compare);
    Pack<T, WINDOWS> maximum;
    Pack<PLACE, WINDOWS> place;
#pragma unroll
    for (int k = 0; k < WINDOWS; k++) {
      maximum.at[k] = T(best[k]);
      place.at[k] = static_cast<PLACE>(where[k]);
    }
    store_pack<WINDOWS>(y + item * WINDOWS, maximum);
    store_wide(places + item * WINDOWS, place);
  }
}

// gx = each of g where its maximum was, given positions. A thread has WIDTH pixels of a row.
// expect: STG.128
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    maxima_gradient(const T* __restrict__ g, const PLACE* __restrict__ places, T* __restrict__ gx,
                    INDEX planes, int height, int width, int window_rows) {
  int groups = width / WIDTH, window_columns = width / STRIDE;
  INDEX count = planes * height * groups;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    Spot at = spot_of(item, height, groups, 1);
    INDEX first = at.image * window_rows * window_columns;
    Total sum[WIDTH] = {};
    auto add = [&](bool lies, int row, int column, int window, int i) {
      INDEX from = first + static_cast<INDEX>(row) * window_columns + column;
      Total number = lies ? Total(g[from]) : Total(0);
      int place = lies ? static_cast<int>(places[from]) : -1;
#pragma unroll
      for (int k = 0; k < WIDTH; k++) {
        int j = column_on(k, window);
        if (j < 0 || j >= KERNEL) continue;  // known when this is compiled
        sum[k] += place == i * KERNEL + j ? number : Total(0);
      }
    };
    each_window_on_row(at.row, at.column, window_rows, window_columns, add);
    Numbers sums;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) sums.at[k] = T(sum[k]);
    store_pack<WIDTH>(gx + item * WIDTH, sums);
  }
}
