// A ladder: softmax of the rows of a matrix, y = exp(x - top) / sum(exp(x - top)), in seven steps,
// each of which takes away what held up the one before. softmax.cu is what one would use.
//
// There is little to compute, so time is what memory takes: at best each number is read once and
// written once. Two things decide: how often a number is read, and how many bytes are on their way
// at any moment, for each of them takes hundreds of cycles.
//
//   rung              reads of x   what is new
//   1 thread per row  3            a thread computes a row, as one would write it for a CPU
//   2 block per row   3            neighbours read neighbours: a warp's loads become few
//   3 shared memory   1            the row is kept near; a tree of threads sums it
//   4 warp shuffles   1            warps sum in registers: two barriers, not one for each level
//   5 registers       1            the row in registers; loads of 16 bytes, several under way
//   6 online          1 and cache  the top and the sum in one pass, for rows of any length
//   7 async copies    1            the next row is on its way while this one is computed
//
// Definitions: T, float or double; WIDTH, how many numbers a load of the rungs from 4 on has;
// PACKS, how many loads of a row a thread of rung 5 has.
//
// expect: registers <= 96
#include "minigrad.cuh"
#include "mma.cuh"
#include "store.cuh"

using Numbers = Pack<T, WIDTH>;
constexpr int BLOCK = 256;

// Rung 1. A thread has a row. Neighbouring threads read numbers that lie a row apart, so each of
// the 32 loads of a warp fetches 32 bytes from another place, of which it uses 4. The caches save
// some of it, and a matrix of few rows has work for few threads.
extern "C" __global__ void __launch_bounds__(BLOCK)
    thread_per_row(const T* x, T* y, int64 length, int64 rows) {
  int64 row = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  x += row * length;
  y += row * length;
  T top = -infinity<T>(), sum = 0;
  for (int64 i = 0; i < length; i++) top = larger(top, x[i]);
  for (int64 i = 0; i < length; i++) sum += exponential(x[i] - top);
  for (int64 i = 0; i < length; i++) y[i] = exponential(x[i] - top) / sum;
}

// Rung 2. A block has a row, and each thread every 256th number of it: what the 32 lanes of a warp
// load lies side by side, in four pieces of 32 bytes that are used whole. Each thread leaves what
// it found in shared memory, where thread 0 puts it together while 255 others wait.
extern "C" __global__ void __launch_bounds__(BLOCK)
    block_per_row(const T* x, T* y, int64 length, int64 rows) {
  __shared__ T found[BLOCK];
  x += blockIdx.x * length;
  y += blockIdx.x * length;

  T top = -infinity<T>();
  for (int64 i = threadIdx.x; i < length; i += BLOCK) top = larger(top, x[i]);
  found[threadIdx.x] = top;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int k = 1; k < BLOCK; k++) found[0] = larger(found[0], found[k]);
  }
  __syncthreads();
  top = found[0];
  __syncthreads();  // all have read it before it is overwritten

  T sum = 0;
  for (int64 i = threadIdx.x; i < length; i += BLOCK) sum += exponential(x[i] - top);
  found[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int k = 1; k < BLOCK; k++) found[0] += found[k];
  }
  __syncthreads();
  T share = 1 / found[0];
  for (int64 i = threadIdx.x; i < length; i += BLOCK) y[i] = exponential(x[i] - top) * share;
}

// A tree in shared memory: the first half of the threads add what the second half has, and so on,
// eight levels with a barrier each. Neighbours use neighbouring banks at every level.
template <class Operation>
__device__ __forceinline__ T tree_reduce(T* found, T value) {
  __syncthreads();  // what was found before may still be read
  found[threadIdx.x] = value;
  for (int half = BLOCK / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      found[threadIdx.x] = Operation::combine(found[threadIdx.x], found[threadIdx.x + half]);
    }
  }
  __syncthreads();
  return found[0];
}

// Rung 3. A block has a row and keeps it in shared memory, first as it is, then as exponentials: x
// is read once, and each exponential computed once. Each thread comes back only to numbers that it
// wrote itself, so these need no barrier.
extern "C" __global__ void __launch_bounds__(BLOCK)
    shared_memory(const T* x, T* y, int64 length, int64 rows) {
  __shared__ T found[BLOCK];
  DYNAMIC_SHARED(T, row);
  x += blockIdx.x * length;
  y += blockIdx.x * length;
  T top = -infinity<T>(), sum = 0;
  for (int64 i = threadIdx.x; i < length; i += BLOCK) {
    row[i] = x[i];
    top = larger(top, row[i]);
  }
  top = tree_reduce<Maximum<T>>(found, top);
  for (int64 i = threadIdx.x; i < length; i += BLOCK) {
    row[i] = exponential(row[i] - top);
    sum += row[i];
  }
  T share = 1 / tree_reduce<Sum<T>>(found, sum);
  for (int64 i = threadIdx.x; i < length; i += BLOCK) y[i] = row[i] * share;
}

// Rung 4. As rung 3, but the lanes of a warp exchange registers: five shuffles, without barrier or
// shared memory, then one step between the eight warps (block_max and block_sum, in minigrad.cuh).
// And a thread takes WIDTH neighbouring numbers, 16 bytes, with one load: fewer instructions for as
// many bytes on their way.
extern "C" __global__ void __launch_bounds__(BLOCK)
    warp_shuffles(const T* x, T* y, int64 length, int64 rows) {
  DYNAMIC_SHARED(T, row);
  x += blockIdx.x * length;
  y += blockIdx.x * length;
  T top = -infinity<T>(), sum = 0;
  for (int64 i = threadIdx.x * WIDTH; i < length; i += BLOCK * WIDTH) {
    Numbers pack = load_pack<WIDTH>(x + i);
    store_pack<WIDTH>(row + i, pack);
    for (int j = 0; j < WIDTH; j++) top = larger(top, pack.at[j]);
  }
  top = block_max(top);
  for (int64 i = threadIdx.x * WIDTH; i < length; i += BLOCK * WIDTH) {
    Numbers pack = load_pack<WIDTH>(row + i);
    for (int j = 0; j < WIDTH; j++) sum += pack.at[j] = exponential(pack.at[j] - top);
    store_pack<WIDTH>(row + i, pack);
  }
  T share = 1 / block_sum(sum);
  for (int64 i = threadIdx.x * WIDTH; i < length; i += BLOCK * WIDTH) {
    Numbers pack = load_pack<WIDTH>(row + i);
    for (int j = 0; j < WIDTH; j++) pack.at[j] *= share;
    store_whole<WIDTH>(y + i, pack);
  }
}

// Rung 5. A block has a row, and each thread its numbers of it in registers, the nearest memory of
// all. How many there are is known when this is compiled: registers have no addresses, so every
// index must be a constant once the loops are unrolled. All loads are on their way before the first
// number is used.
//
// expect: LDG.128 STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(BLOCK)
    registers(const T* x, T* y, int64 length, int64 rows) {
  x += blockIdx.x * length;
  y += blockIdx.x * length;
  Numbers packs[PACKS];
  T top = -infinity<T>(), sum = 0;
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    int64 i = (k * BLOCK + threadIdx.x) * WIDTH;
    if (i < length) packs[k] = load_pack<WIDTH>(x + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
      if (i >= length) packs[k].at[j] = -infinity<T>();  // its exponential is 0
    }
  }
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
#pragma unroll
    for (int j = 0; j < WIDTH; j++) top = larger(top, packs[k].at[j]);
  }
  top = block_max(top);
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
#pragma unroll
    for (int j = 0; j < WIDTH; j++) sum += packs[k].at[j] = exponential(packs[k].at[j] - top);
  }
  T share = 1 / block_sum(sum);
#pragma unroll
  for (int k = 0; k < PACKS; k++) {
    int64 i = (k * BLOCK + threadIdx.x) * WIDTH;
#pragma unroll
    for (int j = 0; j < WIDTH; j++) packs[k].at[j] *= share;
    if (i < length) store_whole<WIDTH>(y + i, packs[k]);
  }
}

// The largest of some numbers, and the sum of exp(x - top). Two of them make one: the sum with the
// smaller top shrinks to the larger one (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018). So both need one pass and one reduction.
struct TopAndSum {
  T top, sum;
  static __device__ __forceinline__ TopAndSum neutral() { return {lowest<T>(), 0}; }
  static __device__ __forceinline__ TopAndSum combine(TopAndSum a, TopAndSum b) {
    TopAndSum high = a.top < b.top ? b : a, low = a.top < b.top ? a : b;
    return {high.top, high.sum + low.sum * exponential(low.top - high.top)};
  }
  __device__ __forceinline__ void absorb(const Numbers& pack) {
    T before = top;
#pragma unroll
    for (int j = 0; j < WIDTH; j++) top = larger(top, pack.at[j]);
    sum *= exponential(before - top);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) sum += exponential(pack.at[j] - top);
  }
};
__device__ __forceinline__ TopAndSum from_lane_xor(TopAndSum value, int bits) {
  return {from_lane_xor(value.top, bits), from_lane_xor(value.sum, bits)};
}

// Rung 6. A block has a row of any length, which it keeps nowhere: one pass for the top and the
// sum, and when the row is read again, for the result, most of it still lies in a cache.
//
// expect: LDG.128 STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(BLOCK)
    online(const T* x, T* y, int64 length, int64 rows) {
  x += blockIdx.x * length;
  y += blockIdx.x * length;
  TopAndSum own = TopAndSum::neutral();
  for (int64 i = threadIdx.x * WIDTH; i < length; i += BLOCK * WIDTH) {
    own.absorb(load_pack<WIDTH>(x + i));
  }
  TopAndSum all = block_reduce<TopAndSum>(own);
  T share = 1 / all.sum;
  for (int64 i = threadIdx.x * WIDTH; i < length; i += BLOCK * WIDTH) {
    Numbers pack = load_pack<WIDTH>(x + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) pack.at[j] = exponential(pack.at[j] - all.top) * share;
    store_whole<WIDTH>(y + i, pack);
  }
}

// Start to copy this thread's packs of a row to shared memory, as one group.
__device__ __forceinline__ void start_row(T* to, const T* x, int64 length) {
  for (int64 i = threadIdx.x * WIDTH; i < length; i += BLOCK * WIDTH) {
    if (sizeof(Numbers) == 16) {
      cp_async_16(to + i, x + i);
    } else {
      const int *from = reinterpret_cast<const int*>(x + i);
      for (int word = 0; word < sizeof(Numbers) / 4; word++) {
        cp_async_4(reinterpret_cast<int*>(to + i) + word, from + word);
      }
    }
  }
  cp_async_commit();
}

// Rung 7. In the rungs before, a block's memory traffic rests while it sums, and only other blocks
// on the same multiprocessor can fill the gap. Here a block takes every gridDim.x-th row, and while
// it computes one, the next is copied to the other half of shared memory by the hardware, past the
// registers. A thread reads only what it copied itself: to wait for its own copies is enough.
//
// expect: LDGSTS from sm_80
extern "C" __global__ void __launch_bounds__(BLOCK)
    async_copies(const T* x, T* y, int64 length, int64 rows) {
  DYNAMIC_SHARED(T, both);
  int64 room = (length + 16 / sizeof(T) - 1) / (16 / sizeof(T)) * (16 / sizeof(T));
  T *row = both, *next = both + room;
  start_row(row, x + blockIdx.x * length, length);
  for (int64 r = blockIdx.x; r < rows; r += gridDim.x) {
    int64 following = r + gridDim.x;
    start_row(next, x + following * length, following < rows ? length : 0);
    cp_async_wait<1>();  // all groups but the latest: this row is there
    TopAndSum own = TopAndSum::neutral();
    for (int64 i = threadIdx.x * WIDTH; i < length; i += BLOCK * WIDTH) {
      own.absorb(load_pack<WIDTH>(row + i));
    }
    TopAndSum all = block_reduce<TopAndSum>(own);
    T share = 1 / all.sum;
    for (int64 i = threadIdx.x * WIDTH; i < length; i += BLOCK * WIDTH) {
      Numbers pack = load_pack<WIDTH>(row + i);
#pragma unroll
      for (int j = 0; j < WIDTH; j++) pack.at[j] = exponential(pack.at[j] - all.top) * share;
      store_whole<WIDTH>(y + r * length + i, pack);
    }
    T* done = row;
    row = next, next = done;
  }
}
