// What all matrix products share: which part of which product a block computes, and how a sum
// becomes a number of the result.
//
// A product is C = A B, with A of rows x depth and B of depth x columns numbers. A grid computes a
// batch of them in tiles, a tile to a block. Where there are fewer tiles than a GPU has
// multiprocessors, the sums are split, too: each of several blocks adds up a part of the depth, and
// another kernel (matmul_passes.cu) adds the parts in a fixed order.
#pragma once

#include "minigrad.cuh"

// The shape of a batch of products, the same for all blocks.
struct Shape {
  int rows, columns, depth;
  int inner;   // matrices in the inner one of the two dimensions of the batch
  int splits;  // parts that each sum is split into
  int part;    // terms of the sum in a part, a multiple of what a tile takes at once
};

// The part of the work that a block does.
struct Work {
  int64 batch;        // which product
  int outer, inner;   // the same, in two dimensions
  int split;          // which part of the sums
  int row, column;    // where its tile of C begins
  int first, last;    // its terms of the sums: from first, up to last
};

// The blocks of a GPU run in about the order of their numbers, some hundred at once. Tiles are
// therefore numbered by groups of rows of tiles, within a group by columns: the blocks that run at
// once form a square rather than a stripe, which needs fewer rows of A and columns of B, and finds
// them in the L2 cache.
constexpr int GROUP = 8;

template <class Tile>
__device__ __forceinline__ Work work_of_block(const Shape& shape) {
  int down = (shape.rows + Tile::ROWS - 1) / Tile::ROWS;
  int across = (shape.columns + Tile::COLUMNS - 1) / Tile::COLUMNS;
  int64 tiles = static_cast<int64>(down) * across;
  int64 place = blockIdx.x / tiles;
  int64 tile = blockIdx.x % tiles;
  int64 group = tile / (static_cast<int64>(GROUP) * across);
  int within = static_cast<int>(tile - group * GROUP * across);
  int top = static_cast<int>(group) * GROUP;
  int height = down - top < GROUP ? down - top : GROUP;
  Work work;
  work.split = static_cast<int>(place % shape.splits);
  work.batch = place / shape.splits;
  work.outer = static_cast<int>(work.batch / shape.inner);
  work.inner = static_cast<int>(work.batch % shape.inner);
  work.row = (top + within % height) * Tile::ROWS;
  work.column = within / height * Tile::COLUMNS;
  work.first = work.split * shape.part;
  work.last = shape.depth - work.first < shape.part ? shape.depth : work.first + shape.part;
  return work;
}

// Where results go: numbers of the result, or parts of sums. Both are row after row, without gaps.
template <class Number>
struct Results {
  Number* c;
  const Number* bias;      // one for each column, or null
  bool relu;               // whether negative numbers become 0
  sum_of<Number>* parts;   // where sums are split: [split][batch][row][column]; else null
  bool wide;               // whether several columns can be stored at once: they are aligned

  // Numbers of `parts` from one split to the next, and where the tile's product begins in either.
  __device__ __forceinline__ int64 place(const Work& work, const Shape& shape, int64 batches) const {
    int64 product = parts ? work.split * batches + work.batch : work.batch;
    return product * shape.rows * shape.columns;
  }

  __device__ __forceinline__ Number finished(sum_of<Number> sum, int column) const {
    if (bias) sum += sum_of<Number>(bias[column]);
    return relu && sum <= 0 ? Number(0) : Number(sum);  // NaN stays NaN
  }

  // Store COUNT neighbours of a row, from `column`; `at` is where they belong. COUNT divides the
  // number of columns, if `wide`: then all of them are within the row.
  template <int COUNT>
  __device__ __forceinline__ void store(int64 at, int column, int columns,
                                        const sum_of<Number> (&sums)[COUNT]) const {
    if (column >= columns) return;
    if (wide) {
      store_wide<COUNT>(at, column, sums);
      return;
    }
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
      if (column + j >= columns) return;
      if (parts) {
        parts[at + j] = sums[j];
      } else {
        c[at + j] = finished(sums[j], column + j);
      }
    }
  }

  template <int COUNT>
  __device__ __forceinline__ void store_wide(int64 at, int column,
                                             const sum_of<Number> (&sums)[COUNT]) const {
    if (parts) {
      Pack<sum_of<Number>, COUNT> pack;
#pragma unroll
      for (int j = 0; j < COUNT; j++) pack.at[j] = sums[j];
      store_pack<COUNT>(parts + at, pack);
    } else {
      Pack<Number, COUNT> pack;
#pragma unroll
      for (int j = 0; j < COUNT; j++) pack.at[j] = finished(sums[j], column + j);
      store_pack<COUNT>(c + at, pack);
    }
  }
};
