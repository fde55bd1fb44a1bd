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

/* A segment is data: tensors over its buffers, one for each and in their order, and kernels that are called on them one after
 * the other. What named dimensions decide is computed by the segment's function: the extents of its shapes, and its scalars. */
typedef struct {
  int32_t ndim;
  DLDataType dtype;
  int32_t shape; /* index of its first extent */
} LbTensor;

typedef struct {
  LbKernel *kernel;
  const char *name;
  int32_t first; /* index of its first argument */
  int32_t count;
} LbStep;

typedef struct {
  const LbTensor *tensors;
  int32_t num_tensors;
  const LbStep *steps;
  int32_t num_steps;
  const int32_t *arguments; /* index of a tensor, or -1 - index of a scalar */
} LbSegment;

/* What is called from outside: the tensors of a segment, and the extents of its named dimensions. */
typedef int LbSegmentFunction(void **buffers, const int64_t *dims);

/* Run a segment; return 0, or the code of the kernel that failed, with a text for lb_error. */
int lb_run(const LbSegment *segment, void **buffers, const int64_t *extents, const int64_t *scalars);

/* Sizes round towards minus infinity, as in Python; divisors are positive. */
static inline int64_t lb_floordiv(int64_t a, int64_t b) { return a / b - (a % b < 0); }
static inline int64_t lb_floormod(int64_t a, int64_t b) { return a % b < 0 ? a % b + b : a % b; }
static inline int64_t lb_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t lb_min(int64_t a, int64_t b) { return a < b ? a : b; }

#endif
