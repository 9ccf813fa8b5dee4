// Max-pooling: the maximum of each window of an image and where it is, and the gradient.
//
// Memory bounds all of this: an element is compared in far less time than it takes to arrive. So
// what counts is that it arrives once, in wide loads, and that many are under way: a thread asks
// for a whole window, if that is known when this is compiled, before it compares.
//
// Definitions: those of pool_windows.cuh, and PLACE, the type that says where a maximum is:
// `long long` for its index in the image, a smaller one for its position, the number of its element
// in the window.
//
// expect: LDG.128 STG.128 if WIDTH > 1
// expect: registers <= 64
#include "pool_windows.cuh"

constexpr bool INDICES = sizeof(PLACE) == sizeof(int64);

__device__ __forceinline__ int place_of(const Slide& rows, const Slide& columns, int row,
                                        int column, int i, int j) {
  if (INDICES) return rows.pixel(row, i) * columns.pixels + columns.pixel(column, j);
  return i * columns.kernel + j;
}

// y = the maximum of each window of x, places = where it is. A thread has WIDTH channels of a
// window.
//
// Going backwards, the last one to be as large as all so far is the first of the equal ones; so is
// NaN, which no number removes. A window on nothing but padding has its last element.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    maxima(const T* __restrict__ x, T* __restrict__ y, PLACE* __restrict__ places, INDEX images,
           int channels, int height, int width, int window_rows, int window_columns,
           int kernel_rows, int kernel_columns, int stride_rows, int stride_columns,
           int padding_rows, int padding_columns, int dilation_rows, int dilation_columns) {
  Slide rows = slide(height, window_rows, kernel_rows, stride_rows, padding_rows, dilation_rows);
  Slide columns = slide(width, window_columns, kernel_columns, stride_columns, padding_columns,
                        dilation_columns);
  int packs = channels / WIDTH;
  INDEX count = images * window_rows * window_columns * packs;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    Spot at = spot_of(item, window_rows, window_columns, packs);
    const T* image = x + at.image * height * width * channels + at.pack * WIDTH;
    Total best[WIDTH];
    int where[WIDTH];
#pragma unroll
    for (int k = 0; k < WIDTH; k++) {
      best[k] = -infinity<Total>();
      where[k] = place_of(rows, columns, at.row, at.column, rows.kernel - 1, columns.kernel - 1);
    }
    auto compare = [&](bool inside, const Numbers& numbers, int i, int j) {
      int place = place_of(rows, columns, at.row, at.column, i, j);
#pragma unroll
      for (int k = 0; k < WIDTH; k++) {
        Total number = Total(numbers.at[k]);
        bool takes = inside && (number >= best[k] || number != number);
        best[k] = takes ? number : best[k];
        where[k] = takes ? place : where[k];
      }
    };
    each_element(image, rows, columns, at.row, at.column, channels, compare);
    Numbers maximum;
    Pack<PLACE, WIDTH> place;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) {
      maximum.at[k] = T(best[k]);
      place.at[k] = static_cast<PLACE>(where[k]);
    }
    store_pack<WIDTH>(y + item * WIDTH, maximum);
    store_wide(places + item * WIDTH, place);
  }
}

// gx = each of g where its maximum was, given positions. A thread has WIDTH channels of a pixel and
// asks the windows that lie on it, so that each sum has one writer, and one order.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    maxima_gradient(const T* __restrict__ g, const PLACE* __restrict__ places, T* __restrict__ gx,
                    INDEX images, int channels, int height, int width, int window_rows,
                    int window_columns, int kernel_rows, int kernel_columns, int stride_rows,
                    int stride_columns, int padding_rows, int padding_columns, int dilation_rows,
                    int dilation_columns) {
  Slide rows = slide(height, window_rows, kernel_rows, stride_rows, padding_rows, dilation_rows);
  Slide columns = slide(width, window_columns, kernel_columns, stride_columns, padding_columns,
                        dilation_columns);
  int packs = channels / WIDTH;
  INDEX count = images * height * width * packs;
  for (INDEX item = first_item(); item < count; item += items_of_grid()) {
    Spot at = spot_of(item, height, width, packs);
    INDEX first = at.image * window_rows * window_columns * channels + at.pack * WIDTH;
    Total sum[WIDTH] = {};
    auto add = [&](bool lies, int row, int column, int i, int j) {
      INDEX window = first + (static_cast<INDEX>(row) * window_columns + column) * channels;
      Numbers numbers = {};
      Pack<PLACE, WIDTH> place = {};
      if (lies) {
        numbers = load_pack<WIDTH>(g + window);
        place = load_wide<WIDTH>(places + window);
      }
#pragma unroll
      for (int k = 0; k < WIDTH; k++) {
        bool here = lies && place.at[k] == static_cast<PLACE>(i * columns.kernel + j);
        sum[k] += here ? Total(numbers.at[k]) : Total(0);
      }
    };
    each_window(rows, columns, at.row, at.column, add);
    Numbers sums;
#pragma unroll
    for (int k = 0; k < WIDTH; k++) sums.at[k] = T(sum[k]);
    store_pack<WIDTH>(gx + item * WIDTH, sums);
  }
}
