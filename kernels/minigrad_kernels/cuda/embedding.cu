// Looking up rows of a table, and adding gradients up in them.
//
// A lane has one pack of WIDTH numbers of a row. A block has `blockDim.x` lanes beside one another
// in a row, a power of two of at most 32, and `blockDim.y` rows; `blockIdx.y` says which lanes of
// the row. So neighbours load neighbouring memory, and no lane has to divide to find its place.
//
// An index that counts from the end is negative. One out of range cannot be reported from a GPU:
// its row is NaN, and its gradient is left out. (Launch code checks indices that lie on the host.)
//
// The gradient is added up in the order of the indices, without atomic operations, so that it has
// the same bits each time. Its cost, for n indices and rows of w numbers: the indices are sorted, a
// block 512 of them in shared memory, and then log2(n / 512) times all sorted runs are merged by
// twos, where a key is found a place by a binary search: O(n log(n)^2) steps on keys of 8 bytes, in
// the L2 cache, few beside the n w numbers that are then read once. Each piece of 32 keys is
// summed by itself, however many of them are one row's: of a frequent row only the sums of its
// pieces, n / 32 of them at worst, are added one after the other.
//
// Definitions: T, the type of the numbers; REAL, the type to sum in; WIDTH, how many numbers a load
// has; INDEX, the type of the indices.
#include "half.cuh"
#include "minigrad.cuh"

#define EMBEDDING_THREADS 256
#define SORT_THREADS 512  // keys that a block sorts, a thread each

constexpr unsigned PIECE = 32;  // keys whose gradients a lane adds up, as in embedding.py

using Numbers = Pack<T, WIDTH>;

// Which of so many rows an index says, or `rows` if it is none.
__device__ __forceinline__ int64 row_of(INDEX index, int64 rows) {
  int64 row = index < 0 ? index + rows : index;
  return row >= 0 && row < rows ? row : rows;
}

__device__ __forceinline__ unsigned row_in_grid() {
  return blockIdx.x * blockDim.y + threadIdx.y;
}
__device__ __forceinline__ unsigned lane_in_row() {
  return blockIdx.y * blockDim.x + threadIdx.x;
}

// The pack that stands for a row that is not there.
__device__ __forceinline__ Numbers not_numbers() {
  Numbers pack;
#pragma unroll
  for (int j = 0; j < WIDTH; j++) pack.at[j] = T(__int_as_float(0x7fffffff));
  return pack;
}

// y[i] = table[index[i]], rows of so many packs. A lane copies a pack of row i.
//
// expect: LDG.128 STG.128 if WIDTH > 1
extern "C" __global__ void __launch_bounds__(EMBEDDING_THREADS)
    embedding(const T* __restrict__ table, const INDEX* __restrict__ index, T* __restrict__ y,
              int64 rows, unsigned count, unsigned packs) {
  unsigned i = row_in_grid(), k = lane_in_row();
  if (i >= count || k >= packs) return;
  int64 row = row_of(index[i], rows);
  const T* from = table + (row * packs + k) * WIDTH;
  T* to = y + (static_cast<int64>(i) * packs + k) * WIDTH;
  store_pack<WIDTH>(to, row < rows ? load_pack<WIDTH>(from) : not_numbers());
}

// Sorting
//
// A key is a row, in the upper half, and the place of its index: no two are equal, and sorted keys
// have the indices of a row beside one another, in their order. Those of no row come last.

__device__ __forceinline__ uint64 key_of(uint64 row, unsigned place) { return row << 32 | place; }
__device__ __forceinline__ unsigned key_row(uint64 key) { return static_cast<unsigned>(key >> 32); }
__device__ __forceinline__ unsigned key_place(uint64 key) { return static_cast<unsigned>(key); }

// How many keys of a sorted run are smaller than this one: a binary search.
__device__ __forceinline__ unsigned count_smaller(const uint64* run, unsigned length, uint64 key) {
  unsigned low = 0, high = length;
  while (low < high) {
    unsigned middle = (low + high) / 2;
    if (run[middle] < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Where key i comes to stand when the sorted runs that begin at multiples of `run` are merged by
// twos: behind those before it in its own run, and the smaller ones of the other.
__device__ __forceinline__ unsigned merged_place(const uint64* keys, unsigned i, unsigned run,
                                                 unsigned length) {
  unsigned own = i & ~(run - 1), first = own & ~run;  // run is a power of two
  bool left = own == first;
  unsigned other = left ? min(own + run, length) : first;
  unsigned other_length = left ? min(run, length - other) : run;
  return first + (i - own) + count_smaller(keys + other, other_length, keys[i]);
}

// The keys of the indices, sorted in runs of SORT_THREADS. Row `skip` is none. A thread has a key,
// a block a run, which it merges from runs of one, two, four, ... keys.
extern "C" __global__ void __launch_bounds__(SORT_THREADS)
    sort_runs(const INDEX* __restrict__ index, uint64* __restrict__ keys, unsigned count,
              int64 rows, int64 skip) {
  __shared__ uint64 unsorted[SORT_THREADS], merged[SORT_THREADS];
  uint64 *from = unsorted, *to = merged;
  unsigned i = blockIdx.x * SORT_THREADS + threadIdx.x;
  int64 row = i < count ? row_of(index[i], rows) : 0xffffffff;  // behind all others
  from[threadIdx.x] = key_of(row == skip ? rows : row, i);
  for (unsigned run = 1; run < SORT_THREADS; run *= 2) {
    __syncthreads();
    to[merged_place(from, threadIdx.x, run, SORT_THREADS)] = from[threadIdx.x];
    uint64* swapped = from;
    from = to;
    to = swapped;
  }
  __syncthreads();
  if (i < count) keys[i] = from[threadIdx.x];
}

// Sorted runs merged by twos. A thread has a key.
extern "C" __global__ void __launch_bounds__(SORT_THREADS)
    merge_runs(const uint64* __restrict__ keys, uint64* __restrict__ merged, unsigned count,
               unsigned run) {
  unsigned i = blockIdx.x * SORT_THREADS + threadIdx.x;
  if (i < count) merged[merged_place(keys, i, run, count)] = keys[i];
}

// Summing
//
// The sorted keys are cut in pieces. What a row has in a piece is summed there; if it has keys in
// other pieces, too, that sum goes to `tails`, in the piece where the row begins, or to `heads`, in
// those behind it. A row that has all its keys in one piece is done with that.

// Whether the row of key i has keys before it.
__device__ __forceinline__ bool begins_before(const uint64* keys, int64 i) {
  return i > 0 && key_row(keys[i - 1]) == key_row(keys[i]);
}

// WIDTH sums, loaded and stored at most 16 bytes at once.
struct Sums {
  REAL at[WIDTH];

  __device__ __forceinline__ void add(Numbers pack) {
#pragma unroll
    for (int j = 0; j < WIDTH; j++) at[j] += REAL(pack.at[j]);
  }
  __device__ __forceinline__ void add(const REAL* numbers) {
    constexpr int COUNT = WIDTH < 16 / sizeof(REAL) ? WIDTH : 16 / sizeof(REAL);
#pragma unroll
    for (int k = 0; k < WIDTH; k += COUNT) {
      Pack<REAL, COUNT> pack = load_pack<COUNT>(numbers + k);
#pragma unroll
      for (int j = 0; j < COUNT; j++) at[k + j] += pack.at[j];
    }
  }
  template <class Number>
  __device__ __forceinline__ void store(Number* numbers) const {
    constexpr int COUNT = WIDTH < 16 / sizeof(Number) ? WIDTH : 16 / sizeof(Number);
#pragma unroll
    for (int k = 0; k < WIDTH; k += COUNT) {
      Pack<Number, COUNT> pack;
#pragma unroll
      for (int j = 0; j < COUNT; j++) pack.at[j] = Number(at[k + j]);
      store_pack<COUNT>(numbers + k, pack);
    }
  }
};

// A lane adds up the gradients of a piece's keys, in one column of packs; it loads AHEAD of them
// before it adds the first. Rows of y that have no key are left as they are. The
// bound lets it have the registers for that: three blocks on a multiprocessor have 48 KB under way.
//
// expect: LDG.128 STG.128 if WIDTH > 1
// expect: registers <= 80
extern "C" __global__ void __launch_bounds__(EMBEDDING_THREADS, 3)
    sum_pieces(const T* __restrict__ g, const uint64* __restrict__ keys, T* __restrict__ y,
               REAL* __restrict__ heads, REAL* __restrict__ tails, unsigned count, unsigned rows,
               unsigned packs) {
  constexpr unsigned AHEAD = 4;
  unsigned piece = row_in_grid(), k = lane_in_row();
  int64 first = static_cast<int64>(piece) * PIECE, width = static_cast<int64>(packs) * WIDTH;
  if (first >= count || k >= packs) return;
  int64 end = min(first + PIECE, static_cast<int64>(count));
  g += k * WIDTH, y += k * WIDTH;
  heads += piece * width + k * WIDTH, tails += piece * width + k * WIDTH;

  unsigned row = key_row(keys[first]);
  bool is_head = begins_before(keys, first);
  Sums sums = {};
  for (int64 i = first; i < end; i += AHEAD) {
    uint64 key[AHEAD];
    Numbers pack[AHEAD];
#pragma unroll
    for (int j = 0; j < AHEAD; j++) key[j] = i + j < end ? keys[i + j] : key_of(rows, 0);
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      if (key_row(key[j]) < rows) pack[j] = load_pack<WIDTH>(g + key_place(key[j]) * width);
    }
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      if (key_row(key[j]) >= rows) continue;  // of no row, as all that follow
      if (key_row(key[j]) != row) {
        if (is_head) {
          sums.store(heads);
        } else {
          sums.store(y + row * width);
        }
        sums = {};
        row = key_row(key[j]);
        is_head = false;
      }
      sums.add(pack[j]);
    }
  }
  if (row >= rows) return;
  if (is_head) {
    sums.store(heads);
  } else if (end < count && key_row(keys[end]) == row) {
    sums.store(tails);
  } else {
    sums.store(y + row * width);
  }
}

// What rows have in several pieces. A lane has a column of the row that begins in a piece and goes
// on behind it, if there is one.
extern "C" __global__ void __launch_bounds__(EMBEDDING_THREADS)
    join_pieces(const uint64* __restrict__ keys, const REAL* __restrict__ heads,
                const REAL* __restrict__ tails, T* __restrict__ y, unsigned count, unsigned rows,
                unsigned packs) {
  unsigned piece = row_in_grid(), k = lane_in_row();
  int64 first = static_cast<int64>(piece) * PIECE, end = first + PIECE;
  if (end >= count || k >= packs || !begins_before(keys, end)) return;
  unsigned row = key_row(keys[end]);
  if (row >= rows || (key_row(keys[first]) == row && begins_before(keys, first))) return;
  int64 width = static_cast<int64>(packs) * WIDTH, column = k * WIDTH;
  Sums sums = {};
  sums.add(tails + piece * width + column);
#pragma unroll 4
  for (int64 next = end; next < count && key_row(keys[next]) == row; next += PIECE) {
    sums.add(heads + next / PIECE * width + column);
  }
  sums.store(y + row * width + column);
}

// The gradient by atomic additions to y, in any order. A lane adds a number (WIDTH is 1).
extern "C" __global__ void __launch_bounds__(EMBEDDING_THREADS)
    add_atomically(const T* __restrict__ g, const INDEX* __restrict__ index, T* y, int64 rows,
                   int64 skip, unsigned count, unsigned width) {
  unsigned i = row_in_grid(), k = lane_in_row();
  if (i >= count || k >= width) return;
  int64 row = row_of(index[i], rows);
  if (row == rows || row == skip) return;
  atomicAdd(y + row * width + k, g[static_cast<int64>(i) * width + k]);
}
