// Dropout: what it keeps follows from a seed, so that it reads and writes each number once and
// nothing else.
//
// Definitions: T, the type of the numbers; REAL, the type to compute in.
//
// expect: LDG.128 STG.128 if T != half
// expect: LDG.64 STG.64 if T == half
// expect: registers <= 32
#include "elementwise.cuh"
#include "half.cuh"
#include "philox.cuh"

// What a load takes of the four numbers that a block of words decides on.
constexpr int WIDTH = sizeof(T) == 8 ? 2 : 4;

__device__ __forceinline__ T dropped(T x, unsigned word, unsigned threshold, REAL scale) {
  return word >= threshold ? T(REAL(x) * scale) : T(0);
}

// y = scale x where a number's word is at least the threshold, else 0. A thread does the four
// numbers of a block of words, then those farther on by the threads of the grid. It loads them
// before it computes the words, which takes about as long as the load. y may be x.
extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
    dropout(const T* x, T* y, uint64 seed, uint64 first, unsigned threshold, REAL scale,
            int64 size, int64 whole) {
  for (int64 block = thread_in_grid(); block * 4 < size; block += threads_in_grid()) {
    const T* from = x + block * 4;
    T* to = y + block * 4;
    if (block < whole) {
      Pack<T, WIDTH> packs[4 / WIDTH];
#pragma unroll
      for (int k = 0; k < 4 / WIDTH; k++) packs[k] = load_pack<WIDTH>(from + k * WIDTH);
      Words words = philox(seed, first + block);
#pragma unroll
      for (int j = 0; j < 4; j++) {
        T& number = packs[j / WIDTH].at[j % WIDTH];
        number = dropped(number, words.at[j], threshold, scale);
      }
#pragma unroll
      for (int k = 0; k < 4 / WIDTH; k++) store_pack<WIDTH>(to + k * WIDTH, packs[k]);
    } else {
      Words words = philox(seed, first + block);
#pragma unroll
      for (int j = 0; j < 4; j++) {
        if (block * 4 + j < size) to[j] = dropped(from[j], words.at[j], threshold, scale);
      }
    }
  }
}
