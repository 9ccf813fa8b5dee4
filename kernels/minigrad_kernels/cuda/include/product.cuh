// What all matrix products share: which part of which product a block computes, and how a sum
// becomes a number of the result.
//
// A product is C = A B, with A of rows x depth and B of depth x columns numbers. A grid computes a
// batch of them in tiles, a tile to a block. Where there are fewer tiles than a GPU has
// multiprocessors, the sums are split, too: each of several blocks adds up a part of the depth. The
// results are then as many matrices, which another kernel (matmul_passes.cu) adds in their order.
#pragma once

#include "minigrad.cuh"

// The shape of a batch of products, the same for all blocks.
struct Shape {
  int rows, columns, depth;
  unsigned batches;  // products
  unsigned inner;    // of them, in the inner one of the two dimensions of the batch
  int part;          // terms of a sum that a block adds up, a multiple of a tile's depth
};

// The part of the work that a block does.
struct Work {
  int64 result;      // which matrix of the results: for each part of the sums, one of each product
  int outer, inner;  // which product, in two dimensions
  int row, column;   // where its tile of C begins
  int first, last;   // its terms of the sums: from first, up to last
};

// The blocks of a GPU run in about the order of their numbers, some hundred at once. Tiles are
// therefore numbered by groups of rows of tiles, within a group by columns: the blocks that run at
// once form a square rather than a stripe, which needs fewer rows of A and columns of B, and finds
// them in the L2 cache.
constexpr unsigned GROUP = 8;

template <class Tile>
__device__ __forceinline__ Work work_of_block(const Shape& shape) {
  // All numbers of blocks fit into 32 bits, which are divided quickly.
  unsigned down = (shape.rows + Tile::ROWS - 1u) / Tile::ROWS;
  unsigned across = (shape.columns + Tile::COLUMNS - 1u) / Tile::COLUMNS;
  unsigned tile = blockIdx.x % (down * across), place = blockIdx.x / (down * across);
  unsigned top = tile / (GROUP * across) * GROUP, within = tile % (GROUP * across);
  unsigned height = down - top < GROUP ? down - top : GROUP;
  unsigned product = place % shape.batches;
  Work work;
  work.result = place;
  work.outer = product / shape.inner;
  work.inner = product % shape.inner;
  work.row = (top + within % height) * Tile::ROWS;
  work.column = within / height * Tile::COLUMNS;
  work.first = place / shape.batches * shape.part;
  work.last = shape.depth - work.first < shape.part ? shape.depth : work.first + shape.part;
  return work;
}

// What becomes of the sums: matrices of results, row after row, one behind the other.
template <class Number>
struct Results {
  using Sum = sum_of<Number>;
  Number* c;           // the matrix that the tile belongs to
  const Number* bias;  // one for each column, or null
  Sum least;           // what is less becomes this: 0 for a ReLU, or minus infinity
  bool wide;           // whether several columns can be stored at once: they are aligned
  int rows, columns;   // of the matrix

  // What is added to sums of COUNT columns: their biases, or zeros.
  template <int COUNT>
  __device__ __forceinline__ void load_bias(int column, Sum (&added)[COUNT]) const {
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
      added[j] = bias && column + j < columns ? Sum(bias[column + j]) : Sum(0);
    }
  }

  // Store the sums of COUNT neighbours of a row, from `column`. If `wide`, COUNT divides the number
  // of columns, so all of them are within the row.
  template <int COUNT>
  __device__ __forceinline__ void store(int row, int column, const Sum (&sums)[COUNT],
                                        const Sum (&added)[COUNT]) const {
    if (row >= rows || column >= columns) return;
    Number* to = c + row * static_cast<int64>(columns) + column;
    Pack<Number, COUNT> pack;
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
      Sum sum = sums[j] + added[j];
      pack.at[j] = Number(sum < least ? least : sum);  // NaN stays NaN
    }
    if (wide) {
      store_pack<COUNT>(to, pack);
      return;
    }
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
      if (column + j < columns) to[j] = pack.at[j];
    }
  }
};

template <class Number>
__device__ __forceinline__ Results<Number> results_of(const Work& work, const Shape& shape,
                                                      Number* c, const Number* bias, bool relu,
                                                      bool wide) {
  using Sum = sum_of<Number>;
  c += work.result * shape.rows * shape.columns;
  Sum least = relu ? Sum(0) : -infinity<Sum>();
  return {c, bias, least, wide, shape.rows, shape.columns};
}
