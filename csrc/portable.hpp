// Macros for functions that are written once and compiled for every SIMD level of the host and, later, for devices.
#pragma once

#if defined(__CUDACC__)
#define PYASMG_HD __host__ __device__ __forceinline__
#elif defined(__GNUC__) || defined(__clang__)
#define PYASMG_HD inline __attribute__((always_inline))
#else
#define PYASMG_HD inline
#endif

#if defined(__GNUC__) || defined(__clang__)
#define PYASMG_RESTRICT __restrict__
#else
#define PYASMG_RESTRICT
#endif

// Keeps arrays that are indexed by the loop's variable in registers.
#if defined(__CUDA_ARCH__)
#define PYASMG_UNROLL _Pragma("unroll")
#else
#define PYASMG_UNROLL
#endif
