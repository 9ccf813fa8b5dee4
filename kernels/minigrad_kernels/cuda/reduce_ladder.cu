// A ladder: the sum of all numbers of an array, in six steps, each of which takes away what held up
// the one before. reduce.cu is what one would use.
//
// An addition for each number: at best, the time is that of reading memory once. The rungs from 2
// to 5 leave a sum for each block, and are run again on these sums until one is left; rung 1 lets
// all threads add to one place, and rung 6 ends in one run.
//
//   rung                what is new
//   1 atomics           every thread adds its number to one place
//   2 interleaved tree  the threads of a block add in pairs, in shared memory
//   3 sequential tree   they add in halves, so that the threads that add are side by side
//   4 warp shuffles     threads sum many numbers each; warps add in registers
//   5 vector loads      16 bytes a load, four loads under way
//   6 last block        the block that ends last adds the sums of all: one launch
//
// Definitions: T, float or double; WIDTH, how many numbers a load of the rungs from 5 on has.
//
// expect: registers <= 64
#include "minigrad.cuh"

using Numbers = Pack<T, WIDTH>;
constexpr int BLOCK = 256;

__device__ __forceinline__ int64 thread_in_grid() {
  return static_cast<int64>(blockIdx.x) * BLOCK + threadIdx.x;
}
__device__ __forceinline__ int64 threads_in_grid() {
  return static_cast<int64>(gridDim.x) * BLOCK;
}

// Rung 1. A thread has a number and adds it to y[0], which is zero before. Additions to one place
// are done one after the other, by the L2 cache, so all threads queue. And in another order each
// time: the last bits of the sum differ from run to run.
extern "C" __global__ void __launch_bounds__(BLOCK)
    atomics(const T* __restrict__ x, T* y, int64 count) {
  int64 i = thread_in_grid();
  if (i < count) atomicAdd(y, x[i]);
}

// Rung 2. A block has 256 numbers and adds them as a tree: neighbours, then neighbours of these,
// and so on; eight levels, in a fixed order. But the threads that add are spread over all warps: at
// the first level every warp is busy with half of its lanes, at the fifth still every warp, with
// one.
extern "C" __global__ void __launch_bounds__(BLOCK)
    interleaved_tree(const T* __restrict__ x, T* __restrict__ y, int64 count) {
  __shared__ T sums[BLOCK];
  int64 i = thread_in_grid();
  sums[threadIdx.x] = i < count ? x[i] : T(0);
  for (int distance = 1; distance < BLOCK; distance *= 2) {
    __syncthreads();
    if (threadIdx.x % (2 * distance) == 0) sums[threadIdx.x] += sums[threadIdx.x + distance];
  }
  if (threadIdx.x == 0) y[blockIdx.x] = sums[0];
}

// Rung 3. The tree the other way round: the first half of the threads add what the second half has.
// Threads that add are neighbours, so from the first level on whole warps have nothing to do, and
// the lanes of a warp read neighbouring banks of shared memory. (Neighbours could also add the
// pairs of rung 2. Their numbers would lie 2, 4, 8, ... apart: in the same banks, one after the
// other.)
extern "C" __global__ void __launch_bounds__(BLOCK)
    sequential_tree(const T* __restrict__ x, T* __restrict__ y, int64 count) {
  __shared__ T sums[BLOCK];
  int64 i = thread_in_grid();
  sums[threadIdx.x] = i < count ? x[i] : T(0);
  for (int half = BLOCK / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) y[blockIdx.x] = sums[0];
}

// Rung 4. The tree was most of the work: eight levels and barriers for one load of a thread. Here
// there are only as many blocks as fill the GPU; each thread sums every so-and-so-many-th number in
// a register before there is a tree at all, and then the lanes of a warp exchange registers,
// without barriers, and only the warps meet in shared memory (block_sum, in minigrad.cuh).
extern "C" __global__ void __launch_bounds__(BLOCK)
    warp_shuffles(const T* __restrict__ x, T* __restrict__ y, int64 count) {
  T sum = 0;
#pragma unroll 1
  for (int64 i = thread_in_grid(); i < count; i += threads_in_grid()) sum += x[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

// The sum of a thread's numbers, in packs of 16 bytes. In rung 4 a load had to come back before the
// next was asked for, as its number was added at once. Here four are under way, for which there are
// four sums; the numbers behind the last pack are for the first threads.
__device__ __forceinline__ T sum_of_packs(const T* x, int64 count) {
  T sums[4] = {};
  int64 packs = count / WIDTH, step = threads_in_grid(), i = thread_in_grid();
  for (; i + 3 * step < packs; i += 4 * step) {
    Numbers loaded[4];
#pragma unroll
    for (int k = 0; k < 4; k++) loaded[k] = load_pack<WIDTH>(x + (i + k * step) * WIDTH);
#pragma unroll
    for (int k = 0; k < 4; k++) {
#pragma unroll
      for (int j = 0; j < WIDTH; j++) sums[k] += loaded[k].at[j];
    }
  }
  for (; i < packs; i += step) {
    Numbers loaded = load_pack<WIDTH>(x + i * WIDTH);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) sums[0] += loaded.at[j];
  }
  int64 rest = packs * WIDTH + thread_in_grid();
  if (rest < count) sums[1] += x[rest];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Rung 5. As rung 4, with more bytes on their way: what a multiprocessor reads in the time of one
// load is then as much as memory can deliver.
//
// expect: LDG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(BLOCK)
    vector_loads(const T* __restrict__ x, T* __restrict__ y, int64 count) {
  T sum = block_sum(sum_of_packs(x, count));
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

// Whether this is the last block of the grid to come here: `arrived`, zero before, counts them.
// What the others wrote before they came can then be read: each made it known to all
// (__threadfence) before it was counted. All threads of the block get the answer.
__device__ __forceinline__ bool last_to_arrive(unsigned* arrived) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(arrived, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  return last;
}

// Rung 6. As rung 5, but no second launch: the block that ends last sums what all blocks left in
// `sums`. Which block that is changes from run to run; the order in which it adds does not, and so
// the bits do not.
//
// expect: LDG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(BLOCK)
    last_block(const T* __restrict__ x, T* sums, unsigned* arrived, T* __restrict__ y,
               int64 count) {
  T sum = block_sum(sum_of_packs(x, count));
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
  if (!last_to_arrive(arrived)) return;
  T total = 0;
  for (int64 i = threadIdx.x; i < gridDim.x; i += BLOCK) total += __ldcg(sums + i);
  total = block_sum(total);
  if (threadIdx.x == 0) y[0] = total;
}
