// Random numbers from a counter: Philox-4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC11). The words are those of `minigrad_kernels.random`: block b of
// a stream has the words 4b to 4b + 3.
#pragma once

#include "minigrad.cuh"

using Words = Pack<unsigned, 4>;

// Block `index` of the seed's stream: ten rounds of multiplying and mixing. Two products of 32 bits
// a round are most of the work, and a GPU has the instructions for both of their halves.
__device__ __forceinline__ Words philox(uint64 seed, uint64 index) {
  unsigned a = static_cast<unsigned>(index), b = static_cast<unsigned>(index >> 32), c = 0, d = 0;
  unsigned key = static_cast<unsigned>(seed), other_key = static_cast<unsigned>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned FACTOR = 0xD2511F53u, OTHER_FACTOR = 0xCD9E8D57u;
    unsigned low = FACTOR * a, high = __umulhi(FACTOR, a);
    unsigned other_low = OTHER_FACTOR * c, other_high = __umulhi(OTHER_FACTOR, c);
    a = other_high ^ b ^ key;
    b = other_low;
    c = high ^ d ^ other_key;
    d = low;
    key += 0x9E3779B9u;        // the golden ratio
    other_key += 0xBB67AE85u;  // the square root of 3, less 1
  }
  return {a, b, c, d};
}
