"""Running CUDA sources on the CPU: compiling them (`build`) and calling them (`run`)."""
