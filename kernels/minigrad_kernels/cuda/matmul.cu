// Matrix products in the arithmetic of ordinary cores: float, with sums in float, and double.
//
// A block computes a tile of C. It walks along the sums DEPTH terms at a time: it brings that much
// of its rows of A and its columns of B to shared memory, where all its threads find them, and
// every thread multiplies THREAD_ROWS by THREAD_COLUMNS sums further, which it keeps in registers.
//
// Why tiles: with a tile of 128 x 128, a number that came from memory takes part in 128
// multiply-adds, which are 16 for each byte that is read. On paper, a large GPU does 10 in the time
// of a byte from memory, and 5 in that of a byte from the L2 cache. Why 8 x 8 sums a thread: for 64
// multiply-adds it reads 16 numbers of shared memory, in four instructions of 16 bytes, half of
// what shared memory can deliver meanwhile. A warp is 4 rows of 8 threads: the 8 of a row read
// neighbouring packs of B, which is free of bank conflicts, and the threads of a column the same
// ones, which are read once.
//
// While a tile is multiplied, the next one is on its way from memory to registers; it is then
// stored to the other one of two places in shared memory, so that one barrier for each is enough.
//
// Definitions: T, the type of the numbers; TILE, a class below; WIDTH, how many numbers a load from
// memory has; A_ALONG, B_ALONG, whether those of A and B that are neighbours in memory follow each
// other along the sum (rows of A, columns of B), or across it.
//
// expect: LDS.128 STG.128
// expect: LDG.128 if WIDTH > 1
#include "product.cuh"

constexpr int CHUNK = 16 / sizeof(T);  // numbers in an access to shared memory

template <int TILE_ROWS, int TILE_COLUMNS, int ROWS_OF_THREAD, int COLUMNS_OF_THREAD,
          int BYTES_OF_DEPTH, int RESIDENT>
struct Tile {
  static constexpr int ROWS = TILE_ROWS, COLUMNS = TILE_COLUMNS;  // of C, that a block computes
  static constexpr int DEPTH = BYTES_OF_DEPTH / sizeof(T);        // terms of its sums at once
  static constexpr int THREAD_ROWS = ROWS_OF_THREAD, THREAD_COLUMNS = COLUMNS_OF_THREAD;
  static constexpr int WARP_ROWS = 4 * THREAD_ROWS, WARP_COLUMNS = 8 * THREAD_COLUMNS;
  static constexpr int WARPS_ACROSS = COLUMNS / WARP_COLUMNS;
  static constexpr int THREADS = ROWS / WARP_ROWS * WARPS_ACROSS * 32;
  static constexpr int BLOCKS = RESIDENT;  // that a multiprocessor shall have registers for
};
using Large = Tile<128, 128, 8, 8, 32, 2>;
using Medium = Tile<64, 64, 8, 4, 64, 4>;
using Small = Tile<32, 32, 4, 4, 64, 8>;

constexpr int THREADS = TILE::THREADS, DEPTH = TILE::DEPTH;
constexpr int ROWS = TILE::THREAD_ROWS, COLUMNS = TILE::THREAD_COLUMNS;

// A tile in shared memory: row k has what term k of the sums needs. The rows of a tile of A are
// columns of A; the gap between rows spreads those who write down a column over the banks.
template <int SIZE>
struct SharedTile {
  T row[DEPTH][SIZE + CHUNK];
};

// The way of an operand's tiles from memory to shared memory: each thread carries PACKS packs of
// each in registers. SIZE is the number of rows of A, or columns of B, in a tile; ALONG, whether
// packs lie along the sum.
template <int SIZE, bool ALONG>
struct Carrier {
  static constexpr int PACKS = SIZE * DEPTH / WIDTH / THREADS;
  static constexpr int SIDE = (ALONG ? DEPTH : SIZE) / WIDTH;  // packs side by side in memory
  static_assert(PACKS * WIDTH * THREADS == SIZE * DEPTH, "each thread carries as much as others");
  static_assert(THREADS % SIDE == 0, "packs of a thread lie one below the other");

  const T* from;  // the thread's first pack in memory
  int64 leading;  // numbers from one line of packs in memory to the next
  int rows;       // how many of the rows, from that of the first pack, there are
  int terms;      // how many terms of the sum, from those of the first pack, are left
  int place;      // where the first pack goes in the tile
  Pack<T, WIDTH> packs[PACKS];

  // Where the thread's first pack lies in the tile: neighbours carry neighbours in memory. Its next
  // ones lie STEP lines further on.
  static constexpr int STEP = THREADS / SIDE;
  static __device__ __forceinline__ int side() { return threadIdx.x % SIDE * WIDTH; }
  static __device__ __forceinline__ int line() { return threadIdx.x / SIDE; }

  // `operand` is where the tile's first row has the first of its terms.
  __device__ __forceinline__ Carrier(const T* operand, int64 leading, int rows, int terms)
      : from(operand + line() * leading + side()),
        leading(leading),
        rows(rows - (ALONG ? line() : side())),
        terms(terms - (ALONG ? side() : line())),
        place(ALONG ? side() * (SIZE + CHUNK) + line() : line() * (SIZE + CHUNK) + side()) {}

  // Load a tile, and go on to the next. Beyond the rows and terms that there are lie zeros. (WIDTH
  // divides how many numbers there are side by side: a pack lies within them or beyond.)
  __device__ __forceinline__ void load() {
#pragma unroll
    for (int i = 0; i < PACKS; i++) {
      bool there = ALONG ? i * STEP < rows && 0 < terms : 0 < rows && i * STEP < terms;
      packs[i] = there ? load_pack<WIDTH>(from + i * STEP * leading) : Pack<T, WIDTH>{};
    }
    from += ALONG ? DEPTH : DEPTH * leading;
    terms -= DEPTH;
  }

  __device__ __forceinline__ void store(SharedTile<SIZE>& tile) const {
    constexpr int ROW = SIZE + CHUNK;  // numbers from one row of the tile to the next
    T* to = &tile.row[0][0] + place;
#pragma unroll
    for (int i = 0; i < PACKS; i++) {
      if (ALONG) {
#pragma unroll
        for (int j = 0; j < WIDTH; j++) to[j * ROW + i * STEP] = packs[i].at[j];
      } else {
        store_pack<WIDTH>(to + i * STEP * ROW, packs[i]);
      }
    }
  }
};

// A thread's COUNT numbers of a row in shared memory: chunks that are STEP numbers apart, one for
// each of the threads side by side.
template <int COUNT, int STEP>
__device__ __forceinline__ void read_chunks(const T* row, T (&numbers)[COUNT]) {
#pragma unroll
  for (int i = 0; i < COUNT; i += CHUNK) {
    Pack<T, CHUNK> pack = load_pack<CHUNK>(row + i / CHUNK * STEP);
#pragma unroll
    for (int j = 0; j < CHUNK; j++) numbers[i + j] = pack.at[j];
  }
}

// Which rows and columns of the tile a thread has: chunks from here on, 4 and 8 chunks apart.
__device__ __forceinline__ int row_of_thread() {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  return warp / TILE::WARPS_ACROSS * TILE::WARP_ROWS + lane / 8 * CHUNK;
}
__device__ __forceinline__ int column_of_thread() {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  return warp % TILE::WARPS_ACROSS * TILE::WARP_COLUMNS + lane % 8 * CHUNK;
}

__device__ __forceinline__ void multiply(const SharedTile<TILE::ROWS>& a,
                                         const SharedTile<TILE::COLUMNS>& b,
                                         T (&sums)[ROWS][COLUMNS]) {
  int row = row_of_thread(), column = column_of_thread();
#pragma unroll
  for (int k = 0; k < DEPTH; k++) {
    T as[ROWS], bs[COLUMNS];
    read_chunks<ROWS, 4 * CHUNK>(&a.row[k][row], as);
    read_chunks<COLUMNS, 8 * CHUNK>(&b.row[k][column], bs);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
      for (int j = 0; j < COLUMNS; j++) sums[i][j] += as[i] * bs[j];
    }
  }
}

// Store the sums of a thread, a chunk of a row at a time.
__device__ __forceinline__ void store(const T (&sums)[ROWS][COLUMNS], const Results<T>& results,
                                      int top, int left) {
#pragma unroll
  for (int j = 0; j < COLUMNS; j += CHUNK) {
    int column = left + column_of_thread() + j * 8;
    T added[CHUNK];
    results.load_bias(column, added);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      T chunk[CHUNK];
#pragma unroll
      for (int n = 0; n < CHUNK; n++) chunk[n] = sums[i][j + n];
      int row = top + row_of_thread() + i / CHUNK * 4 * CHUNK + i % CHUNK;
      results.store(row, column, chunk, added);
    }
  }
}

// C = A B, plus a bias for each column, negative numbers to 0 if `relu`: a block computes a tile
// of a product, or a part of its sums. `leading` is the distance in memory between rows of A that
// run along the sum, columns of A that run across it, and the same of B's columns and rows;
// `outer` and `inner` are those between the matrices of a batch, 0 for one that serves all. `wide`
// says that C can be stored 16 bytes at a time; the others are in Shape.
extern "C" __global__ void __launch_bounds__(TILE::THREADS, TILE::BLOCKS)
    product(const T* __restrict__ a, int64 a_leading, int64 a_outer, int64 a_inner,
            const T* __restrict__ b, int64 b_leading, int64 b_outer, int64 b_inner,
            const T* __restrict__ bias, bool relu, T* __restrict__ c, bool wide, int rows,
            int columns, int depth, unsigned batches, unsigned inner, int part) {
  __shared__ __align__(16) SharedTile<TILE::ROWS> a_tiles[2];
  __shared__ __align__(16) SharedTile<TILE::COLUMNS> b_tiles[2];
  __shared__ Work kept;  // until the end; meanwhile all registers have better uses
  Shape shape = {rows, columns, depth, batches, inner, part};
  Work work = work_of_block<TILE>(shape);
  if (threadIdx.x == 0) kept = work;
  a += work.outer * a_outer + work.inner * a_inner +
       (A_ALONG ? work.row * a_leading + work.first : work.first * a_leading + work.row);
  b += work.outer * b_outer + work.inner * b_inner +
       (B_ALONG ? work.column * b_leading + work.first : work.first * b_leading + work.column);
  int terms = work.last - work.first;
  Carrier<TILE::ROWS, A_ALONG> from_a(a, a_leading, rows - work.row, terms);
  Carrier<TILE::COLUMNS, B_ALONG> from_b(b, b_leading, columns - work.column, terms);
  T sums[ROWS][COLUMNS] = {};
  from_a.load();
  from_b.load();
  for (int place = 0; terms > 0; terms -= DEPTH, place ^= 1) {
    from_a.store(a_tiles[place]);
    from_b.store(b_tiles[place]);
    __syncthreads();
    from_a.load();
    from_b.load();
    multiply(a_tiles[place], b_tiles[place], sums);
  }
  __syncthreads();
  store(sums, results_of(kept, shape, c, bias, relu, wide), kept.row, kept.column);
}
