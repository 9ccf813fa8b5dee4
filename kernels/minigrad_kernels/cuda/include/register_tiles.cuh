// A product of two matrices in tiles: what convolutions in float and double have in common. A
// kernel says how to load the matrices, and what to do with the sums.
//
// A block computes BLOCK_M x BLOCK_N sums, a thread THREAD_M x THREAD_N of them, in registers. Of
// both matrices, BLOCK_K terms of the sums lie in shared memory at a time. A term costs a thread
// THREAD_M + THREAD_N numbers from there for THREAD_M * THREAD_N multiply-adds: 16 for 64, so that
// shared memory, which gives a warp 32 numbers a cycle, keeps up with the arithmetic; and global
// memory has to give BLOCK_M + BLOCK_N numbers for BLOCK_M * BLOCK_N multiply-adds.
//
// There are two stages in shared memory. While one is multiplied, the numbers of the next are on
// their way from global memory to registers; they are then put into the other stage. So the way
// takes no time, and a step has one barrier.
//
// Definitions: T, the type of the numbers; TOTAL, that of their sums; BLOCK_M, BLOCK_N, BLOCK_K,
// THREAD_M, THREAD_N.
#pragma once

#include "minigrad.cuh"
#include "half.cuh"

using Total = TOTAL;

constexpr int PACK = 16 / sizeof(Total);  // numbers in a load from shared memory
constexpr int ACROSS = BLOCK_N / THREAD_N;
constexpr int THREADS = BLOCK_M / THREAD_M * ACROSS;
// A is loaded along its rows and put in columns: neighbours then write to different banks.
constexpr int A_ROW = BLOCK_M + PACK, B_ROW = BLOCK_N;
constexpr int STAGE = BLOCK_K * (A_ROW + B_ROW);

static_assert(THREAD_M % PACK == 0 && THREAD_N % PACK == 0, "threads load packs");
static_assert(ACROSS % 8 == 0 && THREADS / ACROSS % 4 == 0, "a warp is 4 threads by 8");

using Sums = Total[THREAD_M][THREAD_N];

// The rows of the tile that are a thread's: packs of PACK rows, as far apart as the threads of the
// block need for theirs. (With all rows side by side, its neighbours' loads would meet in banks.)
__device__ __forceinline__ int tile_row(int i) {
  int thread = threadIdx.x / 32 / (ACROSS / 8) * 4 + threadIdx.x % 32 / 8;
  return (i / PACK * (BLOCK_M / THREAD_M) + thread) * PACK + i % PACK;
}

// Its columns, likewise.
__device__ __forceinline__ int tile_column(int j) {
  int thread = threadIdx.x / 32 % (ACROSS / 8) * 8 + threadIdx.x % 8;
  return (j / PACK * ACROSS + thread) * PACK + j % PACK;
}

// sums += A B, of the BLOCK_K terms in a stage.
__device__ __forceinline__ void multiply_stage(const Total* a, const Total* b, Sums& sums) {
#pragma unroll
  for (int k = 0; k < BLOCK_K; k++) {
    Total left[THREAD_M], right[THREAD_N];
#pragma unroll
    for (int i = 0; i < THREAD_M; i += PACK) {
      Pack<Total, PACK> pack = load_pack<PACK>(a + k * A_ROW + tile_row(i));
#pragma unroll
      for (int p = 0; p < PACK; p++) left[i + p] = pack.at[p];
    }
#pragma unroll
    for (int j = 0; j < THREAD_N; j += PACK) {
      Pack<Total, PACK> pack = load_pack<PACK>(b + k * B_ROW + tile_column(j));
#pragma unroll
      for (int p = 0; p < PACK; p++) right[j + p] = pack.at[p];
    }
#pragma unroll
    for (int i = 0; i < THREAD_M; i++) {
#pragma unroll
      for (int j = 0; j < THREAD_N; j++) sums[i][j] += left[i] * right[j];
    }
  }
}

// sums = A B, of `steps` times BLOCK_K terms. Loaders have `fetch()`, which loads the numbers of
// the next step to registers, and `put(stage)`, which brings them to shared memory: A to
// stage[k][row], in rows of A_ROW, B to stage[k][column], in rows of B_ROW.
template <class LoaderA, class LoaderB>
__device__ __forceinline__ void multiply_tiles(LoaderA& a, LoaderB& b, int steps, Sums& sums) {
  DYNAMIC_SHARED(Total, shared);  // two stages
#pragma unroll
  for (int i = 0; i < THREAD_M; i++) {
#pragma unroll
    for (int j = 0; j < THREAD_N; j++) sums[i][j] = 0;
  }
  for (int step = 0; step <= steps; step++) {
    Total* stage = shared + step % 2 * STAGE;
    if (step < steps) {
      a.fetch();
      b.fetch();
    }
    if (step > 0) {
      const Total* before = shared + (step + 1) % 2 * STAGE;
      multiply_stage(before, before + BLOCK_K * A_ROW, sums);
    }
    if (step < steps) {
      a.put(stage);
      b.put(stage + BLOCK_K * A_ROW);
      __syncthreads();
    }
  }
}

// Loads rows of numbers that lie together, WIDTH at once, and puts them as they are: matrices
// whose rows are the terms. A derived class says where a row begins.
template <int COLUMNS, int WIDE>
struct RowLoads {
  static constexpr int BESIDE = COLUMNS / WIDE;  // threads that load a row
  static constexpr int STEP = THREADS / BESIDE;  // rows that the block loads at once
  static constexpr int COUNT = (BLOCK_K + STEP - 1) / STEP;
  static_assert(THREADS % BESIDE == 0, "a thread loads one column");

  static __device__ __forceinline__ int row(int i) { return threadIdx.x / BESIDE + i * STEP; }
  static __device__ __forceinline__ bool mine(int i) {
    return BLOCK_K % STEP == 0 || row(i) < BLOCK_K;
  }
  static __device__ __forceinline__ int column() { return threadIdx.x % BESIDE * WIDE; }
};

// Numbers of type Value, to shared memory as sums hold them.
template <int COUNT, class Value>
__device__ __forceinline__ void put_pack(Total* place, const Pack<Value, COUNT>& pack) {
  Pack<Total, COUNT> wide;
#pragma unroll
  for (int i = 0; i < COUNT; i++) wide.at[i] = Total(pack.at[i]);
  store_pack<COUNT>(place, wide);
}

template <int COUNT, class Value>
__device__ __forceinline__ Pack<Value, COUNT> zero_pack() {
  Pack<Value, COUNT> pack;
#pragma unroll
  for (int i = 0; i < COUNT; i++) pack.at[i] = Value(0.0f);
  return pack;
}
