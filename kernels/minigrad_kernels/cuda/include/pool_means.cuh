// What share of a sum over a window its mean is.
//
// Definitions: those of pool_windows.cuh and COUNTING, see mean_pool.cu.
#pragma once
#include "pool_windows.cuh"

// How many elements of a window count, along one dimension: never those that overhang the padding,
// as the last window may.
__device__ __forceinline__ int counted_along(const Slide& slide, int window) {
  int begin = slide.pixel(window, 0), end = begin + slide.kernel;
  if (COUNTING == 0) return min(end, slide.pixels + slide.padding) - begin;
  return min(end, slide.pixels) - max(begin, 0);
}

__device__ __forceinline__ Total share_of(const Slide& rows, const Slide& columns, int row,
                                          int column, int64 divisor) {
  if (COUNTING == 2) return 1 / static_cast<Total>(divisor);
  return 1 / (static_cast<Total>(counted_along(rows, row)) * counted_along(columns, column));
}
