// A lesson: the matrix product C = A B in five steps, each a few lines more than the last.
//
// All matrices are float, row after row. C has rows x columns numbers, and each of them is a sum of
// `depth` products, so that there are rows * columns * depth multiply-adds to do. They could be
// done at once, if the numbers were there: on paper, a large GPU does ten multiply-adds in the time
// in which it reads one byte from memory. What every step improves is therefore how many bytes must
// be read, and from where, for one multiply-add.
//
//                      from memory or caches    from shared memory    who multiplies
//   naive              8 bytes, scattered       -                     a thread: a number of C
//   coalesced          8 bytes, side by side    -                     a thread: a number of C
//   tiles              0.25                     8                     a thread: a number of C
//   registers          0.0625                   1                     a thread: 64 numbers of C
//   tensor cores       0.0625                   0.19                  a warp: 2,048 numbers of C
//
// (The warp's threads that read the same number at once read it once: so it is less than that.) The
// kernels that the library uses, in matmul.cu and matmul_tensor.cu, are the last two steps, with
// what a lesson does not need: all layouts, edges, batches, splits, and tiles for small matrices.
#include "minigrad.cuh"
#include "mma.cuh"

// 1. Naive
//
// A thread computes a number of C. The threads of a warp, whose numbers differ in threadIdx.x, have
// 32 rows: for each k they read 32 numbers of A that lie `depth` apart. Memory delivers 32 bytes at
// least, so 28 of 32 are read for nothing, or wait in a cache until they are pushed out.
extern "C" __global__ void __launch_bounds__(256, 1)
    naive(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
          int rows, int columns, int depth) {
  int row = blockIdx.x * 16 + threadIdx.x, column = blockIdx.y * 16 + threadIdx.y;
  if (row >= rows || column >= columns) return;
  float sum = 0;
  for (int64 k = 0; k < depth; k++) sum += a[row * int64(depth) + k] * b[k * columns + column];
  c[row * int64(columns) + column] = sum;
}

// 2. Coalesced
//
// The same, but threadIdx.x counts columns. Neighbouring threads now read neighbouring numbers of
// B, one request for all, and the same number of A, which is read once. Nothing is read for
// nothing; yet each of the two numbers still takes a trip to a cache for a single multiply-add.
extern "C" __global__ void __launch_bounds__(256, 1)
    coalesced(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
              int rows, int columns, int depth) {
  int row = blockIdx.x * 16 + threadIdx.y, column = blockIdx.y * 16 + threadIdx.x;
  if (row >= rows || column >= columns) return;
  float sum = 0;
  for (int64 k = 0; k < depth; k++) sum += a[row * int64(depth) + k] * b[k * columns + column];
  c[row * int64(columns) + column] = sum;
}

// 3. Tiles in shared memory
//
// The 1,024 threads of a block compute a tile of C, 32 x 32. Together they bring 32 columns of A
// and 32 rows of B of their tile to shared memory, a number each; then every number is read there
// 32 times, and once from memory: 8 / 32 bytes for a multiply-add. The barriers see to it that
// nobody reads before all have written, nor writes before all have read.
extern "C" __global__ void __launch_bounds__(1024, 1)
    tiles(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
          int rows, int columns, int depth) {
  __shared__ float a_tile[32][32], b_tile[32][32];
  int x = threadIdx.x, y = threadIdx.y;
  int row = blockIdx.x * 32 + y, column = blockIdx.y * 32 + x;
  float sum = 0;
  for (int first = 0; first < depth; first += 32) {
    bool a_there = row < rows && first + x < depth, b_there = first + y < depth && column < columns;
    a_tile[y][x] = a_there ? a[row * int64(depth) + first + x] : 0;
    b_tile[y][x] = b_there ? b[(first + y) * int64(columns) + column] : 0;
    __syncthreads();
    for (int k = 0; k < 32; k++) sum += a_tile[y][k] * b_tile[k][x];
    __syncthreads();
  }
  if (row < rows && column < columns) c[row * int64(columns) + column] = sum;
}

// 4. Tiles in registers, and vector loads
//
// Now shared memory is too slow: it delivers 32 numbers at a time, and each multiply-add wants two.
// So a thread computes 8 x 8 numbers of C, which it keeps in registers: of 8 numbers of A and 8 of
// B it makes 64 multiply-adds. It reads them 4 at a time, with loads of 16 bytes; these are a
// quarter of the instructions, which take the same time to issue as any. For that the tile of A is
// stored column by column. And while one tile is multiplied, the next is on its way from memory to
// registers: a barrier then finds everybody ready, not waiting for memory.
//
// The 256 threads of a block compute 128 x 128 numbers of C. From here on the matrices consist of
// whole tiles: the launch code adds zeros at the edges.
constexpr int SIDE = 128, DEPTH = 8;

// Numbers of a thread: 4 from here on, and 4 from 64 further on, so that the threads side by side
// read side by side.
__device__ __forceinline__ void read_eight(float (&numbers)[8], const float* row, int place) {
  float4 first = *reinterpret_cast<const float4*>(row + 4 * place);
  float4 second = *reinterpret_cast<const float4*>(row + 64 + 4 * place);
  numbers[0] = first.x, numbers[1] = first.y, numbers[2] = first.z, numbers[3] = first.w;
  numbers[4] = second.x, numbers[5] = second.y, numbers[6] = second.z, numbers[7] = second.w;
}

// expect: LDG.128 STG.128 LDS.128
extern "C" __global__ void __launch_bounds__(256, 2)
    registers(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
              int columns, int depth) {
  __shared__ __align__(16) float a_tile[2][DEPTH][SIDE + 4], b_tile[2][DEPTH][SIDE];
  int thread = threadIdx.x, x = thread % 16, y = thread / 16;
  // What this thread brings: 4 numbers of a row of A, and 4 of a row of B.
  a += (blockIdx.x * SIDE + thread / 2) * int64(depth) + thread % 2 * 4;
  b += thread / 32 * int64(columns) + blockIdx.y * SIDE + thread % 32 * 4;
  float4 of_a = *reinterpret_cast<const float4*>(a), of_b = *reinterpret_cast<const float4*>(b);
  float sums[8][8] = {};
  for (int first = 0, place = 0; first < depth; first += DEPTH, place ^= 1) {
    float* column = &a_tile[place][thread % 2 * 4][thread / 2];
    column[0] = of_a.x, column[SIDE + 4] = of_a.y;
    column[2 * (SIDE + 4)] = of_a.z, column[3 * (SIDE + 4)] = of_a.w;
    *reinterpret_cast<float4*>(&b_tile[place][thread / 32][thread % 32 * 4]) = of_b;
    __syncthreads();
    if (first + DEPTH < depth) {
      of_a = *reinterpret_cast<const float4*>(a += DEPTH);
      of_b = *reinterpret_cast<const float4*>(b += DEPTH * int64(columns));
    }
#pragma unroll
    for (int k = 0; k < DEPTH; k++) {
      float as[8], bs[8];
      read_eight(as, a_tile[place][k], y);
      read_eight(bs, b_tile[place][k], x);
#pragma unroll
      for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int j = 0; j < 8; j++) sums[i][j] += as[i] * bs[j];
      }
    }
  }
  c += (blockIdx.x * SIDE + 4 * y) * int64(columns) + blockIdx.y * SIDE + 4 * x;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float* row = c + (i % 4 + i / 4 * 64) * int64(columns);
    const float(&sum)[8] = sums[i];
    *reinterpret_cast<float4*>(row) = make_float4(sum[0], sum[1], sum[2], sum[3]);
    *reinterpret_cast<float4*>(row + 64) = make_float4(sum[4], sum[5], sum[6], sum[7]);
  }
}

// 5. Tensor cores and asynchronous copies
//
// A tensor core multiplies a matrix of 16 x 8 numbers by one of 8 x 8 with one instruction of a
// warp: 1,024 multiply-adds where a warp had 32. Its operands are spread over the registers of the
// warp's lanes, as mma.cuh says. It rounds them to TF32: 10 bits behind the first.
//
// A warp computes 64 x 32 numbers of C, as 4 x 4 products. To be in time, tiles go to shared memory
// by copies that pass no register and for which nobody waits: while a tile is multiplied, the
// copies of the next one are under way. The gaps in the tiles, of 4 and 8 numbers, put what a warp
// reads at once into different banks.
constexpr int STEP = 16;  // terms of the sums in a tile

struct Stage {
  float a[SIDE][STEP + 4], b[STEP][SIDE + 8];
};

// Start the copies of a tile: two of 16 bytes for each thread and matrix.
__device__ __forceinline__ void start_copies(Stage& stage, const float* a, const float* b,
                                             int columns, int depth) {
#pragma unroll
  for (int part = 0; part < 2; part++) {
    int i = threadIdx.x + 256 * part;
    cp_async_16(&stage.a[i / 4][i % 4 * 4], a + i / 4 * int64(depth) + i % 4 * 4);
    cp_async_16(&stage.b[i / 32][i % 32 * 4], b + i / 32 * int64(columns) + i % 32 * 4);
  }
  cp_async_commit();
}

// Multiply 8 terms of a tile, from `k`: 64 rows and 32 columns of it, from `row` and `column`.
__device__ __forceinline__ void multiply(float (&sums)[4][4][4], const Stage& stage, int row,
                                         int column, int k) {
  int lane = threadIdx.x % 32;
  unsigned as[4][4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    ldmatrix_x4(as[i], &stage.a[row + 16 * i + lane % 16][k + lane / 16 * 4]);
#pragma unroll
    for (int part = 0; part < 4; part++) as[i][part] = to_tf32(__uint_as_float(as[i][part]));
  }
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const float* first = &stage.b[k + lane % 4][column + 8 * j + lane / 4];
    unsigned bs[2] = {to_tf32(first[0]), to_tf32(first[4 * (SIDE + 8)])};
#pragma unroll
    for (int i = 0; i < 4; i++) mma_m16n8k8_tf32(sums[i][j], as[i], bs);
  }
}

// needs: sm_80
// expect: HMMA LDSM LDGSTS.128
extern "C" __global__ void __launch_bounds__(256, 2)
    tensor_cores(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
                 int columns, int depth) {
  __shared__ __align__(16) Stage stages[2];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int row = warp / 4 * 64, column = warp % 4 * 32;
  a += blockIdx.x * SIDE * int64(depth);
  b += blockIdx.y * SIDE;
  float sums[4][4][4] = {};
  start_copies(stages[0], a, b, columns, depth);
  for (int first = 0, place = 0; first < depth; first += STEP, place ^= 1) {
    cp_async_wait<0>();  // for this thread's copies,
    __syncthreads();     // and for those of all others; and all have read the other stage
    if (first + STEP < depth) {
      a += STEP, b += STEP * int64(columns);
      start_copies(stages[place ^ 1], a, b, columns, depth);
    }
    multiply(sums, stages[place], row, column, 0);
    multiply(sums, stages[place], row, column, 8);
  }
  c += (blockIdx.x * SIDE + row + lane / 4) * int64(columns) + blockIdx.y * SIDE + column +
       lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      float* upper = c + 16 * i * int64(columns) + 8 * j;
      float* lower = upper + 8 * int64(columns);
      *reinterpret_cast<float2*>(upper) = make_float2(sums[i][j][0], sums[i][j][1]);
      *reinterpret_cast<float2*>(lower) = make_float2(sums[i][j][2], sums[i][j][3]);
    }
  }
}
