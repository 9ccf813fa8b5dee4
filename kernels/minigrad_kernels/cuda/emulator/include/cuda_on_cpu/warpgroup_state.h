// The products of warpgroups that are under way: what warpgroup.h keeps of them.
#pragma once

namespace cuda_on_cpu {

constexpr unsigned WARPS_OF_GROUP = 4, WARPGROUP = WARPS_OF_GROUP * WARP, ROWS_OF_WARP = 16;
constexpr unsigned TERMS = 32;                 // bytes of each row in a product
constexpr unsigned CHUNKS_OF_A = ROWS_OF_WARP * TERMS / CHUNK;
constexpr unsigned MOST_COLUMNS = 256;         // of a product
constexpr unsigned MOST_PRODUCTS = 32;         // of a warp, that are under way
constexpr unsigned MOST_SUMS = 4;              // arrays of sums of a thread, likewise
constexpr unsigned MOST_AHEAD = 256;           // products that a warp may be ahead of the others
constexpr unsigned UNDER_WAY = 0xffffffffu;    // sums: a NaN

struct Product;
using Multiply = void (*)(const Product& product, unsigned lane, float* sums);

// What a lane asks for.
struct Request {
  const char* operation;
  unsigned long long a, b;  // descriptors
  bool a_across, b_across;
  unsigned columns;
  float* sums;
  Multiply multiply;
  Place place;
};

// A product under way: the part of one warp.
struct Product {
  Operand a, b;
  unsigned columns, group, sums;
  Multiply multiply;
  Place place;
  Chunk chunks[CHUNKS_OF_A + 2 * MOST_COLUMNS];  // what it has read

  CUDA_ON_CPU_UNWATCHED unsigned count() const { return CHUNKS_OF_A + 2 * columns; }
};

// Sums of a warp that products add to: their numbers are here, and NaN in the lanes' registers.
struct Sums {
  float* registers[WARP];
  float value[WARP][MOST_COLUMNS / 2];
  unsigned count;     // of a lane
  unsigned products;  // that add to them and have not ended
  bool delivered;     // or just now, by each lane to itself
};

struct WarpProducts {
  Product product[MOST_PRODUCTS];  // a ring: from `first`, `count` of them
  unsigned first, count;
  unsigned ended;  // the oldest of them, which lanes may still be adding up
  unsigned group;  // how many groups were committed
  unsigned begun;  // products in all
  bool fenced;     // since sums were last in registers
  Sums sums[MOST_SUMS];
};

// What the warps of a group begin, in its order: all must begin the same.
struct Begun {
  unsigned long long a, b;
  Place place;
};
struct GroupProducts {
  Begun begun[MOST_AHEAD];
  unsigned count;
};

struct Products {
  WarpProducts warp[MOST_THREADS / WARP];
  GroupProducts group[MOST_THREADS / WARP / WARPS_OF_GROUP];
  Chunk fenced[MOST_SHARED / CHUNK];  // shared memory at the last fence.proxy.async
};

inline Products* products;  // made on first use, for it is large

CUDA_ON_CPU_UNWATCHED inline unsigned warp_of(const Thread* thread) {
  return thread->number / WARP;
}

CUDA_ON_CPU_UNWATCHED inline void forget_fences() {
  for (Chunk& chunk : products->fenced) chunk.low = chunk.high = ~0ull;
}

CUDA_ON_CPU_UNWATCHED inline Products& have_products() {
  if (!products) {
    products = static_cast<Products*>(calloc(1, sizeof(Products)));
    if (!products) abort();
    forget_fences();
  }
  block.has_products = true;
  return *products;
}

}  // namespace cuda_on_cpu
