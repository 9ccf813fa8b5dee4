// What the address and the thread sanitizer must be told about fibers; nothing in other builds.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#define __SANITIZE_THREAD__ 1
#endif
#endif

// The emulator's own memory accesses are none of the kernel's.
#if defined(__SANITIZE_THREAD__)
#define CUDA_ON_CPU_UNWATCHED __attribute__((no_sanitize("thread"))) __attribute__((noinline))
#define CUDA_ON_CPU_INLINED CUDA_ON_CPU_UNWATCHED
#else
#define CUDA_ON_CPU_UNWATCHED
// On the way to another fiber: the processor foresees none of the returns on the way back.
#define CUDA_ON_CPU_INLINED __attribute__((always_inline))
#endif

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CUDA_ON_CPU_OWN_HANDLERS 1  // of signals
#endif

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __asan_poison_memory_region(const volatile void*, size_t);
extern "C" void __asan_unpoison_memory_region(const volatile void*, size_t);
#endif
#if defined(__SANITIZE_THREAD__)
#include <link.h>
extern "C" {
void __tsan_java_alloc(unsigned long memory, unsigned long size);
void __tsan_java_free(unsigned long memory, unsigned long size);
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned);
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
}
#endif

namespace cuda_on_cpu {

#if defined(__SANITIZE_THREAD__)
constexpr bool WATCHES_STACKS = true;
#else
constexpr bool WATCHES_STACKS = false;
#endif

inline void forbid_access(const void* memory, size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(memory, size);
#endif
}

inline void allow_access(const void* memory, size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(memory, size);
#endif
}

// For the thread sanitizer, every CUDA thread is a thread of its own. What one did before it
// released a signal has happened before what another does after it acquired that signal; without
// such a chain, two accesses to one address are a race. Barriers release and acquire.
struct Signal {
  char address;

  void release() {
#if defined(__SANITIZE_THREAD__)
    __tsan_release(&address);
#endif
  }
  void acquire() {
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(&address);
#endif
  }
};

#if defined(__SANITIZE_THREAD__)

// Where the variables of this library lie, its shared memory among them.
struct Segment {
  unsigned long start, size;
};

inline int find_segment(dl_phdr_info* library, size_t, void* found) {
  Segment& segment = *static_cast<Segment*>(found);
  for (int i = 0; i < library->dlpi_phnum; i++) {
    const auto& part = library->dlpi_phdr[i];
    unsigned long start = library->dlpi_addr + part.p_vaddr;
    bool writable = part.p_type == PT_LOAD && (part.p_flags & PF_W);
    if (!writable || segment.start < start || segment.start >= start + part.p_memsz) continue;
    segment = {(start + 7) & ~7ul, (part.p_memsz - 8) & ~7ul};
    return 1;
  }
  return 0;
}

inline void forget_accesses(unsigned long start, unsigned long end) {
  __tsan_java_free(start, end - start);
  __tsan_java_alloc(start, end - start);
}

#endif

// Blocks run one after the other in the same shared memory. On a GPU nothing orders them: so
// nothing tells the sanitizer that they are ordered, except that with each block the variables of
// this library count as new memory. (The calls are those of a Java runtime, which moves its
// objects.) All but the given ones, which no kernel uses: it takes time for every byte.
inline void forget_accesses_to_variables(const char* unused, const char* end_of_unused) {
#if defined(__SANITIZE_THREAD__)
  static Segment segment{reinterpret_cast<unsigned long>(&segment), 0};
  if (!segment.size) dl_iterate_phdr(find_segment, &segment);
  forget_accesses(segment.start, (reinterpret_cast<unsigned long>(unused) + 7) & ~7ul);
  forget_accesses(reinterpret_cast<unsigned long>(end_of_unused) & ~7ul,
                  segment.start + segment.size);
#endif
}

struct WatchedThread {
#if defined(__SANITIZE_THREAD__)
  void* handle;
  void create() {
    if (!handle) handle = __tsan_create_fiber(0);
  }
  void adopt_current() { handle = __tsan_get_current_fiber(); }
  __attribute__((always_inline)) void switch_to() {
    const unsigned not_ordered = 1;  // handing over the processor orders nothing
    __tsan_switch_to_fiber(handle, not_ordered);
  }
#else
  void create() {}
  void adopt_current() {}
  void switch_to() {}
#endif
};

}  // namespace cuda_on_cpu
