// A convolution as a product of matrices: whose tile a block computes, and where its results go.
//
// Needs T, the type of the numbers, and Total, that of their sums.
#pragma once

#include "windows.cuh"

// The product: a row for each window, a column for each filter, for each group of channels.
struct Convolution {
  int images, groups;
  int per_group;  // channels of a group
  int each;       // filters of a group
  Axis down, across;

  __device__ __forceinline__ int channels() const { return groups * per_group; }
  __device__ __forceinline__ int filters() const { return groups * each; }
  __device__ __forceinline__ int windows() const {
    return images * down.windows * across.windows;
  }
  __device__ __forceinline__ int terms() const { return down.taps * across.taps * per_group; }
};

// Which tile, of which group, is this block's, and which part of the steps of its sums.
// Neighbouring blocks have the same rows, which they so find in the L2 cache, and other columns.
struct TileOfBlock {
  int row, column, group, part;  // the first row and column
  int first_step, last_step;

  __device__ __forceinline__ TileOfBlock(int rows, int columns, int groups, int steps, int parts,
                                         int tile_rows, int tile_columns) {
    int across = (columns + tile_columns - 1) / tile_columns;
    int down = (rows + tile_rows - 1) / tile_rows;
    int number = blockIdx.x / across;
    column = blockIdx.x % across * tile_columns;
    row = number % down * tile_rows;
    group = number / down % groups;
    part = number / down / groups;
    first_step = static_cast<int>(static_cast<int64>(steps) * part / parts);
    last_step = static_cast<int>(static_cast<int64>(steps) * (part + 1) / parts);
  }
};

// Where results go: to y, with the bias; or, if the sums have several parts, to those of this part.
struct Results {
  T* y;
  Total* parts;
  const T* bias;

  // Where a window's results begin, those of the group.
  __device__ __forceinline__ int64 row(const Convolution& c, const TileOfBlock& tile,
                                       int number) const {
    int64 pixel = static_cast<int64>(tile.part) * c.windows() + number;
    if (y) {
      Window window(number, c.down, c.across);
      pixel = static_cast<int64>(window.image * c.down.out_size + c.down.place(window.row)) *
                  c.across.out_size +
              c.across.place(window.column);
    }
    return pixel * c.filters() + tile.group * c.each;
  }

  // What sums of a filter begin with.
  __device__ __forceinline__ Total start(const Convolution& c, const TileOfBlock& tile,
                                         int filter) const {
    return bias && y && filter < c.each ? Total(bias[tile.group * c.each + filter]) : Total(0);
  }

  // Store the first `count` of SIZE neighbouring sums; as a pack, if that is `aligned`.
  template <int SIZE>
  __device__ __forceinline__ void store(int64 at, const Total* sums, int count,
                                        bool aligned) const {
    if (y) {
      store_some<SIZE>(y + at, sums, count, aligned);
    } else {
      store_some<SIZE>(parts + at, sums, count, aligned);
    }
  }

  template <int SIZE, class Value>
  static __device__ __forceinline__ void store_some(Value* to, const Total* sums, int count,
                                                    bool aligned) {
    if (aligned && count >= SIZE) {
      Pack<Value, SIZE> pack;
#pragma unroll
      for (int i = 0; i < SIZE; i++) pack.at[i] = Value(sums[i]);
      store_pack<SIZE>(to, pack);
    } else {
#pragma unroll
      for (int i = 0; i < SIZE; i++) {
        if (i < count) to[i] = Value(sums[i]);
      }
    }
  }
};

// The sum of terms [first, last) of a window times a filter, whose terms lie `stride` apart,
// without the taps outside of the image.
//
// In tiles, those are zeros times weights, as in an image with padding: NaN where a weight is
// infinite. A gradient has no padding, so a thread that got NaN computes its results again, with
// this.
__device__ Total sum_inside(const Convolution& c, const T* x, const T* filter, int64 stride,
                            int number, int first, int last) {
  Window window(number, c.down, c.across);
  Term term(first, c.per_group, c.across);
  Total sum = 0;
  for (int k = first; k < last; k++) {
    int y = c.down.start(window.row) + c.down.pace * term.tap_row;
    int z = c.across.start(window.column) + c.across.pace * term.tap_column;
    if (inside(y, c.down.size) && inside(z, c.across.size)) {
      int64 pixel = static_cast<int64>(window.image * c.down.size + y) * c.across.size + z;
      sum += Total(x[pixel * c.channels() + term.channel]) * Total(filter[k * stride]);
    }
    term.advance(1, c.per_group, c.across);
  }
  return sum;
}
