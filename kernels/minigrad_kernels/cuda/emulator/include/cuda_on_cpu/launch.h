// Running a grid: block after block, and what is checked around each.
#pragma once

#include <sys/mman.h>

extern "C" {
extern char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));
}

namespace cuda_on_cpu {

enum Order : int { FORWARD, REVERSE, RANDOM };

// What Python gives; the same fields as in run.py.
struct Launch {
  unsigned grid[3], block[3];
  size_t shared;  // bytes of dynamic shared memory
  void** arguments;
  int order;
  unsigned seed;
  Watched* watched;
};

// Stacks. They are kept between launches: new ones would be zeroed by the operating system.

// Only what is used takes memory. Not a power of two: else the pages in use would compete for a few
// places among the addresses that the processor remembers.
constexpr size_t STACK = 65 * 4096;
constexpr size_t ENTRY = 8 * 1024;  // for the functions that a thread never leaves
constexpr size_t MARGIN = 1024 * 1024;  // below the lowest, for overflows
constexpr size_t GUARD = 64 * 1024;     // of it, where nobody can write
constexpr unsigned long long STACK_END = 0x9d5ab01ff1ce57ac;  // overwritten if a stack overflows

inline char* stacks;

inline bool have_stacks() {
  if (stacks) return true;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  size_t size = MARGIN + STACK * MOST_THREADS + sizeof(Copies) * MOST_THREADS;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) return false;
  mprotect(memory, GUARD, PROT_NONE);
  stacks = static_cast<char*>(memory) + MARGIN;
  copies = reinterpret_cast<Copies*>(stacks + STACK * MOST_THREADS);
  return true;
}

inline bool in_stacks(const void* address) {
  const char* place = static_cast<const char*>(address);
  return place >= stacks - MARGIN && place < stacks + STACK * MOST_THREADS;
}

// What the thread sanitizer takes for a thread: a stack. In the next block it is that of another
// CUDA thread, so that two blocks which write to one place by the same threads are found.
CUDA_ON_CPU_UNWATCHED inline unsigned stack_of(unsigned number) {
#if defined(__SANITIZE_THREAD__)
  return (number + block.turns) % block.threads;
#else
  return number;
#endif
}

inline unsigned long long* stack_end(unsigned thread) {
  return reinterpret_cast<unsigned long long*>(stacks + thread * STACK);
}

// Random numbers for orders: a linear congruential generator (Numerical Recipes).
struct Dice {
  unsigned state;
  unsigned below(unsigned limit) {
    state = state * 1664525u + 1013904223u;
    return static_cast<unsigned>(static_cast<unsigned long long>(state) * limit >> 32);
  }
};

CUDA_ON_CPU_UNWATCHED inline void choose_order(int order, unsigned seed) {
  for (unsigned i = 0; i < block.threads; i++) {
    block.order[i] = order == REVERSE ? block.threads - 1 - i : i;
  }
  if (order != RANDOM) return;
  Dice dice{seed};
  for (unsigned i = block.threads - 1; i > 0; i--) {
    unsigned other = dice.below(i + 1), moved = block.order[i];
    block.order[i] = block.order[other];
    block.order[other] = moved;
  }
}

// Shared memory begins with whatever lay there: NaN, whose bits are all ones, shows who reads it.
CUDA_ON_CPU_UNWATCHED inline void poison_shared_memory(size_t dynamic) {
#if !defined(__SANITIZE_ADDRESS__)
  if (__stop_cuda_shared > __start_cuda_shared) {
    memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
  }
#endif
  allow_access(dynamic_shared, sizeof(dynamic_shared));
  memset(dynamic_shared, 0xff, dynamic + EDGE);
  forbid_access(dynamic_shared + dynamic, sizeof(dynamic_shared) - dynamic);
}

CUDA_ON_CPU_UNWATCHED inline void check_edge(size_t dynamic) {
  allow_access(dynamic_shared, sizeof(dynamic_shared));
  for (size_t i = 0; i < EDGE; i++) {
    if (static_cast<unsigned char>(dynamic_shared[dynamic + i]) == 0xff) continue;
    const char* hint = dynamic ? "" : ": the launch gave it none; `shared=` says how many";
    report({"", 0}, "a thread has written behind the %zu bytes of dynamic shared memory%s", dynamic,
           hint);
    return;
  }
}

// A fiber runs a thread, and when that has exited, the next one if it is new: most threads never
// wait, and need no stack of their own. (The thread sanitizer would take what two of them have at
// one place of a stack for a race.)
CUDA_ON_CPU_UNWATCHED inline void run_threads() {
  while (true) {
    block.state[current->number] = READY;
    block.watched->started.acquire();
    block.run(block.arguments);
    note_exit();
    Thread* next = next_in_order();
    if (!next) stop_block();
    if (WATCHES_STACKS || block.state[next->number] != NEW) hand_over(next);
    current = next;
  }
}

// What is the same in all blocks of a grid.
CUDA_ON_CPU_UNWATCHED inline void describe_threads() {
  for (unsigned number = 0; number < block.threads; number++) {
    Thread& thread = block.thread[number];
    thread.number = number;
    thread.index = {number % block.size.x, number / block.size.x % block.size.y,
                    number / (block.size.x * block.size.y)};
    *stack_end(number) = STACK_END;
    block.watched->threads[number].create();
  }
}

CUDA_ON_CPU_UNWATCHED inline void give_stack(Thread& thread) {
  unsigned stack = stack_of(thread.number);
  thread.watched = block.watched->threads[stack];
  // At one offset in all stacks, local variables would compete for the same lines of the cache.
  size_t offset = stack * 5 % 61 * 64;
  char* bottom = stacks + stack * STACK;
  allow_access(bottom + STACK - ENTRY, ENTRY);  // as the last block left it
  prepare(thread.context, bottom, STACK - offset, run_threads);
}

// Nobody can go on although some have not exited: say where the first of them waits, and another.
CUDA_ON_CPU_UNWATCHED inline void report_deadlock() {
  const Thread* stuck[2] = {nullptr, nullptr};
  for (unsigned i = 0; i < block.threads; i++) {
    const Thread* thread = &block.thread[i];
    if (block.state[i] == EXITED) continue;
    if (!stuck[0]) stuck[0] = thread;
    if (!(thread->place == stuck[0]->place) && !stuck[1]) stuck[1] = thread;
  }
  const Thread* first = stuck[0];
  if (stuck[1]) {
    report(first->place, "deadlock: thread %u waits at %s, thread %u at %s in %s:%d",
           first->number, first->operation, stuck[1]->number, stuck[1]->operation,
           stuck[1]->place.file, stuck[1]->place.line);
  } else {
    report(first->place, "deadlock: thread %u waits at %s for others that do not come",
           first->number, first->operation);
  }
}

CUDA_ON_CPU_UNWATCHED inline void check_stacks() {
  for (unsigned i = 0; i < block.threads; i++) {
    if (*stack_end(i) == STACK_END) continue;
    message[0] = 0;  // what it says may come from the overflow
    report({"", 0}, "the local variables of thread %u do not fit on its stack of %zu KB", i,
           STACK / 1024);
    return;
  }
}

CUDA_ON_CPU_UNWATCHED inline void run_block(const Launch& launch, unsigned seed) {
  forget_accesses_to_variables(dynamic_shared + launch.shared,
                               dynamic_shared + sizeof(dynamic_shared));
  block.live = block.threads;
  block.arrived = block.votes = block.turn = block.spins = 0;
  memset(block.state, NEW, block.threads);
  for (unsigned i = 0; i * WARP < block.threads; i++) {
    block.warp[i].waiting = block.warp[i].exited = block.warp[i].rounds = 0;
  }
  if (block.has_copies) forget_copies();
  poison_shared_memory(launch.shared);
  if (launch.order == RANDOM) choose_order(RANDOM, seed);
  current = &block.thread[block.order[0]];
  give_stack(*current);
  current->watched.switch_to();
  block.inside = true;
  switch_context(block.outside, current->context);
  block.inside = false;
  if (block.live && !message[0]) report_deadlock();
  if (block.has_products) end_products();
  check_edge(launch.shared);
}

// Which block comes when: in order, backwards, or with a step that visits each once.
inline unsigned long long place_in_grid(const Launch& launch, unsigned long long turn,
                                        unsigned long long blocks) {
  if (launch.order == REVERSE) return blocks - 1 - turn;
  if (launch.order == FORWARD || blocks < 3) return turn;
  unsigned long long step = blocks / 2 + launch.seed % 97, a, b;
  do {  // until step and blocks have no common divisor
    step++;
    for (a = step, b = blocks; b;) {
      unsigned long long rest = a % b;
      a = b;
      b = rest;
    }
  } while (a != 1);
  return turn * (step % blocks) % blocks;
}

// Run the grid; 0, or 1 if something was wrong, which `message` then says.
CUDA_ON_CPU_UNWATCHED inline int launch(void (*run)(void** arguments), const Launch& launch) {
  message[0] = 0;
  if (!have_stacks()) {
    report({"", 0}, "there is no memory for the stacks of %u threads", MOST_THREADS);
    return 1;
  }
  block.size = {launch.block[0], launch.block[1], launch.block[2]};
  block.grid = {launch.grid[0], launch.grid[1], launch.grid[2]};
  block.threads = block.size.x * block.size.y * block.size.z;
  block.outside_watched.adopt_current();
  block.watched = launch.watched;
  describe_threads();
  block.watched->started.release();
  choose_order(launch.order, launch.seed);
  block.run = run;
  block.arguments = launch.arguments;
  Faults faults;
  unsigned long long plane = static_cast<unsigned long long>(block.grid.x) * block.grid.y;
  unsigned long long blocks = plane * block.grid.z;
  for (unsigned long long turn = 0; turn < blocks && !message[0]; turn++) {
    block.turns = static_cast<unsigned>(turn);
    unsigned long long at = place_in_grid(launch, turn, blocks);
    block.index = {static_cast<unsigned>(at % block.grid.x),
                   static_cast<unsigned>(at / block.grid.x % block.grid.y),
                   static_cast<unsigned>(at / plane)};
    run_block(launch, launch.seed + static_cast<unsigned>(at));
  }
  block.watched->ended.acquire();
  if (!fault.signal) check_stacks();
  if (message[0]) allow_access(stacks, STACK * block.threads);  // threads stopped in functions
  fflush(stdout);  // of printf in kernels
  return message[0] != 0;
}

// Call a kernel with arguments of which each is given by its address, as the CUDA driver does.
template <class... Parameters, size_t... INDEX>
inline void apply_each(void (*kernel)(Parameters...), void** arguments,
                       std::index_sequence<INDEX...>) {
  kernel(*static_cast<std::remove_const_t<Parameters>*>(arguments[INDEX])...);
}

template <class... Parameters>
inline void apply(void (*kernel)(Parameters...), void** arguments) {
  apply_each(kernel, arguments, std::index_sequence_for<Parameters...>{});
}

}  // namespace cuda_on_cpu

#define CUDA_ON_CPU_PUBLIC extern "C" __attribute__((visibility("default")))

// A function that Python can call, for each kernel.
#define CUDA_ON_CPU_LAUNCHER(kernel)                                                          \
  CUDA_ON_CPU_PUBLIC int kernel##__launch(const cuda_on_cpu::Launch* launch) {                \
    return cuda_on_cpu::launch([](void** arguments) { cuda_on_cpu::apply(kernel, arguments); }, \
                               *launch);                                                      \
  }

CUDA_ON_CPU_PUBLIC inline __attribute__((used)) const char* cuda_on_cpu_message() {
  return cuda_on_cpu::message;
}
CUDA_ON_CPU_PUBLIC inline __attribute__((used)) const cuda_on_cpu::Fault* cuda_on_cpu_fault() {
  return &cuda_on_cpu::fault;
}
