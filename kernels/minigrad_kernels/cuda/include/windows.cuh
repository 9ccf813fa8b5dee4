// Windows that slide over images: which pixel lies under which of their elements.
//
// Along one axis, tap t of window i lies on pixel up * i + shift + pace * t. In a convolution, `up`
// is its stride, `pace` its dilation, and the padding is -shift. The gradient of its input is a
// convolution, too: with a stride s, pixels of one remainder modulo s get theirs from the same
// taps, and these from output pixels side by side, backwards: `pace` is negative then.
#pragma once

struct Axis {
  int size;     // pixels of the images
  int windows;  // that are computed; window i has place first + step * i in the result
  int up, shift, pace, taps;
  int out_size, first, step;

  __device__ __forceinline__ int start(int window) const { return up * window + shift; }
  __device__ __forceinline__ int place(int window) const { return first + step * window; }
};

__device__ __forceinline__ bool inside(int pixel, int size) {
  return static_cast<unsigned>(pixel) < static_cast<unsigned>(size);
}

// Window number `number` of all, row by row.
struct Window {
  int image, row, column;

  __device__ __forceinline__ Window(int number, const Axis& down, const Axis& across) {
    column = number % across.windows;
    row = number / across.windows % down.windows;
    image = number / across.windows / down.windows;
  }

  // Go on by `count` windows; quicker than to divide again.
  __device__ __forceinline__ void advance(int count, const Axis& down, const Axis& across) {
    column += count;
    while (column >= across.windows) {
      column -= across.windows;
      if (++row == down.windows) {
        row = 0;
        image++;
      }
    }
  }
};

// Number `term` of a window's numbers: tap by tap, in each all channels.
struct Term {
  int tap_row, tap_column, channel;

  __device__ __forceinline__ Term(int term, int channels, const Axis& across) {
    channel = term % channels;
    int taps = max(across.taps, 1);  // without taps there are no terms either
    tap_column = term / channels % taps;
    tap_row = term / channels / taps;
  }

  __device__ __forceinline__ void advance(int count, int channels, const Axis& across) {
    channel += count;
    while (channel >= channels) {
      channel -= channels;
      if (++tap_column == across.taps) {
        tap_column = 0;
        tap_row++;
      }
    }
  }
};
