/* What generated segments and kernels need around them; see support.c. */
#ifndef LANDBRIDGE_SUPPORT_H
#define LANDBRIDGE_SUPPORT_H

#include <stdint.h>

/* DLPack's tensor descriptor (dlpack.h, version 1); kernels read it. */
typedef struct {
  int32_t device_type; /* 1 is the CPU */
  int32_t device_id;
} DLDevice;

typedef struct {
  uint8_t code; /* 0 int, 1 uint, 2 float, 4 bfloat, 6 bool */
  uint8_t bits;
  uint16_t lanes;
} DLDataType;

typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape;
  int64_t *strides;
  uint64_t byte_offset;
} DLTensor;

/* An argument in tvm-ffi's calling convention. */
typedef struct {
  int32_t type_index;
  uint32_t zero;
  union {
    int64_t v_int;
    void *v_ptr;
  };
} LbAny;

enum { LB_INT = 1, LB_TENSOR = 7 };

typedef int LbKernel(void *self, const LbAny *args, int32_t num_args, LbAny *result);

#define LB_EXPORT __attribute__((visibility("default")))

/* Call a kernel; leave the segment with its error if it fails. */
#define LB_CALL(kernel, args)                                                       \
  do {                                                                              \
    LbAny result = {0, 0, {0}};                                                     \
    int code = kernel(0, args, (int32_t)(sizeof(args) / sizeof(args[0])), &result); \
    if (code != 0) return lb_failed(#kernel, code);                                 \
  } while (0)

/* Make sure that a failure of `kernel` has a text; return its code. */
int lb_failed(const char *kernel, int code);

/* Sizes round towards minus infinity, as in Python; divisors are positive. */
static inline int64_t lb_floordiv(int64_t a, int64_t b) { return a / b - (a % b < 0); }
static inline int64_t lb_floormod(int64_t a, int64_t b) { return a % b < 0 ? a % b + b : a % b; }
static inline int64_t lb_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t lb_min(int64_t a, int64_t b) { return a < b ? a : b; }

#endif
