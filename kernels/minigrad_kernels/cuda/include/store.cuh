// Stores of several numbers that stay one instruction.
#pragma once
#include "minigrad.cuh"

// A word of so many bytes.
template <int BYTES>
struct Word;
template <>
struct Word<2> {
  using type = unsigned short;
};
template <>
struct Word<4> {
  using type = unsigned;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};

// store_pack, as one store whatever stands around it: where several packs with distances unknown to
// the compiler are stored after another, it leaves their numbers single. (__stcg is a store that it
// does not take apart; it goes to the L2 cache, as all stores do.)
template <int COUNT, class Value>
__device__ __forceinline__ void store_whole(Value* address, const Pack<Value, COUNT>& pack) {
  typename Word<sizeof(pack)>::type word;
  memcpy(&word, &pack, sizeof(pack));
  __stcg(reinterpret_cast<decltype(word)*>(address), word);
}
