// Windows that slide over images, for pooling: their geometry, and the ways through it.
//
// Definitions, beside those of pool_images.cuh: KERNEL, STRIDE, PADDING of square windows that are
// known when this is compiled, so that loops over their elements are unrolled and their loads are
// all under way at once; KERNEL is 0 where windows are known only when the kernel is called.
#pragma once
#include "pool_images.cuh"

// How often the body of a loop over the elements of a window, or the windows on a pixel, stands in
// the code: for each of them, where they are known. (Left to itself, the compiler repeats the
// others, too, and has not enough registers.)
constexpr int OUTER_REPEATS = KERNEL ? KERNEL : 1;
constexpr int INNER_REPEATS = KERNEL ? KERNEL : 2;

// Windows along one dimension.
struct Slide {
  int pixels, windows;  // how many of them
  int kernel, stride, padding, dilation;

  // The pixel under an element of a window. It may lie beside the image.
  __device__ __forceinline__ int pixel(int window, int element) const {
    return window * stride - padding + element * dilation;
  }
  __device__ __forceinline__ bool on_image(int pixel) const {
    return static_cast<unsigned>(pixel) < static_cast<unsigned>(pixels);
  }

  // The windows that may lie on a pixel: the last of them, and how many.
  __device__ __forceinline__ int last_window(int pixel) const { return (pixel + padding) / stride; }
  __device__ __forceinline__ int most_windows() const {
    return dilation * (kernel - 1) / stride + 1;
  }
  // The element of a window that lies on a pixel, given a window that begins before it; -1 if none
  // does, or there is no such window.
  __device__ __forceinline__ int element(int window, int pixel) const {
    int distance = pixel + padding - window * stride, element = distance / dilation;
    bool lies = element < kernel && element * dilation == distance;
    return lies && 0 <= window && window < windows ? element : -1;
  }
};

__device__ __forceinline__ Slide slide(int pixels, int windows, int kernel, int stride, int padding,
                                       int dilation) {
  if (KERNEL) return {pixels, windows, KERNEL, STRIDE, PADDING, 1};
  return {pixels, windows, kernel, stride, padding, dilation};
}

// Visit the elements of a window (row, column) of an image, from the last to the first:
// visit(whether it lies on the image, its pack of channels, its row and column in the window).
template <class Visit>
__device__ __forceinline__ void each_element(const T* __restrict__ image, const Slide& rows,
                                             const Slide& columns, int row, int column,
                                             int channels, Visit visit) {
#pragma unroll OUTER_REPEATS
  for (int i = rows.kernel - 1; i >= 0; i--) {
    int y = rows.pixel(row, i);
#pragma unroll INNER_REPEATS
    for (int j = columns.kernel - 1; j >= 0; j--) {
      int x = columns.pixel(column, j);
      bool inside = rows.on_image(y) && columns.on_image(x);
      Numbers numbers = {};
      if (inside) {
        numbers = load_pack<WIDTH>(image + (static_cast<INDEX>(y) * columns.pixels + x) * channels);
      }
      visit(inside, numbers, i, j);
    }
  }
}

// Visit the windows that may lie on a pixel (row, column), from the last to the first:
// visit(whether one does, its row and column, row and column in it of the element on the pixel).
template <class Visit>
__device__ __forceinline__ void each_window(const Slide& rows, const Slide& columns, int row,
                                            int column, Visit visit) {
#pragma unroll OUTER_REPEATS
  for (int a = 0; a < rows.most_windows(); a++) {
    int y = rows.last_window(row) - a, i = rows.element(y, row);
#pragma unroll INNER_REPEATS
    for (int b = 0; b < columns.most_windows(); b++) {
      int x = columns.last_window(column) - b, j = columns.element(x, column);
      visit(i >= 0 && j >= 0, y, x, i, j);
    }
  }
}
