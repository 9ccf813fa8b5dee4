// Running sums, y[i] = x[0] + ... + x[i], by the threads of a block: one thread for each number.
//
// After the round with distance d, sums[i] holds the last 2 d numbers up to x[i]; each round doubles
// them (Hillis and Steele, "Data parallel algorithms", 1986).
#define THREADS 128

// As a student first wrote it. Nothing keeps a thread from reading its neighbour's sum after the
// neighbour has already added to it.
extern "C" __global__ void __launch_bounds__(THREADS) scan_with_race(const float* x, float* y) {
  __shared__ float sums[THREADS];
  int i = threadIdx.x;
  sums[i] = x[i];
  __syncthreads();
  for (int distance = 1; distance < THREADS; distance *= 2) {
    if (i >= distance) sums[i] += sums[i - distance];
    __syncthreads();
  }
  y[i] = sums[i];
}

// Mended: all threads read, then all of them write. The barriers stand where every thread comes by,
// outside of the condition.
extern "C" __global__ void __launch_bounds__(THREADS) scan(const float* x, float* y) {
  __shared__ float sums[THREADS];
  int i = threadIdx.x;
  sums[i] = x[i];
  __syncthreads();
  for (int distance = 1; distance < THREADS; distance *= 2) {
    float before = i >= distance ? sums[i - distance] : 0;
    __syncthreads();
    sums[i] += before;
    __syncthreads();
  }
  y[i] = sums[i];
}
