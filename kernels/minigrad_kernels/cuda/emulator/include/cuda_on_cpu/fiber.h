// Fibers: functions with a stack each, which hand over to one another.
#pragma once

#if !defined(__x86_64__) || defined(CUDA_ON_CPU_PORTABLE)
#include <ucontext.h>
#endif

namespace cuda_on_cpu {

#if defined(__x86_64__) && !defined(CUDA_ON_CPU_PORTABLE)

// A few instructions: a system call, which ucontext makes each time, takes ten times as long.
struct Context {
  void* stack_pointer;
};

// Keep the registers that a called function must not change on this stack, take those from the
// other stack, and go on where the other left off. A jump, because the processor expects a return
// to go where the call came from: with `ret`, switching took twice as long.
extern "C" __attribute__((visibility("hidden"))) void cuda_on_cpu_switch(void** kept, void* other);
asm(R"(
.text
.globl cuda_on_cpu_switch
.hidden cuda_on_cpu_switch
.type cuda_on_cpu_switch, @function
cuda_on_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size cuda_on_cpu_switch, . - cuda_on_cpu_switch
)");

CUDA_ON_CPU_UNWATCHED inline void prepare(Context& context, char* stack, size_t size,
                                          void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + size);
  *--top = nullptr;  // where entry would return to; also aligns its stack as a call does
  *--top = reinterpret_cast<void*>(entry);
  for (int kept_register = 0; kept_register < 6; kept_register++) *--top = nullptr;
  context.stack_pointer = top;
}

CUDA_ON_CPU_UNWATCHED inline void switch_context(Context& from, Context& to) {
  cuda_on_cpu_switch(&from.stack_pointer, to.stack_pointer);
}

#else

struct Context {
  ucontext_t state;
};

CUDA_ON_CPU_UNWATCHED inline void prepare(Context& context, char* stack, size_t size,
                                          void (*entry)()) {
  getcontext(&context.state);
  context.state.uc_stack.ss_sp = stack;
  context.state.uc_stack.ss_size = size;
  context.state.uc_link = nullptr;
  makecontext(&context.state, entry, 0);
}

CUDA_ON_CPU_UNWATCHED inline void switch_context(Context& from, Context& to) {
  swapcontext(&from.state, &to.state);
}

#endif

}  // namespace cuda_on_cpu
