// Faults: where the operating system would end the process for what a kernel did.
//
// A kernel that writes far outside of an array, divides an integer by zero or calls itself without
// end is stopped as one that fails in any other way, and Python raises an error. Handlers of
// signals are there only while a kernel runs; what comes to another thread of the process, or from
// another process, goes to those that were there before. (The sanitizers have handlers of their
// own.) Handlers run on a stack of their own: that of the thread may be what has overflowed.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

namespace cuda_on_cpu {

// The same fields as in run.py.
struct Fault {
  int signal;  // 0: there was none
  int access;  // one of the below,
  size_t address;
  size_t instruction;  // where its code lies in the library
};

enum Access : int { NO_ADDRESS, SOMEHOW, READ, WRITE, JUMP };

constexpr int FAULTS[] = {SIGSEGV, SIGBUS, SIGFPE};
constexpr int KINDS = sizeof(FAULTS) / sizeof(*FAULTS);

inline Fault fault;
inline struct sigaction handlers_before[KINDS];
alignas(64) inline char handler_stack[64 * 1024];

extern "C" __attribute__((weak, visibility("hidden"))) char __ehdr_start[];  // the library begins

// What the processor says: where, and what it was about to do there.
inline void ask_processor(void* context, Fault& fault) {
  size_t instruction = 0;
#if defined(__x86_64__) && defined(__linux__)
  const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  instruction = registers[REG_RIP];
  bool page_fault = registers[REG_TRAPNO] == 14;
  long error = registers[REG_ERR];  // a page fault's has these bits
  fault.access = !page_fault ? NO_ADDRESS : error & 16 ? JUMP : error & 2 ? WRITE : READ;
#elif defined(__aarch64__) && defined(__linux__)
  instruction = static_cast<ucontext_t*>(context)->uc_mcontext.pc;
#endif
  size_t begin = reinterpret_cast<size_t>(__ehdr_start);
  fault.instruction = instruction > begin ? instruction - begin : 0;
}

inline const char* in_words(const Fault& fault, int code) {
  if (fault.signal == SIGFPE) return "divided an integer by zero";
#if defined(__linux__)
  if (code == SI_KERNEL) return "used a vector that is not aligned, or what cannot be an address";
#endif
  if (fault.access == JUMP) return "called what is no function";
  if (fault.access == READ) return "read where there is no memory";
  return fault.access == WRITE ? "wrote where there is no memory" : "went where there is no memory";
}

inline bool in_stacks(const void* address);

inline void on_fault(int signal, siginfo_t* info, void* context) {
  bool ours = block.inside && pthread_equal(pthread_self(), block.launcher) && info->si_code > 0;
  if (!ours) {  // what was there before gets it: now, or when the instruction is tried again
    for (int i = 0; i < KINDS; i++) {
      if (FAULTS[i] == signal) sigaction(signal, &handlers_before[i], nullptr);
    }
    if (info->si_code <= 0) raise(signal);
    return;
  }
  block.inside = false;
  fault.signal = signal;
  fault.access = signal == SIGFPE ? NO_ADDRESS : SOMEHOW;
  fault.address = reinterpret_cast<size_t>(info->si_addr);
  ask_processor(context, fault);
  const uint3 &thread = current->index, &at = block.index;
  const char* words = in_words(fault, info->si_code);
  if (signal == SIGSEGV && in_stacks(info->si_addr)) {
    fault.access = NO_ADDRESS;
    words = "has more local variables and calls than fit on its stack";
  }
  report({"", 0}, "thread (%u, %u, %u) of block (%u, %u, %u) %s", thread.x, thread.y, thread.z,
         at.x, at.y, at.z, words);
  switch_to_outside();
}

// Has the handlers installed as long as it lives.
class Faults {
 public:
  Faults() {
    fault = {};
#if defined(CUDA_ON_CPU_OWN_HANDLERS)
    block.launcher = pthread_self();
    stack_t stack = {};
    stack.ss_sp = handler_stack;
    stack.ss_size = sizeof(handler_stack);
    sigaltstack(&stack, &stack_before_);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // it does not return
    for (int i = 0; i < KINDS; i++) sigaction(FAULTS[i], &action, &handlers_before[i]);
#endif
  }
  ~Faults() {
#if defined(CUDA_ON_CPU_OWN_HANDLERS)
    for (int i = 0; i < KINDS; i++) sigaction(FAULTS[i], &handlers_before[i], nullptr);
    sigaltstack(&stack_before_, nullptr);
#endif
  }

 private:
  stack_t stack_before_;
};

}  // namespace cuda_on_cpu
