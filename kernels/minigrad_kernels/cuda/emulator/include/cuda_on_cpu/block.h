// The threads of the block that runs now: who is ready, who waits where, and barriers.
#pragma once

#include <pthread.h>

namespace cuda_on_cpu {

constexpr unsigned MOST_THREADS = 1024;  // of a block, as on every GPU
constexpr unsigned WARP = 32;
constexpr size_t MOST_SHARED = 227 * 1024;  // bytes of dynamic shared memory, as on an H100
constexpr size_t EDGE = 64;                 // bytes watched behind it

enum State : unsigned char { NEW, READY, AT_BARRIER, AT_WARP, EXITED };

struct Thread;
using Collective = void (*)(Thread* lanes, unsigned mask);

// What one thread gives to an operation of its warp, and takes from it.
union Slot {
  unsigned words[12];
  float floats[12];
  unsigned long long longs[6];
  const void* pointers[6];
};

struct Thread {
  Context context;
  WatchedThread watched;
  uint3 index;            // threadIdx
  unsigned number;        // index as one number
  const char* operation;  // what it waits at,
  Place place;            // where that is,
  unsigned mask;          // and for which lanes of its warp
  Collective collective;
  Slot given, taken;
};

struct Warp {
  unsigned waiting, exited;  // lanes
  unsigned rounds;
  Signal signals[2];
  const void* rows[WARP];  // of the matrices that ldmatrix loads
};

// What the thread sanitizer takes for the threads of a block, and what it is told at the beginning
// and at the end of a launch. One of them, in memory that Python gives, serves all launches of all
// libraries: making its threads takes longer than what most kernels do.
struct Watched {
  WatchedThread threads[MOST_THREADS];
  Signal started, ended;
};

struct Block {
  uint3 index;  // blockIdx
  dim3 size, grid;
  unsigned threads, live;
  unsigned arrived, votes, counted;  // at the barrier, of them with a true condition; last result
  Place barrier;
  unsigned rounds;
  bool has_copies;    // asynchronous ones
  bool has_products;  // of warpgroups
  Signal signals[2], fence;
  Context outside;
  volatile bool inside;  // a thread of the block runs,
  pthread_t launcher;    // in this thread of the process
  WatchedThread outside_watched;
  Watched* watched;
  void (*run)(void** arguments);
  void** arguments;
  unsigned turn;   // whose it is, an index of order
  unsigned turns;  // blocks that have run before
  unsigned spins;  // turns given away by threads that wait in a loop
  unsigned order[MOST_THREADS];
  State state[MOST_THREADS];
  Thread thread[MOST_THREADS];
  Warp warp[MOST_THREADS / WARP];
};

// Of each library that is compiled from a .cu file, one; Python lets one call in at a time.
inline Block block;
inline Thread* current;
inline char message[1024];
alignas(1024) inline char dynamic_shared[MOST_SHARED + EDGE];

// Handing over

CUDA_ON_CPU_UNWATCHED inline void switch_to_outside() {
  block.outside_watched.switch_to();
  switch_context(current->context, block.outside);
}

// Whose turn it is: the next thread that can run, if there is one.
CUDA_ON_CPU_INLINED inline Thread* next_in_order() {
  for (unsigned tried = 0; tried < block.threads; tried++) {
    if (++block.turn >= block.threads) block.turn = 0;
    unsigned number = block.order[block.turn];
    if (block.state[number] <= READY) return &block.thread[number];
  }
  return nullptr;
}

__attribute__((noinline, cold)) inline void give_stack(Thread& thread);

CUDA_ON_CPU_INLINED inline void hand_over(Thread* next) {
  Thread* me = current;
  if (next == me) return;
  if (block.state[next->number] == NEW) give_stack(*next);
  current = next;
  next->watched.switch_to();
  switch_context(me->context, next->context);
}

// Let the next thread run that can; if none can, the block is over, or stuck.
CUDA_ON_CPU_INLINED inline void next_thread() {
  Thread* next = next_in_order();
  if (!next) return switch_to_outside();
  hand_over(next);
}

CUDA_ON_CPU_INLINED inline void wait(State why, const char* operation, Place place) {
  current->operation = operation;
  current->place = place;
  block.state[current->number] = why;
  block.spins = 0;
  next_thread();
}

// Errors

// Remember what went wrong first. A message begins with the place: "file:line: what".
CUDA_ON_CPU_UNWATCHED __attribute__((format(printf, 2, 3))) inline void report(
    Place place, const char* format, ...) {
  if (message[0]) return;
  int length = snprintf(message, sizeof(message), "%s:%d: ", place.file, place.line);
  if (length < 0 || length >= static_cast<int>(sizeof(message))) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message + length, sizeof(message) - length, format, arguments);
  va_end(arguments);
}

// Leave the block, whose threads will not run again.
[[noreturn]] CUDA_ON_CPU_UNWATCHED inline void stop_block() {
  switch_to_outside();
  __builtin_unreachable();
}

// Barriers

CUDA_ON_CPU_UNWATCHED inline void release_barrier() {
  block.counted = block.votes;
  block.arrived = block.votes = 0;
  block.rounds++;
  for (unsigned i = 0; i < block.threads; i++) {
    if (block.state[i] == AT_BARRIER) block.state[i] = READY;
  }
}

CUDA_ON_CPU_UNWATCHED inline void report_exited(Place barrier) {
  unsigned first = 0;
  while (block.state[first] != EXITED) first++;
  report(barrier, "__syncthreads() is not reached by %u of %u threads, which have exited "
         "(the first is thread %u)", block.threads - block.live, block.threads, first);
}

// Wait for all threads of the block. Returns how many came with a true condition.
CUDA_ON_CPU_INLINED inline unsigned barrier(bool condition, Place place) {
  Signal& signal = block.signals[block.rounds & 1];
  signal.release();
  if (block.arrived && !(block.barrier == place)) {
    report(place, "divergent barrier: thread %u is here while others wait at __syncthreads() in "
           "%s:%d", current->number, block.barrier.file, block.barrier.line);
    stop_block();
  }
  block.barrier = place;
  block.arrived++;
  block.votes += condition;
  if (block.arrived < block.live) {
    wait(AT_BARRIER, "__syncthreads()", place);
  } else if (block.live < block.threads) {
    report_exited(place);
    stop_block();
  } else {
    release_barrier();
    block.turn = block.threads - 1;  // behind a barrier, too, the first comes first, not the last
    next_thread();
  }
  signal.acquire();
  return block.counted;
}

CUDA_ON_CPU_UNWATCHED inline void note_exit() {
  block.watched->ended.release();
  block.state[current->number] = EXITED;
  block.warp[current->number / WARP].exited |= 1u << current->number % WARP;
  block.live--;
  if (block.arrived && block.arrived == block.live) {
    report_exited(block.barrier);
    stop_block();
  }
}

}  // namespace cuda_on_cpu

// Kernels only read them.
#define threadIdx (static_cast<const uint3&>(cuda_on_cpu::current->index))
#define blockIdx (static_cast<const uint3&>(cuda_on_cpu::block.index))
#define blockDim (static_cast<const dim3&>(cuda_on_cpu::block.size))
#define gridDim (static_cast<const dim3&>(cuda_on_cpu::block.grid))
namespace cuda_on_cpu {
inline int lanes_of_a_warp() { return WARP; }
}  // namespace cuda_on_cpu
inline const int warpSize = cuda_on_cpu::lanes_of_a_warp();  // as on a GPU, the length of no array

CUDA_ON_CPU_INLINED inline void __syncthreads(cuda_on_cpu::Place place = cuda_on_cpu::Place::here()) {
  cuda_on_cpu::barrier(false, place);
}
inline int __syncthreads_count(int condition,
                               cuda_on_cpu::Place place = cuda_on_cpu::Place::here()) {
  return cuda_on_cpu::barrier(condition != 0, place);
}
inline int __syncthreads_and(int condition,
                             cuda_on_cpu::Place place = cuda_on_cpu::Place::here()) {
  return cuda_on_cpu::barrier(condition != 0, place) == cuda_on_cpu::block.threads;
}
inline int __syncthreads_or(int condition, cuda_on_cpu::Place place = cuda_on_cpu::Place::here()) {
  return cuda_on_cpu::barrier(condition != 0, place) != 0;
}

// Writes of one thread are seen by the next that runs; the thread sanitizer must be told that a
// fence orders them.
inline void __threadfence() {
  cuda_on_cpu::block.fence.acquire();
  cuda_on_cpu::block.fence.release();
}
inline void __threadfence_block() { __threadfence(); }
inline void __threadfence_system() { __threadfence(); }
inline void __nanosleep(unsigned) { cuda_on_cpu::next_thread(); }

// Ticks of a clock: nanoseconds here.
inline long long clock64() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

// Stop the kernel, as the GPU does, but with the reason in words.
[[noreturn]] inline void __trap(cuda_on_cpu::Place place = cuda_on_cpu::Place::here()) {
  cuda_on_cpu::report(place, "__trap() was called by thread %u", cuda_on_cpu::current->number);
  cuda_on_cpu::stop_block();
}
#undef assert
#define assert(condition)                                                                        \
  ((condition) ? void(0)                                                                         \
               : (cuda_on_cpu::report(cuda_on_cpu::Place::here(), "assert(%s) failed, thread %u", \
                                      #condition, cuda_on_cpu::current->number),                 \
                  cuda_on_cpu::stop_block()))
