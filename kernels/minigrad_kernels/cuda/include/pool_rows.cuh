// Windows on planes, several of a row at once, where they are known when this is compiled.
//
// Beside one another in a plane lie pixels, not channels. A thread has WIDTH pixels of a row, one
// load of 16 bytes, and the WINDOWS = WIDTH / STRIDE windows that begin there: for 2 x 2 windows in
// steps of 2, all their pixels; for 3 x 3 windows in steps of 2 with a padding of 1, all but the
// last one of the thread to the left.
//
//     pixels         0 | 1 2 3 4 | 5 ...      KERNEL 3, STRIDE 2, PADDING 1, WIDTH 4
//     windows          [ 0 ]                  (0 begins at the pixel left of the load)
//                         [ 1 ]
//
// It needs windows as long as their stride and their padding together (KERNEL == STRIDE + PADDING),
// and rows of whole loads with a window for every STRIDE pixels.
//
// Definitions: those of pool_windows.cuh.
#pragma once
#include "pool_windows.cuh"

constexpr int WINDOWS = WIDTH / STRIDE;
static_assert(KERNEL == STRIDE + PADDING && WIDTH % STRIDE == 0, "windows do not fit the loads");

// Visit the elements of a thread's windows, from the last to the first: visit(number of the window,
// whether the element lies on the image, its number, its row and column in the window).
template <class Visit>
__device__ __forceinline__ void each_element_of_row(const T* __restrict__ plane, int height,
                                                    int width, int window_row, int group,
                                                    Visit visit) {
#pragma unroll
  for (int i = KERNEL - 1; i >= 0; i--) {
    int y = window_row * STRIDE - PADDING + i;
    bool on_image = 0 <= y && y < height;
    const T* from = plane + static_cast<INDEX>(y) * width + group * WIDTH;
    T pixels[PADDING + WIDTH];
    Numbers loaded = {};
    if (on_image) loaded = load_pack<WIDTH>(from);
#pragma unroll
    for (int k = 0; k < PADDING; k++) {
      pixels[k] = T(0);
      if (on_image && group > 0) pixels[k] = from[k - PADDING];
    }
#pragma unroll
    for (int k = 0; k < WIDTH; k++) pixels[PADDING + k] = loaded.at[k];
#pragma unroll
    for (int window = 0; window < WINDOWS; window++) {
#pragma unroll
      for (int j = KERNEL - 1; j >= 0; j--) {
        int k = window * STRIDE + j;
        visit(window, on_image && (k >= PADDING || group > 0), pixels[k], i, j);
      }
    }
  }
}

// Visit the windows that may lie on a thread's pixels, from the last to the first: visit(whether
// one does, its row and column, its number: WINDOWS is the first of the thread to the right, row in
// it that lies on the pixels).
template <class Visit>
__device__ __forceinline__ void each_window_on_row(int row, int group, int window_rows,
                                                   int window_columns, Visit visit) {
#pragma unroll
  for (int a = 0; a <= (KERNEL - 1) / STRIDE; a++) {
    int y = (row + PADDING) / STRIDE - a, i = row + PADDING - y * STRIDE;
    bool lies = 0 <= y && y < window_rows && i < KERNEL;
#pragma unroll
    for (int window = (WIDTH - 1 + PADDING) / STRIDE; window >= 0; window--) {
      int x = group * WINDOWS + window;
      visit(lies && x < window_columns, y, x, window, i);
    }
  }
}

// The column in a window that lies on a thread's pixel k; it may be beside the window.
__device__ __forceinline__ constexpr int column_on(int k, int window) {
  return k + PADDING - window * STRIDE;
}
