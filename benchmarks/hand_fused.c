/* Two graphs of processing_graphs.py as one writes them by hand for this one purpose: the measure of what is possible on a processor.
 * `by_hand` there says how it is compiled.
 *
 * One thread, no memory but what the caller gives and the stack. No sizes but the graphs' own.
 */
#include <math.h>
#include <stdint.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

enum { HEIGHT = 720, WIDTH = 1280, SIDE = 640, CHANNELS = 3 };

static const float mean[CHANNELS] = {123.675f, 116.28f, 103.53f};
static const float deviation[CHANNELS] = {58.395f, 57.12f, 57.375f};

static void neighbours(int before, int *first, int *second, float *share) {
  for (int i = 0; i < SIDE; ++i) {
    float place = (i + 0.5f) * before / SIDE - 0.5f;
    place = place < 0 ? 0 : place > before - 1 ? before - 1 : place;
    first[i] = (int)place;
    second[i] = first[i] + 1 < before ? first[i] + 1 : before - 1;
    share[i] = place - first[i];
  }
}

/* GCC 12 makes no vectors of conversions to _Float16. */
static void to_half(const float *from, _Float16 *to, int count) {
  int i = 0;
#ifdef __F16C__
  for (; i + 8 <= count; i += 8) _mm_storeu_si128((__m128i *)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < count; ++i) to[i] = (_Float16)from[i];
}

typedef float Pixel __attribute__((vector_size(16), aligned(4)));

/* uint8 [720, 1280, 3] -> float16 [3, 640, 640]: a row of the result at a time, first between the two rows of the picture, which lie in
 * memory as one wants them, then between the columns, a pixel with its three channels as one vector, then the channels apart. */
void lb_hand_picture(const uint8_t *image, _Float16 *tensor) {
  static int above[SIDE], below[SIDE], left[SIDE], right[SIDE];
  static float down[SIDE], across[SIDE];
  static int ready;
  if (!ready) {
    neighbours(HEIGHT, above, below, down);
    neighbours(WIDTH, left, right, across);
    ready = 1;
  }
  float row[WIDTH * CHANNELS + 1] = {0}, pixels[SIDE * 4], result[SIDE];
  for (int y = 0; y < SIDE; ++y) {
    const uint8_t *upper = image + above[y] * WIDTH * CHANNELS, *lower = image + below[y] * WIDTH * CHANNELS;
    float share = down[y];
    for (int i = 0; i < WIDTH * CHANNELS; ++i) row[i] = upper[i] + (lower[i] - upper[i]) * share;
    for (int x = 0; x < SIDE; ++x) {
      Pixel a = *(const Pixel *)(row + left[x] * CHANNELS), b = *(const Pixel *)(row + right[x] * CHANNELS);
      *(Pixel *)(pixels + x * 4) = a + (b - a) * across[x];
    }
    for (int c = 0; c < CHANNELS; ++c) {
      float scale = 1 / deviation[c], shift = -mean[c] / deviation[c];
      for (int x = 0; x < SIDE; ++x) result[x] = pixels[x * 4 + c] * scale + shift;
      to_half(result, tensor + (c * SIDE + y) * SIDE, SIDE);
    }
  }
}

enum { ANCHORS = 8400, CLASSES = 80, CANDIDATES = 300, MOST = 100 };

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

typedef struct {
  float score; /* before the sigmoid, which keeps their order */
  int place;
} Candidate;

static int worse(Candidate a, Candidate b) { return a.score < b.score || (a.score == b.score && a.place > b.place); }

static void sink(Candidate *heap, int count, int at) {
  Candidate moved = heap[at];
  for (int child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && worse(heap[child + 1], heap[child])) ++child;
    if (!worse(heap[child], moved)) break;
    heap[at] = heap[child];
  }
  heap[at] = moved;
}

/* The largest of 80 numbers that lie one after the other. */
static float largest(const float *x) {
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = x[i];
  for (int j = 16; j < CLASSES; j += 16) {
    for (int i = 0; i < 16; ++i) lanes[i] = x[j + i] > lanes[i] ? x[j + i] : lanes[i];
  }
  float best = lanes[0];
  for (int i = 1; i < 16; ++i) best = lanes[i] > best ? lanes[i] : best;
  return best;
}

/* The best 300 of 8,400 anchors in a heap whose worst is on top; only those are decoded, and get their sigmoid and class. Returns how many
 * boxes are selected. */
int lb_hand_detections(const float *raw, const float *logits, float *boxes, float *scores, int64_t *classes, int64_t *selected) {
  Candidate heap[CANDIDATES];
  for (int i = 0; i < ANCHORS; ++i) {
    Candidate found = {largest(logits + i * CLASSES), i};
    if (i < CANDIDATES) {
      heap[i] = found;
      if (i == CANDIDATES - 1) {
        for (int at = CANDIDATES / 2; at >= 0; --at) sink(heap, CANDIDATES, at);
      }
    } else if (worse(heap[0], found)) {
      heap[0] = found;
      sink(heap, CANDIDATES, 0);
    }
  }
  for (int count = CANDIDATES; count > 1;) { /* the worst goes to the end each time */
    Candidate last = heap[--count];
    heap[count] = heap[0];
    heap[0] = last;
    sink(heap, count, 0);
  }
  float areas[CANDIDATES];
  for (int i = 0; i < CANDIDATES; ++i) {
    int place = heap[i].place, stride = 8, side = 80, index = place;
    for (; index >= side * side; stride *= 2, side /= 2) index -= side * side;
    const float *box = raw + place * 4;
    float x = (box[0] + index % side) * stride, y = (box[1] + index / side) * stride;
    float width = expf(box[2]) * stride * 0.5f, height = expf(box[3]) * stride * 0.5f;
    boxes[i * 4] = x - width, boxes[i * 4 + 1] = y - height, boxes[i * 4 + 2] = x + width, boxes[i * 4 + 3] = y + height;
    areas[i] = 4 * width * height;
    scores[i] = sigmoid(heap[i].score);
    const float *row = logits + place * CLASSES;
    int class = 0;
    while (row[class] != heap[i].score) ++class;
    classes[i] = class;
  }
  int count = 0;
  for (int i = 0; i < CANDIDATES && count < MOST && scores[i] > 0.25f; ++i) {
    int alone = 1;
    for (int k = 0; alone && k < count; ++k) {
      const float *a = boxes + selected[k * 3 + 2] * 4, *b = boxes + i * 4;
      float width = fminf(a[2], b[2]) - fmaxf(a[0], b[0]), height = fminf(a[3], b[3]) - fmaxf(a[1], b[1]);
      float shared = fmaxf(width, 0) * fmaxf(height, 0);
      alone = shared <= 0.65f * (areas[selected[k * 3 + 2]] + areas[i] - shared);
    }
    if (alone) {
      selected[count * 3] = selected[count * 3 + 1] = 0;
      selected[count++ * 3 + 2] = i;
    }
  }
  return count;
}
