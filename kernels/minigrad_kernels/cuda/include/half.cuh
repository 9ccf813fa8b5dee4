// Numbers of 16 bits: half (__half) and bfloat16 (__nv_bfloat16), and their conversions to float.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

using bfloat16 = __nv_bfloat16;
